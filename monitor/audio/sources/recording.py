"""Recordings: sources that end, played at their own pace or as fast as one listens."""

import time
from collections.abc import Callable
from typing import Literal

from monitor.audio.ring import Samples
from monitor.errors import EndOfSourceError

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
