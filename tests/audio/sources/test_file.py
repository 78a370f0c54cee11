"""Recordings are read whole, at their own pace or at once; faults are one sentence."""

import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.audio.ring import Samples
from monitor.audio.sources.demo import SCENE_SECONDS, render_scene
from monitor.audio.sources.file import Demo, File, RecordingStream
from monitor.audio.sources.source import Speed
from monitor.errors import (
    AudioFileError,
    EndOfSourceError,
    SoundMonitorError,
    UsageError,
)
from tests.support.clock import FakeClock
from tests.support.signals import chirp, numbered
from tests.support.wav_bytes import wav

RATE = 16_000
SCENE_RATE = 8_000
SOUND = chirp(2.3, highest=7_000, sample_rate=RATE, channels=2)


def write(path: Path, samples: Samples = SOUND, **options: str) -> Path:
    soundfile.write(path, samples.T, RATE, **options)
    return path


def file(path: Path) -> File:
    return File(str(path), "max", FakeClock().monotonic)


def play(path: Path) -> tuple[Samples, str | None]:
    """All samples, and the sentence of the error at the end, if any."""
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
def test_every_format_is_read_whole(
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
    for _ in range(2):
        with closing(source.open()) as stream:
            block = stream.read(0)
        assert block is not None
        np.testing.assert_allclose(block[:, 0], SOUND[:, 0], atol=1e-4)


def damaged(path: Path, how: str) -> Path:
    if how in ("text", "empty", "noise"):
        content = {"text": b"some text\n", "empty": b"", "noise": os.urandom(500)}
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
        ("no samples", AudioFileError, "has no samples"),
        ("slow", AudioFileError, "has 4000 samples a second; 8000 to 192000"),
        ("fast", AudioFileError, "has 4000000000 samples|not a recording"),
        ("wide", AudioFileError, "has 65 channels; 64 are supported"),
        ("endless", UsageError, "not a regular file"),
        ("raw", AudioFileError, "use 'command:cat"),
        ("folder", UsageError, "not a regular file"),
    ],
)
def test_a_file_without_a_recording_is_rejected_at_once(
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
        ("~nobody-has-this-name/x.wav", "home directory"),
        ("x" * 5000, "File name too long"),
        ("/dev/null/x.wav", "there is no such file"),
        ("a\udc80\ud800", "surrogates not allowed"),
    ],
)
def test_an_impossible_name_is_wrong_usage(path: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        File(path, "max", FakeClock().monotonic)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_wrong_usage(tmp_path: Path) -> None:
    path = write(tmp_path / "street.wav")
    path.chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        file(path)


@pytest.mark.parametrize("odd_bytes", [0, 1, 2])
def test_a_truncated_wav_is_played_as_far_as_it_goes_and_then_an_error(
    tmp_path: Path, odd_bytes: int
) -> None:
    path = write(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[: 44 + 4 * 20_000 + odd_bytes])
    samples, complaint = play(path)
    np.testing.assert_allclose(samples, SOUND[:, :20_000], atol=1e-4)
    assert complaint is not None
    assert "stops before its end; the 1.25 s that it has were analysed" in complaint


def test_a_wrong_length_of_the_whole_wav_file_does_not_matter(tmp_path: Path) -> None:
    """As many programs write it: too large by the header's eight bytes."""
    path = write(tmp_path / "a.wav")
    data = path.read_bytes()
    path.write_bytes(data[:4] + len(data).to_bytes(4, "little") + data[8:])
    samples, complaint = play(path)
    assert samples.shape == SOUND.shape
    assert complaint is None


@pytest.mark.parametrize("length", [0x7FFF_F000, 0xFFFF_FFFF])
def test_a_wav_that_was_written_to_a_pipe_is_whole(tmp_path: Path, length: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(wav(bytes(32_000), channels=2, length=length))
    samples, complaint = play(path)
    assert samples.shape == (2, 8_000)
    assert complaint is None


@pytest.mark.parametrize("name", ["a.flac", "a.aiff", "a.w64", "a.au", "a.rf64"])
def test_other_truncated_files_are_errors_too(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    samples, complaint = play(path)
    assert samples.shape[1] < SOUND.shape[1]
    assert complaint is not None
    assert str(path) in complaint


def test_a_file_that_vanished_after_the_check_is_an_error(tmp_path: Path) -> None:
    source = file(write(tmp_path / "a.wav"))
    (tmp_path / "a.wav").unlink()
    with pytest.raises(SoundMonitorError, match="No such file"):
        source.open()


def read_all(stream: RecordingStream) -> Samples:
    """Everything until the end, at full speed."""
    blocks = []
    try:
        while (block := stream.read(1.0)) is not None:
            blocks.append(block)
    except EndOfSourceError:
        return np.concatenate(blocks, axis=1)
    raise AssertionError("a recording at full speed has no pauses")


def playing(samples: Samples, speed: Speed, clock: FakeClock) -> RecordingStream:
    position = 0

    def read_block(count: int) -> Samples:
        nonlocal position
        position += count
        return samples[:, position - count : position]

    return RecordingStream(
        read_block,
        lambda: None,
        sample_rate=SCENE_RATE,
        channels=samples.shape[0],
        speed=speed,
        now=clock.monotonic,
        sleep=clock.advance,
    )


def test_no_sample_comes_before_it_is_due_and_none_much_later() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, 10 * SCENE_RATE), "realtime", clock)
    stream.read(0)  # begins to play
    began = clock.monotonic()
    position = 0
    while position < 10 * SCENE_RATE:
        block = stream.read(0.03)
        if block is not None:
            position += block.shape[1]
        due = (clock.monotonic() - began) * SCENE_RATE
        assert position - 1e-3 <= due <= position + 0.15 * SCENE_RATE


def test_waiting_takes_no_longer_than_allowed() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, SCENE_RATE), "realtime", clock)
    before = clock.monotonic()
    assert stream.read(0.01) is None
    assert clock.monotonic() - before == pytest.approx(0.01)


def test_a_late_reader_catches_up() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, 10 * SCENE_RATE), "realtime", clock)
    stream.read(0)
    clock.advance(3.0)
    blocks = []
    while (block := stream.read(0)) is not None:
        blocks.append(block)
    samples = np.concatenate(blocks, axis=1)
    np.testing.assert_array_equal(samples, numbered(0, 3 * SCENE_RATE))


def test_at_full_speed_no_time_passes() -> None:
    clock = FakeClock()
    stream = playing(numbered(0, 10 * SCENE_RATE + 5, 2), "max", clock)
    before = clock.monotonic()
    samples = read_all(stream)
    assert clock.monotonic() == before
    np.testing.assert_array_equal(samples, numbered(0, 10 * SCENE_RATE + 5, 2))


def test_the_demo_plays_the_scene_once() -> None:
    demo = Demo(SCENE_RATE, "max", FakeClock().monotonic)
    with closing(demo.open()) as stream:
        samples = read_all(stream)
        assert (stream.sample_rate, stream.channels) == (SCENE_RATE, 1)
    assert samples.shape == (1, round(SCENE_SECONDS * SCENE_RATE))
    np.testing.assert_array_equal(samples, render_scene(SCENE_RATE))
