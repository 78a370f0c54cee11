"""Recordings are read whole; whatever is not whole is said in one sentence."""

import os
import shlex
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.audio.ring import Samples
from monitor.audio.sources.recording import Recording
from monitor.errors import AudioFileError, SoundMonitorError, UsageError
from tests.support.signals import chirp
from tests.support.wav_bytes import wav

RATE = 16_000
SOUND = chirp(2.3, highest=7_000, sample_rate=RATE, channels=2)


def write(path: Path, samples: Samples = SOUND, **options: str) -> Path:
    soundfile.write(path, samples.T, RATE, **options)
    return path


def play(path: Path) -> tuple[Samples, str | None]:
    """All samples, and the sentence of the error at the end, if any."""
    blocks = [np.empty((2, 0), np.float32)]
    with Recording(path) as recording:
        try:
            blocks += recording.blocks(1_000)
        except AudioFileError as error:
            return np.concatenate(blocks, axis=1), str(error)
    return np.concatenate(blocks, axis=1), None


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
        Recording(path).close()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such file"):
        Recording(tmp_path / "street.wav")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_wrong_usage(tmp_path: Path) -> None:
    path = write(tmp_path / "street.wav")
    path.chmod(0)
    with pytest.raises(UsageError, match="Permission denied"):
        Recording(path).close()


@pytest.mark.parametrize("odd_bytes", [0, 1, 2])
def test_a_truncated_wav_is_played_as_far_as_it_goes_and_then_an_error(
    tmp_path: Path, odd_bytes: int
) -> None:
    path = write(tmp_path / "a.wav")
    path.write_bytes(path.read_bytes()[: 44 + 4 * 20_000 + odd_bytes])
    samples, complaint = play(path)
    np.testing.assert_allclose(samples, SOUND[:, :20_000], atol=1e-4)
    assert complaint is not None
    assert "stops before its end; the 1.25 s that it has were read" in complaint


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


WHOLE = {
    "a.mp3": {},
    "a.ogg": {},
    "a.flac": {},
    "a.aiff": {},
    "a.caf": {},
    "a.w64": {},
    "a.au": {},
    "a.rf64": {},
    "alaw.wav": {"subtype": "ALAW"},
    "mulaw.wav": {"subtype": "ULAW"},
    "ima.wav": {"subtype": "IMA_ADPCM"},
    "ms.wav": {"subtype": "MS_ADPCM"},
}


@pytest.mark.parametrize("name", WHOLE)
def test_half_a_file_is_an_error(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, **WHOLE[name])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    words = r"stops before its end|damaged \(Error : flac decoder lost sync"
    with pytest.raises(AudioFileError, match=words) as caught, Recording(path) as half:
        assert sum(block.shape[1] for block in half.blocks(100)) < SOUND.shape[1]
    assert caught.value.reason in ("cut off", "damaged")
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", WHOLE)
def test_files_that_were_joined_are_an_error(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name, **WHOLE[name])
    path.write_bytes(path.read_bytes() * 2)
    words = r"the file goes on after the .* read|several recordings in one file"
    with pytest.raises(AudioFileError, match=words) as caught, Recording(path) as first:
        list(first.blocks(1_000))
    assert caught.value.reason == "joined"


def test_an_mp3_of_variable_rate_without_its_length_is_not_taken_for_whole(
    tmp_path: Path,
) -> None:
    """Libsndfile estimates how long it is, and reads no more than that."""
    path = tmp_path / "a.mp3"
    loud_end = np.concatenate([np.zeros((1, 9 * RATE), np.float32), SOUND[:1]], axis=1)
    with soundfile.SoundFile(
        path, "w", RATE, 1, bitrate_mode="VARIABLE", compression_level=0.1
    ) as sound:
        sound.write(loud_end[:, ::-1].T)
    frames = path.read_bytes()
    first = frames.index(b"\xff\xf3")
    path.write_bytes(frames[frames.index(b"\xff\xf3", first + 4) :])
    with pytest.raises(AudioFileError, match="the file goes on"), Recording(path) as it:
        list(it.blocks(1_000))


def test_a_length_of_rf64_that_is_eight_too_large_does_not_matter(
    tmp_path: Path,
) -> None:
    path = write(tmp_path / "a.rf64")
    data = bytearray(path.read_bytes())
    at = data.index(b"ds64") + 8
    (length,) = struct.unpack_from("<Q", data, at)
    struct.pack_into("<Q", data, at, length + 8)
    path.write_bytes(data)
    samples, complaint = play(path)
    assert samples.shape == SOUND.shape
    assert complaint is None


def test_a_file_that_grows_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav")
    with Recording(path) as recording:
        recording.read(100)
        with path.open("ab") as writer:
            writer.write(bytes(4_000))
        with pytest.raises(AudioFileError, match="changed while it was read"):
            list(recording.blocks(1_000))


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav")
    with Recording(path) as recording:
        recording.read(100)
        os.truncate(path, 10_000)
        with pytest.raises(AudioFileError, match="changed while it was read"):
            list(recording.blocks(1_000))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\0\0\0\x1cftypM4A " + bytes(100), "Format not recognised"),
        (wav(bytes(8_000), magic=b"BW64"), "BW64 is unknown to libsndfile"),
    ],
)
def test_for_an_unknown_format_the_error_names_commands_for_it(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "cam: 1's.m4a"
    path.write_bytes(content)
    with pytest.raises(AudioFileError, match=words) as caught:
        Recording(path)
    arguments = shlex.split(str(caught.value).partition("convert it: ")[2])
    assert arguments[:3] == ["ffmpeg", "-i", f"file:{path}"]
    kind, _, command = arguments[-1].partition(":")
    assert kind == "command"
    assert shlex.split(command)[4:] == ["-i", f"file:{path}", "-f", "wav", "-"]


@pytest.mark.parametrize("name", [b"caf\xe9.wav", b"a\nb.wav", b"\x1b[31m.wav"])
def test_any_name_is_one_printable_line(tmp_path: Path, name: bytes) -> None:
    path = tmp_path / os.fsdecode(name)
    path.write_bytes(b"no sound")
    with pytest.raises(AudioFileError) as caught:
        Recording(path)
    assert str(caught.value).isprintable()
