"""Clocks: the machine's, and where a source's samples stand on it."""

import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What the monitor knows of time."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never steps."""

    def utc(self) -> datetime:
        """What the clock on the wall says; may step."""


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never steps."""
        return time.monotonic()

    def utc(self) -> datetime:
        """What the clock on the wall says; may step."""
        return datetime.now(UTC)


class SampleClock:
    """When the samples of one source were sound.

    A block arrives some time after its last sample was sound: never before, often at
    once, sometimes late.  So of the moments at which sample 0 could have been sound,
    judged by each block, the earliest of the last `memory_seconds` to twice that is
    taken.  This follows a sound card whose clock drifts against the machine's, and is
    not fooled by late blocks.

    Wall-clock time is found by counting back from now, so that a step of the wall clock
    moves only what is told after it.
    """

    def __init__(
        self, clock: Clock, sample_rate: int, *, memory_seconds: float = 30.0
    ) -> None:
        self._clock = clock
        self._sample_rate = sample_rate
        self._memory_seconds = memory_seconds
        self._epoch_began = clock.monotonic()
        self._earliest_now = float("inf")
        self._earliest_before = float("inf")

    def anchor(self, arrivals: Iterable[tuple[int, float]]) -> None:
        """Learn from blocks that arrived.

        Args:
            arrivals: Index after a block's last sample, and the monotonic seconds at
                which it arrived; in order.
        """
        for stop, seconds in arrivals:
            if seconds - self._epoch_began > self._memory_seconds:
                self._epoch_began = seconds
                self._earliest_before = self._earliest_now
                self._earliest_now = float("inf")
            zero = seconds - stop / self._sample_rate
            self._earliest_now = min(self._earliest_now, zero)

    def monotonic(self, sample: int) -> float:
        """Monotonic seconds at which `sample` was sound; now, before any arrived."""
        zero = min(self._earliest_now, self._earliest_before)
        if zero == float("inf"):
            return self._clock.monotonic()
        return zero + sample / self._sample_rate

    def utc(self, sample: int) -> datetime:
        """Time of day, UTC, at which `sample` was sound."""
        age = self._clock.monotonic() - self.monotonic(sample)
        return self._clock.utc() - timedelta(seconds=age)
