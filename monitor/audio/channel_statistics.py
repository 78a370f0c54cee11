"""What the samples of a source say of its microphone, a cell at a time.

Measured where they come in, before anything changes them: a resampler rounds off the
flat tops of a clipped wave, and a dead channel is replaced on the way.

The noise floor of a source, and whether it fell: a covered or muffled microphone.
"""

from collections import deque
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.audio.ring import Samples

CELL_SECONDS = 0.5
_MOST_WAITING = 1024

_FULL_SCALE = 0.98
"""Where a flat top is clipped; 8-bit and mu-law sound ends not far above it."""

_FLAT_SAMPLES = 3
_STEEP = 1e-3
"""A wave runs into its flat top by a step of at least this, re the top.

The top of a low unclipped tone may be flat for some samples as well, once it is rounded
to 16 bits, but its neighbours are the next steps below.
"""


@dataclass(frozen=True, slots=True)
class ChannelVitals:
    """One channel in one cell."""

    lowest: float
    highest: float
    mean: float
    power: float
    """Mean square without the mean: that of what swings."""

    clipped: int
    """Samples in flat tops at full scale."""

    @property
    def is_constant(self) -> bool:
        """Whether it holds one value all the time."""
        return self.lowest == self.highest

    @property
    def is_zero(self) -> bool:
        """Whether there is nothing but zeros."""
        return self.is_constant and self.lowest == 0.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """The channels of a source in one cell, before resampling.

    `start` and `stop` are where it lies on the timeline of the source, at the model's
    sample rate.
    """

    start: int
    stop: int
    channels: tuple[ChannelVitals, ...]


class VitalsQueue:
    """From the capture thread to the worker; if it is full, the oldest are gone."""

    def __init__(self) -> None:
        self._waiting: deque[Vitals] = deque(maxlen=_MOST_WAITING)

    def put(self, vitals: Vitals) -> None:
        """Hand over a cell.  Runs on the capture thread."""
        self._waiting.append(vitals)

    def take(self) -> list[Vitals]:
        """Return the cells since the last call, in order.  The worker thread."""
        # Either end of a deque may be used by a thread of its own.
        return [self._waiting.popleft() for _ in range(len(self._waiting))]


