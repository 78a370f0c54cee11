"""Recordings: files of every format that libsndfile reads, and the demo scene."""

import os
import re
import stat
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from monitor.audio.ring import Samples
from monitor.audio.sources.pcm import UNSURE_LENGTH
from monitor.audio.sources.source import (
    HIGHEST_RATE,
    LOWEST_RATE,
    MOST_CHANNELS,
    Speed,
)
from monitor.errors import AudioFileError, EndOfSourceError, UsageError

_PACED_BLOCK_SECONDS = 0.1
_FULL_SPEED_BLOCK_SECONDS = 1.0
_OPENING_SECONDS = 10.0

_LOGGED_LENGTHS = re.compile(r"^(?!RIFF).*: (\d+) \(should be (\d+)\)", re.MULTILINE)
"""Note of libsndfile that a length in the header does not fit the file.

That of a whole WAV file is often wrong; that of its samples is noted too.
"""


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
        """Play the blocks of `read_block`, which reads at most so many samples.

        At speed "realtime" a block comes when its last sample is due.
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
            EndOfSourceError: The recording has ended.
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

    opening_seconds = _OPENING_SECONDS
    description = "demo scene"

    def __init__(
        self, sample_rate: int, speed: Speed, now: Callable[[], float]
    ) -> None:
        self._sample_rate = sample_rate
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


class _Recording(soundfile.SoundFile):  # type: ignore[misc]  # has no types
    """A file that is read from beginning to end.

    In one that can seek, soundfile seeks to where it already is after each read, and an
    MP3 decoder begins anew there: a click at every edge of a block.
    """

    def seekable(self) -> bool:
        return False


class File:
    """A recording in a file."""

    opening_seconds = _OPENING_SECONDS

    def __init__(self, path: str, speed: Speed, now: Callable[[], float]) -> None:
        """Check that `path` is a recording that can be played.

        Raises:
            UsageError: There is no such file, or it may not be read.
            AudioFileError: It is not a recording, or has no samples.
        """
        self._speed = speed
        self._now = now
        self.description = f"file {path!r}"
        try:
            self._path = Path(path).expanduser()
            mode = self._path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            raise UsageError(f"{path}: there is no such file") from None
        except (OSError, ValueError, RuntimeError) as error:
            raise UsageError(f"{path}: {_reason(error)}") from None
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path}: not a regular file; name a recording")
        _open(self._path).close()

    def open(self) -> RecordingStream:
        """Begin to play it.

        Raises:
            AudioFileError: It cannot be read any more.
        """
        sound = _open(self._path)
        delivered = 0

        def read_block(count: int) -> Samples:
            nonlocal delivered
            try:
                block = sound.read(count, dtype="float32", always_2d=True)
            except soundfile.SoundFileError as error:
                raise AudioFileError(
                    f"{self._path}: the recording is damaged ({_reason(error)})"
                ) from error
            delivered += len(block)
            if len(block) == 0 and _is_cut_off(sound):
                raise AudioFileError(
                    f"{self._path}: the recording stops before its end; the "
                    f"{delivered / sound.samplerate:.2f} s that it has were analysed"
                )
            return np.ascontiguousarray(block.T)  # (channels, n)

        return RecordingStream(
            read_block,
            sound.close,
            sample_rate=sound.samplerate,
            channels=sound.channels,
            speed=self._speed,
            now=self._now,
        )


def _open(path: Path) -> _Recording:
    try:
        path.open(
            "rb"
        ).close()  # for the system's reason, which libsndfile does not say
        if path.stat().st_size == 0:
            raise AudioFileError(f"{path}: the file is empty")
        sound = _Recording(os.fsencode(path))  # soundfile encodes strictly
    except OSError as error:
        raise UsageError(f"{path}: {_reason(error)}") from error
    except TypeError as error:  # a file called .raw has no format
        raise AudioFileError(
            f"{path}: a raw file does not say what it holds; use 'command:cat {path}' "
            "with sample_rate, channels and sample_format"
        ) from error
    except soundfile.SoundFileError as error:
        raise AudioFileError(
            f"{path}: not a recording that can be read ({_reason(error)})"
        ) from error
    fault = _fault(sound, path)
    if fault is not None:
        sound.close()
        raise AudioFileError(f"{path}: the recording {fault}")
    return sound


def _fault(sound: _Recording, path: Path) -> str | None:
    if sound.frames == 0:
        return (
            "has no samples, as its header says; if it was cut off, try "
            f"'command:cat {path}'"
        )
    if not LOWEST_RATE <= sound.samplerate <= HIGHEST_RATE:
        return (
            f"has {sound.samplerate} samples a second; {LOWEST_RATE} to {HIGHEST_RATE} "
            "are supported"
        )
    if sound.channels > MOST_CHANNELS:
        return f"has {sound.channels} channels; {MOST_CHANNELS} are supported"
    return None


def _is_cut_off(sound: _Recording) -> bool:
    """Compare the lengths in the header with the file; libsndfile only logs them."""
    return any(
        int(found) < int(stated) < UNSURE_LENGTH
        for stated, found in _LOGGED_LENGTHS.findall(sound.extra_info)
    )


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(getattr(error, "error_string", error)).strip().rstrip(".")
