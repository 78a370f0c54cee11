"""Recordings in files, of every format that libsndfile reads.

Recordings: sources that end, played at their own pace or as fast as one listens.
"""

import re
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import soundfile

from monitor.audio.ring import Samples
from monitor.audio.sources.source import HIGHEST_RATE, LOWEST_RATE, MOST_CHANNELS
from monitor.audio.sources.stream import UNSURE_LENGTH, parse_header
from monitor.errors import AudioFileError, EndOfSourceError, SourceError, UsageError

Speed = Literal["realtime", "max"]

_PACED_BLOCK_SECONDS = 0.1
_FULL_SPEED_BLOCK_SECONDS = 1.0
_OPENING_SECONDS = 10.0
_DEMO_RATE = 44_100


class RecordingStream:
    """A recording that is being played."""

    def __init__(
        self,
        read_block: Callable[[int], Samples],
        close: Callable[[], None],
        *,
        sample_rate: int,
        channels: int,
        speed: Speed,
        now: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Play what `read_block` delivers.

        Args:
            read_block: Reads at most so many samples; none at the end.
            close: Called by `close`.
            sample_rate: Samples a second.
            channels: Channels of a block.
            speed: Whether a block waits until its last sample has been sound.
            now: Monotonic seconds.
            sleep: Lets so many of them pass.
        """
        self.sample_rate = sample_rate
        self.channels = channels
        self.close = close
        self._read_block = read_block
        self._paced = speed == "realtime"
        self._now = now
        self._sleep = sleep
        self._began: float | None = None
        self._position = 0
        seconds = _PACED_BLOCK_SECONDS if self._paced else _FULL_SPEED_BLOCK_SECONDS
        self._block_samples = max(1, round(seconds * sample_rate))

    def read(self, timeout_seconds: float) -> Samples | None:
        """Return the next block when it is due; see `SourceStream`.

        Raises:
            EndOfSourceError: The recording is over.
            AudioFileError: The rest of it cannot be read.
        """
        if self._paced and not self._is_due_within(timeout_seconds):
            return None
        block = self._read_block(self._block_samples)
        if block.shape[1] == 0:
            raise EndOfSourceError("the recording is over")
        self._position += block.shape[1]
        return block

    def _is_due_within(self, timeout_seconds: float) -> bool:
        if self._began is None:
            self._began = self._now()
        stop = self._position + self._block_samples
        wait = self._began + stop / self.sample_rate - self._now()
        if wait > 0:
            self._sleep(min(wait, timeout_seconds))
        return wait <= timeout_seconds


class Demo:
    """The demo scene, played like a recording."""

    live = False
    opening_seconds = _OPENING_SECONDS
    description = "demo scene"

    def __init__(
        self, sample_rate: int | None, speed: Speed, now: Callable[[], float]
    ) -> None:
        """Prepare to play at `sample_rate`, None for 44.1 kHz."""
        self._sample_rate = sample_rate or _DEMO_RATE
        self._speed = speed
        self._now = now

    def open(self) -> RecordingStream:
        """Compute the scene, which takes a moment, and begin to play it."""
        from monitor.audio.sources.demo import render_scene

        scene = render_scene(self._sample_rate)
        position = 0

        def read_block(count: int) -> Samples:
            nonlocal position
            position += count
            return scene[:, position - count : position]

        return RecordingStream(
            read_block,
            lambda: None,
            sample_rate=self._sample_rate,
            channels=scene.shape[0],
            speed=self._speed,
            now=self._now,
        )


_HEADER_BYTES = 2**16

_LOGGED_LENGTHS = re.compile(r": (\d+) \(should be (\d+)\)")
"""How libsndfile notes that a header does not fit the file."""


class _Recording(soundfile.SoundFile):  # type: ignore[misc]  # has no types
    """A file that is read from beginning to end.

    Of one that can seek, soundfile seeks to where it already is after each read, and an
    MP3 decoder begins anew there: a click at every edge of a block.
    """

    def seekable(self) -> bool:
        return False


class File:
    """A recording in a file."""

    live = False
    opening_seconds = _OPENING_SECONDS

    def __init__(
        self,
        path: str,
        speed: Speed,
        now: Callable[[], float],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Check that `path` is a recording that can be listened to.

        Raises:
            UsageError: There is no such file, or it may not be read.
            AudioFileError: It is no recording, or holds no sound.
        """
        self._path = _expanded(path)
        self._speed = speed
        self._now = now
        self._sleep = sleep
        self.description = f"file {path!r}"
        try:
            status = self._path.stat()
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"file:{path}: there is no such file") from None
        except (OSError, ValueError) as error:
            raise UsageError(f"file:{path}: {_reason(error)}") from None
        if not stat.S_ISREG(status.st_mode):
            raise UsageError(f"file:{path}: it is no regular file; name a recording")
        _open(self._path).close()

    def open(self) -> RecordingStream:
        """Begin to play it.

        Raises:
            AudioFileError: It cannot be read any more.
        """
        sound = _open(self._path)
        fault = _fault_of_length(sound, self._path)
        delivered = 0

        def read_block(count: int) -> Samples:
            nonlocal delivered
            block = _read(sound, count, self._path)
            delivered += block.shape[1]
            if block.shape[1] == 0 and fault is not None:
                raise AudioFileError(
                    f"{self._path}: the recording {fault}; what it holds, "
                    f"{delivered / sound.samplerate:.2f} s, was heard"
                )
            return block

        return RecordingStream(
            read_block,
            sound.close,
            sample_rate=sound.samplerate,
            channels=sound.channels,
            speed=self._speed,
            now=self._now,
            sleep=self._sleep,
        )