class CellMeter:
    """Measures a stream in cells of half a second, counted from its first sample.

    So what it finds does not depend on the sizes of the blocks.  Not thread-safe.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        """Begin a stream of `channels` channels at `sample_rate`."""
        self.samples = round(CELL_SECONDS * sample_rate)
        """Length of a cell, samples of the stream."""

        self._cell = np.zeros((channels, self.samples), np.float32)
        self._filled = 0

    def push(self, block: Samples) -> list[tuple[ChannelVitals, ...]]:
        """Take the samples that follow; return the channels of each completed cell.

        Args:
            block: float32, shape (channels, n), finite, any n.
        """
        count = block.shape[1]
        measured = []
        start = 0
        while self._filled + count - start >= self.samples:
            stop = start + self.samples - self._filled
            self._cell[:, self._filled :] = block[:, start:stop]
            measured.append(_measured(self._cell))
            start, self._filled = stop, 0
        # The cell is kept, not its sums so far: in other pieces they are rounded
        # otherwise.
        filled = self._filled + count - start
        self._cell[:, self._filled : filled] = block[:, start:] if start else block
        self._filled = filled
        return measured


def _measured(cell: Samples) -> tuple[ChannelVitals, ...]:
    return tuple(_vitals(channel) for channel in cell)


def _vitals(wave: NDArray[np.float32]) -> ChannelVitals:
    lowest, highest = float(wave.min()), float(wave.max())
    if lowest == highest:
        return ChannelVitals(lowest, highest, lowest, 0.0, 0)
    mean = float(wave.mean())
    power = max(0.0, float(np.dot(wave, wave)) / wave.size - mean * mean)
    clipped = _clipped(wave) if max(highest, -lowest) >= _FULL_SCALE else 0
    return ChannelVitals(lowest, highest, mean, power, clipped)


def _clipped(wave: NDArray[np.float32]) -> int:
    """Samples in flat tops: runs of one value at full scale with steep flanks."""
    at_top = np.abs(wave[1:]) >= _FULL_SCALE
    held = np.flatnonzero(at_top & (wave[1:] == wave[:-1])) + 1
    if held.size == 0:
        return 0
    # Runs of consecutive indices; a run of n is n + 1 samples of one value.
    breaks = np.flatnonzero(np.diff(held) > 1) + 1
    first = held[np.concatenate([[0], breaks])] - 1
    last = held[np.concatenate([breaks - 1, [held.size - 1]])]
    top = wave[first]
    before = wave[np.maximum(first - 1, 0)]
    after = wave[np.minimum(last + 1, wave.size - 1)]
    least_step = _STEEP * np.abs(top)
    is_steep = (np.abs(top - before) >= least_step) | (
        np.abs(top - after) >= least_step
    )
    lengths = last - first + 1
    return int(lengths[is_steep & (lengths >= _FLAT_SAMPLES)].sum())


MINUTE_SECONDS = 60
LEAST_LEVELS = 20
"""A minute with fewer levels, because sound was lost, says nothing."""

FLOOR_SHARE = 0.1
"""The floor of a minute: the level below which a tenth of its hops lie."""

RECENT_MINUTES = 10
"""The floor has fallen, or is back, once all of these minutes say so."""

DAY_MINUTES = 1440
LEARNED_MINUTES = 120
"""Before it knows so many it says nothing, and so long a fall is learned as normal."""

QUIET_SHARE = 0.05
"""The quietest hours of a day: 72 minutes are quieter."""

AWAY_MINUTES = 10
"""After so long a gap it begins anew: it may be another microphone, or place."""


@dataclass(frozen=True, slots=True)
class Change:
    """The floor fell, or is over it."""

    state: Literal["fell", "back", "forgotten"]
    start: int
    """Sample at which the fall began."""

    stop: int
    """Sample at which this is known; of "back", at which the fall ended."""

    fall_db: float
    """How far below the quietest hours, at least."""


class NoiseFloor:
    """Compares the floor of the latest minutes with the quietest hours of a day.

    Evenings and nights are learned as they come, and are no fall: the level must go,
    in less time than the quietest hours take to follow, below all of them, and stay
    there.  What came back by itself after hours was the place, and is normal for a day;
    what came back sooner was a hand.  A number a minute is kept.  Not thread-safe.
    """

    def __init__(self, sample_rate: int) -> None:
        """Begin with nothing known."""
        self._minute_samples = MINUTE_SECONDS * sample_rate
        self._minute = 0
        self._levels: list[float] = []
        self._history: deque[float] = deque(maxlen=DAY_MINUTES)
        self._recent: deque[float] = deque(maxlen=RECENT_MINUTES)
        self._fallen: deque[float] | None = None
        """The floors since it fell; None: it has not fallen."""

        self._began = 0

    def push(self, stop: int, level_db: float, fall_db: float) -> Change | None:
        """Take the level of the hop that ends at sample `stop`, in order.

        So far below the quietest hours as `fall_db` is a fall.
        """
        minute = (stop - 1) // self._minute_samples
        change = None
        if minute != self._minute:
            change = self._close_minute(fall_db)
            if minute - self._minute > AWAY_MINUTES:
                change = self._forget() or change
            self._minute = minute
        self._levels.append(level_db)
        return change

    def _close_minute(self, fall_db: float) -> Change | None:
        levels, self._levels = sorted(self._levels), []
        if len(levels) < LEAST_LEVELS:
            return None
        if len(self._recent) == RECENT_MINUTES:
            known = self._history if self._fallen is None else self._fallen
            known.append(self._recent[0])
        self._recent.append(levels[int(FLOOR_SHARE * len(levels))])
        if len(self._recent) < RECENT_MINUTES or len(self._history) < LEARNED_MINUTES:
            return None
        return self._compare(_quietest(self._history), fall_db)

    def _compare(self, quietest_db: float, fall_db: float) -> Change | None:
        span = RECENT_MINUTES * self._minute_samples
        stop = (self._minute + 1) * self._minute_samples
        if self._fallen is None:
            below_db = quietest_db - max(self._recent)
            if below_db < fall_db:
                return None
            self._fallen = deque(maxlen=DAY_MINUTES)
            self._began = max(0, stop - span)
            return Change("fell", self._began, stop, below_db)
        # Half of the fall must be made up for: it does not hover at the edge.
        if min(self._recent) <= quietest_db - fall_db / 2:
            return None
        if len(self._fallen) >= LEARNED_MINUTES:
            self._history.extend(self._fallen)
        self._fallen = None
        return Change("back", self._began, max(self._began, stop - span), 0.0)

    def _forget(self) -> Change | None:
        """Begin anew, after a long gap."""
        was_fallen, self._fallen = self._fallen is not None, None
        self._history.clear()
        self._recent.clear()
        if not was_fallen:
            return None
        stop = (self._minute + 1) * self._minute_samples
        return Change("forgotten", self._began, stop, 0.0)


def _quietest(floors: deque[float]) -> float:
    ordered = sorted(floors)
    return ordered[int(QUIET_SHARE * len(ordered))]
