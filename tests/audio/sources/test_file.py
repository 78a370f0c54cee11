"""Recordings are read whole, and what is wrong with them is told in one sentence."""

import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.audio.ring import Samples
from monitor.audio.sources.file import File
from monitor.errors import (
    AudioFileError,
    EndOfSourceError,
    SoundMonitorError,
    UsageError,
)
from tests.support.clock import FakeClock
from tests.support.signals import chirp
from tests.support.wav_bytes import wav

RATE = 16_000
SOUND = chirp(2.3, highest=7_000, sample_rate=RATE, channels=2)


def write(path: Path, samples: Samples = SOUND, **options: str) -> Path:
    soundfile.write(path, samples.T, RATE, **options)
    return path


def file(path: Path) -> File:
    return File(str(path), "max", FakeClock().monotonic)


def play(path: Path) -> tuple[Samples, str | None]:
    """Everything that is heard, and the sentence with which it ends badly."""
    blocks = [np.empty((2, 0), np.float32)]
    with closing(file(path).open()) as stream:
        try:
            while (block := stream.read(0)) is not None:
                blocks.append(block)
        except EndOfSourceError:
            return np.concatenate(blocks, axis=1), None
        except AudioFileError as error:
            return np.concatenate(blocks, axis=1), str(error)
    raise AssertionError("a recording at full speed has no pauses")


@pytest.mark.parametrize(
    ("name", "options", "tolerance"),
    [
        ("a.wav", {"subtype": "PCM_16"}, 1e-4),
        ("a.wav", {"subtype": "PCM_24"}, 1e-6),
        ("a.wav", {"subtype": "FLOAT"}, 1e-6),
        ("a.wav", {"subtype": "ULAW"}, 0.05),
        ("a.wav", {"subtype": "FLOAT", "format": "WAVEX"}, 1e-6),
        ("a.w64", {}, 1e-4),
        ("a.flac", {}, 1e-4),
        ("a.aiff", {}, 1e-4),
        ("a.au", {}, 1e-4),
        ("a.rf64", {}, 1e-4),
        ("a.ogg", {}, 0.2),
        ("a.mp3", {}, 0.2),
        ("named wrongly.wav", {"format": "FLAC"}, 1e-4),
    ],
)
def test_every_format_is_heard_whole(
    tmp_path: Path, name: str, options: dict[str, str], tolerance: float
) -> None:
    samples, complaint = play(write(tmp_path / name, **options))
    assert complaint is None
    assert samples.dtype == np.float32
    np.testing.assert_allclose(samples, SOUND, atol=tolerance)


def test_a_file_knows_its_rate_and_channels_when_it_is_open(tmp_path: Path) -> None:
    with closing(file(write(tmp_path / "a.wav")).open()) as stream:
        assert (stream.sample_rate, stream.channels) == (RATE, 2)


def test_a_file_can_be_played_again(tmp_path: Path) -> None:
    source = file(write(tmp_path / "a.wav"))
    assert not source.live
    for _ in range(2):
        with closing(source.open()) as stream:
            block = stream.read(0)
        assert block is not None
        np.testing.assert_allclose(block[:, 0], SOUND[:, 0], atol=1e-4)


def damaged(path: Path, how: str) -> Path:
    if how in ("text", "empty", "noise"):
        content = {"text": b"no sound here\n", "empty": b"", "noise": os.urandom(500)}
        path.write_bytes(content[how])
    elif how == "no samples":
        write(path, SOUND[:, :0])
    elif how == "slow":
        path.write_bytes(wav(bytes(8000), rate=4_000))
    elif how == "fast":
        content = wav(bytes(8000))
        fast = (4_000_000_000).to_bytes(4, "little")
        path.write_bytes(content[:24] + fast + content[28:])
    elif how == "wide":
        soundfile.write(path, np.zeros((100, 65), np.float32), 44_100)
    elif how == "endless":
        path.symlink_to("/dev/zero")
    elif how == "raw":
        path = path.with_suffix(".raw")
        path.write_bytes(bytes(8000))
    else:
        path.mkdir()
    return path


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("text", AudioFileError, "not a recording that can be read"),
        ("noise", AudioFileError, "not a recording that can be read"),
        ("empty", AudioFileError, "the file is empty"),
        ("no samples", AudioFileError, "holds no sound"),
        ("slow", AudioFileError, "has 4000 samples a second; 8000 to 192000"),
        ("fast", AudioFileError, "has 4000000000 samples|not a recording"),
        ("wide", AudioFileError, "has 65 channels; 64 can be heard"),
        ("endless", UsageError, "no regular file"),
        ("raw", AudioFileError, "use 'command:cat"),
        ("folder", UsageError, "no regular file"),
    ],
)
def test_what_is_no_recording_is_told_at_once(
    tmp_path: Path, how: str, error: type[SoundMonitorError], words: str
) -> None:
    path = damaged(tmp_path / "street.wav", how)
    with pytest.raises(error, match=words) as caught:
        file(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        file(tmp_path / "street.wav")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("~nobody-has-this-name/x.wav", "home"),
        ("x" * 5000, "File name too long"),
        ("/dev/null/x.wav", "there is no such file"),
        ("a\udc80\ud800", "surrogates not allowed"),
    ],
)
def test_a_name_that_cannot_be_is_wrong_usage(path: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        File(path, "max", FakeClock().monotonic)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_wrong_usage(tmp_path: Path) -> None:
    path = write(tmp_path / "street.wav")
    path.chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        file(path)


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (44 + 4 * 20_000, "stops before its end; what it holds, 1.25 s, was heard"),
        (44 + 4 * 20_000 + 1, "stops in the middle of a sample; what it holds, 1.25 s"),
        (44 + 4 * 20_000 + 2, "stops in the middle of a sample; what it holds, 1.25 s"),
    ],
)
def test_a_truncated_wav_is_heard_as_far_as_it_goes_and_then_told(
    tmp_path: Path, keep: int, words: str
) -> None:
    path = write(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[:keep])
    samples, complaint = play(path)
    np.testing.assert_allclose(samples, SOUND[:, :20_000], atol=1e-4)
    assert complaint is not None
    assert words in complaint


def test_a_wav_whose_header_asks_for_half_a_sample_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(bytes(32_003), channels=2))
    samples, complaint = play(path)
    assert samples.shape == (2, 8_000)
    assert complaint is not None
    assert "stops in the middle of a sample" in complaint


@pytest.mark.parametrize("length", [0x7FFF_F000, 0xFFFF_FFFF])
def test_a_wav_that_was_written_to_a_pipe_is_whole(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(bytes(32_000), channels=2, length=length))
    samples, complaint = play(path)
    assert samples.shape == (2, 8_000)
    assert complaint is None


@pytest.mark.parametrize("name", ["a.flac", "a.aiff", "a.w64", "a.au", "a.rf64"])
def test_other_truncated_files_are_told_too(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    samples, complaint = play(path)
    assert samples.shape[1] < SOUND.shape[1]
    assert complaint is not None
    assert str(path) in complaint


def test_a_file_that_vanished_after_the_check_is_told(tmp_path: Path) -> None:
    source = file(write(tmp_path / "a.wav"))
    (tmp_path / "a.wav").unlink()
    with pytest.raises(SoundMonitorError, match="No such file"):
        source.open()