def _expanded(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise UsageError(f"file:{path}: {_reason(error).lower()}") from None


def _open(path: Path) -> _Recording:
    try:
        if path.stat().st_size == 0:
            raise AudioFileError(f"{path}: the file is empty")
        sound = _Recording(path)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except TypeError as error:  # asked for what a file called .raw does not tell
        raise AudioFileError(
            f"{path}: a raw file does not say what it holds; use 'command:cat {path}' "
            "with sample_rate, channels and sample_format"
        ) from error
    except soundfile.SoundFileError as error:
        raise AudioFileError(
            f"{path}: it is not a recording that can be read ({_reason(error)})"
        ) from error
    fault = None
    if sound.frames == 0:
        fault = (
            "holds no sound, as its header says; if it was cut off, try "
            f"'command:cat {path}'"
        )
    elif not LOWEST_RATE <= sound.samplerate <= HIGHEST_RATE:
        fault = (
            f"has {sound.samplerate} samples a second; {LOWEST_RATE} to {HIGHEST_RATE} "
            "can be heard"
        )
    elif sound.channels > MOST_CHANNELS:
        fault = f"has {sound.channels} channels; {MOST_CHANNELS} can be heard"
    if fault is not None:
        sound.close()
        raise AudioFileError(f"{path}: the recording {fault}")
    return sound


def _read(sound: _Recording, count: int, path: Path) -> Samples:
    try:
        block = sound.read(count, dtype="float32", always_2d=True)  # (n, channels)
    except soundfile.SoundFileError as error:
        raise AudioFileError(
            f"{path}: the recording is damaged ({_reason(error)})"
        ) from error
    return np.ascontiguousarray(block.T)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(getattr(error, "error_string", error)).strip().rstrip(".")


def _fault_of_length(sound: _Recording, path: Path) -> str | None:
    """What is wrong with the length of a file; libsndfile makes no fuss of it."""
    with path.open("rb") as file:
        beginning = file.read(_HEADER_BYTES)
    if beginning[:4] == b"RIFF":
        return _fault_of_wav(beginning, path.stat().st_size)
    for stated, found in _LOGGED_LENGTHS.findall(sound.extra_info):
        if int(found) < int(stated) < UNSURE_LENGTH:
            return "stops before its end"
    return None


def _fault_of_wav(beginning: bytes, size: int) -> str | None:
    try:
        header = parse_header(beginning)
    except SourceError:
        return None  # an encoding that only libsndfile knows
    if header is None:
        return None
    held = size - header.data_start
    data_bytes = header.data_bytes if header.says_length else held
    if min(held, data_bytes) % header.pcm_format.frame_bytes:
        return "stops in the middle of a sample"
    return "stops before its end" if held < data_bytes else None
