"""The clocks of the machine, their agreement, and the time of each sample."""

import time
from bisect import bisect_left
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

# Linux's CLOCK_MONOTONIC stops while the machine sleeps; others' goes on.
_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

_SAME_MOMENT_SECONDS = 0.01
_TRIES = 5

_MOST_ANCHORS = 2048
"""Most estimates kept: a day in steps of half a minute, older ones in longer steps."""


EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)


def is_plausible(moment: datetime) -> bool:
    """Return whether a time is of a clock that was set."""
    return EARLIEST <= moment < LATEST


class Clock(Protocol):
    """The clocks of a machine; faked in tests."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never steps, and goes on in sleep."""

    def utc(self) -> datetime:
        """Time of day; may step."""


class SystemClock:
    """The clocks of this machine."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never steps, and goes on in sleep."""
        return time.clock_gettime(_SINCE_BOOT)

    def utc(self) -> datetime:
        """Time of day; may step."""
        return datetime.now(UTC)


def boot_id() -> str:
    """Id of this run of the machine, in which `SystemClock.monotonic` goes on.

    It is empty where the system has none.
    """
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


class SampleClock:
    """The time at which each sample of one source was recorded.

    A block arrives some time after its last sample was recorded: never before, often at
    once, sometimes late.  Each block gives an estimate of the time of sample 0; the
    earliest of the last `memory_seconds` to twice that counts.  This follows a sound
    card whose clock drifts against the machine's, and late blocks do not disturb it.

    Earlier estimates are kept, so that the start of a long event stays right: a card
    that is off by 200 ppm errs by 0.7 s in an hour.

    Time of day is found by counting back from now, so that a step of the wall clock
    moves only the records after it.
    """

    def __init__(
        self,
        clock: Clock,
        sample_rate: int,
        *,
        start: int = 0,
        memory_seconds: float = 30.0,
    ) -> None:
        """Begin now, at the sample index `start`."""
        self._clock = clock
        # Counts until the first block: a source that is missing has gaps before it.
        self._opening_zero = clock.monotonic() - start / sample_rate
        self._sample_rate = sample_rate
        self._memory_seconds = memory_seconds
        self._epoch_began = clock.monotonic()
        self._earliest_now = float("inf")
        self._earliest_before = float("inf")
        self._stop = 0
        # At the end of each epoch: the newest sample, and when sample 0 seemed to be.
        self._stops: list[int] = []
        self._zeros: list[float] = []

    def anchor(self, arrivals: Iterable[tuple[int, float]]) -> None:
        """Use the arrivals of blocks.

        Args:
            arrivals: Index after a block's last sample, and the monotonic seconds at
                which it arrived; in order.
        """
        for stop, seconds in arrivals:
            if seconds - self._epoch_began > self._memory_seconds:
                self._begin_epoch(seconds)
            zero = seconds - stop / self._sample_rate
            self._earliest_now = min(self._earliest_now, zero)
            self._stop = stop

    def monotonic(self, sample: int) -> float:
        """Monotonic seconds at which `sample` was recorded, or is to be recorded."""
        zero = self._zero(sample)
        if zero == float("inf"):
            zero = self._opening_zero
        return zero + sample / self._sample_rate

    def utc(self, sample: int) -> datetime:
        """Time of day, UTC, at which `sample` was recorded."""
        now, wall = both_clocks(self._clock)
        return wall - timedelta(seconds=now - self.monotonic(sample))

    def _begin_epoch(self, seconds: float) -> None:
        zero = self._newest_zero
        if zero != float("inf"):
            self._stops.append(self._stop)
            self._zeros.append(zero)
        if len(self._stops) > _MOST_ANCHORS:
            # Every second one is enough: a card's clock drifts slowly.
            self._stops, self._zeros = self._stops[::2], self._zeros[::2]
        self._epoch_began = seconds
        self._earliest_before = self._earliest_now
        self._earliest_now = float("inf")

    @property
    def _newest_zero(self) -> float:
        return min(self._earliest_now, self._earliest_before)

    def _zero(self, sample: int) -> float:
        """Monotonic seconds at which sample 0 was recorded, as seen from `sample`."""
        after = bisect_left(self._stops, sample)
        if after == len(self._stops):
            return self._newest_zero
        if after == 0:
            return self._zeros[0]
        first, last = self._stops[after - 1], self._stops[after]
        share = (sample - first) / (last - first)
        return self._zeros[after - 1] * (1 - share) + self._zeros[after] * share


STEADY_SECONDS = 3 * 3600.0
"""A wall clock that has not stepped for so long is believed."""

DOUBTED_SECONDS = 3 * 86_400.0
"""The same for one that shows a time long after everything that was stored."""

LONG_AFTER = timedelta(days=7)
STEP = timedelta(minutes=1)


class WallClockCheck:
    """Tells whether the wall clock can be believed when it says that things are old.

    A machine without a battery, or with a wrong one, shows any time after its start.
    Then the clock is set, or it goes on wrongly.  So it is believed after hours without
    a step, or after days if it has come to its time by a great leap from the newest
    thing that was stored before: it may be wrong, or the machine was off.
    """

    def __init__(self, clock: Clock) -> None:
        """Begin to watch now."""
        self._clock = clock
        self.leap = timedelta()
        """Time in which nothing was stored, and all steps of this run."""

        self._begin()

    @property
    def doubted_since(self) -> datetime:
        """Begin of the days in which a wrong clock would not have been believed."""
        return self._clock.utc() - timedelta(seconds=DOUBTED_SECONDS)

    def note_newest(self, newest: datetime | None) -> None:
        """Take the time of the newest thing that was stored before `doubted_since`.

        What is newer may be from an earlier run with the same wrong clock.
        """
        if newest is not None:
            self.leap = max(self.leap, self.doubted_since - newest)

    @property
    def is_leap(self) -> bool:
        """True after a leap that casts doubt on the clock."""
        return self.leap > LONG_AFTER

    def is_believed(self) -> bool:
        """Look at both clocks; must be called now and then, to notice steps."""
        now, wall = both_clocks(self._clock)
        step = wall - self._began_utc - timedelta(seconds=now - self._began)
        if abs(step) > STEP:
            self.leap += step
            self._begin()
            return False
        needed = DOUBTED_SECONDS if self.is_leap else STEADY_SECONDS
        return now - self._began >= needed

    def _begin(self) -> None:
        self._began, self._began_utc = both_clocks(self._clock)


def both_clocks(clock: Clock) -> tuple[float, datetime]:
    """Monotonic seconds and the time of day of one moment.

    The process may be held up, or put to sleep, between a look at the one and a look at
    the other.
    """
    for _ in range(_TRIES):
        before, wall = clock.monotonic(), clock.utc()
        if clock.monotonic() - before < _SAME_MOMENT_SECONDS:
            break
    return before, wall
