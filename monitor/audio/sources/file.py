"""Recordings and the demo scene as sources, played at their own pace or at once."""

import logging
import time
from collections.abc import Callable
from pathlib import Path

from monitor.audio.ring import Samples
from monitor.audio.sources.recording import Recording
from monitor.audio.sources.source import STALL_SECONDS, Speed
from monitor.errors import EndOfSourceError, UsageError
from monitor.text import path_text, printable

logger = logging.getLogger(__name__)

_PACED_BLOCK_SECONDS = 0.1
_FULL_SPEED_BLOCK_SECONDS = 1.0
_OPENING_SECONDS = 10.0


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
    stall_seconds = STALL_SECONDS
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


class File:
    """A recording in a file, as a source."""

    opening_seconds = _OPENING_SECONDS
    stall_seconds = STALL_SECONDS

    def __init__(
        self, path: str | Path, speed: Speed, now: Callable[[], float]
    ) -> None:
        """Check that `path` is a recording that can be played.

        In a `str`, as a configuration has it, ~ is the home folder.

        Raises:
            UsageError: There is no such file, or it may not be read.
            AudioFileError: It is not a recording, or has no samples.
        """
        self._speed = speed
        self._now = now
        self.description = f"file '{printable(path_text(path))}'"
        try:
            self._path = path if isinstance(path, Path) else Path(path).expanduser()
        except RuntimeError as error:
            raise UsageError(f"{path}: {error}") from None
        Recording(self._path).close()

    def open(self) -> RecordingStream:
        """Begin to play it.

        Raises:
            UsageError: It is gone.
            AudioFileError: It cannot be read any more.
        """
        recording = Recording(self._path)

        def read(count: int) -> Samples:
            block = recording.read(count)
            if recording.extent == "unknown":
                logger.warning(
                    "%s: whether it is complete is unknown; it does not state a length",
                    self.description,
                )
            return block

        return RecordingStream(
            read,
            recording.close,
            sample_rate=recording.sample_rate,
            channels=recording.channels,
            speed=self._speed,
            now=self._now,
        )
