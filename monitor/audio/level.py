"""Level of a stream: re full scale, A-weighted, and the noise floor under it."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from monitor.audio.ring import Samples
from monitor.audio.third_octaves import ThirdOctaveBands, ThirdOctaveMeter
from monitor.audio.weighting import OVERLAP_SLOTS, STEP_SLOTS, AWeighting, FastWeighting
from monitor.records import HopLevels

FLOOR_DB = -120.0
"""Level of digital silence, dB re full scale; no level is lower."""


@dataclass(frozen=True, slots=True)
class Level:
    """Level of the samples of one hop."""

    level_dbfs: float
    """Root mean square over all channels, dB re 1.0: a full-scale sine has -3.01."""

    laeq_db: float
    """A-weighted equivalent level (LAeq), dB re 1.0 plus the offset of the meter."""

    hop: HopLevels = field(compare=False)
    """More about the hop; its time weighting remembers the sound before."""


class LevelMeter:
    """Measures the consecutive hops of one stream.  Not thread-safe."""

    def __init__(
        self,
        weighting: AWeighting,
        offset_db: float,
        third_octaves: ThirdOctaveBands | None = None,
    ) -> None:
        """Begin a stream; `offset_db` is added to all levels but that re full scale."""
        self._weighting = weighting
        self._offset_db = offset_db
        self._fast = FastWeighting(weighting.slot_seconds)
        self._octaves = (
            None if third_octaves is None else ThirdOctaveMeter(third_octaves)
        )
        self._tail: Samples | None
        self._overlap: NDArray[np.float64]
        self._laeq_db: float
        self.restart()

    def restart(self) -> None:
        """Begin another stream, maybe of other channels."""
        self._tail = None
        self._overlap = np.zeros(OVERLAP_SLOTS)
        self._laeq_db = FLOOR_DB + self._offset_db
        self._fast.restart()
        if self._octaves is not None:
            self._octaves.restart()

    def measure(self, samples: Samples) -> Level:
        """Measure the samples that follow.

        The A-weighted levels are those of the frames which these samples complete, so
        they lag by a sixth of a frame to five sixths (23 to 116 ms at 44.1 kHz).  Where
        they complete none, the LAeq stays as it was; at first, on the floor.

        Args:
            samples: float32, shape (channels, n), n > 0, finite; always the same
                channels.
        """
        flat = np.ascontiguousarray(samples).reshape(-1)
        level_dbfs = _decibels(float(np.dot(flat, flat)) / flat.size)
        octaves = self._third_octaves(samples)
        powers = self._weighted_powers(samples)
        if len(powers):
            mean = float(powers.sum()) / (len(powers) * STEP_SLOTS)
            self._laeq_db = self._level(mean)
        largest, laf = self._fast.push(self._joined(powers).tolist())
        hop = HopLevels(
            samples=len(powers) * self._weighting.step,
            offset_db=self._offset_db,
            lafmax_db=self._level(largest),
            laf_db=tuple(map(self._level, laf)),
            third_octaves_db=octaves,
            third_octave_samples=0 if self._octaves is None else self._octaves.step,
        )
        return Level(level_dbfs, self._laeq_db, hop)

    def _level(self, power: float) -> float:
        return _decibels(power) + self._offset_db

    def _third_octaves(self, samples: Samples) -> tuple[tuple[float, ...], ...]:
        if self._octaves is None:
            return ()
        frames = self._octaves.push(samples).tolist()
        return tuple(tuple(map(self._level, powers)) for powers in frames)

    def _weighted_powers(self, samples: Samples) -> NDArray[np.float64]:
        """A-weighted power in the frames that `samples` complete: (frames, slots)."""
        if self._tail is not None:
            samples = np.concatenate([self._tail, samples], axis=1)
        channels, count = samples.shape
        weighting = self._weighting
        taken = max(0, count - weighting.flank) // weighting.step * weighting.step
        self._tail = samples[:, taken:].copy()
        energies = sum(weighting.energies(channel) for channel in samples)
        return np.asarray(energies / (channels * weighting.slot_samples))

    def _joined(self, powers: NDArray[np.float64]) -> NDArray[np.float64]:
        """Add up the slots in which frames overlap: (slots,), to the newest frame."""
        if not len(powers):
            return np.empty(0)
        slots = powers[:, :STEP_SLOTS].copy()
        overlaps = powers[:, STEP_SLOTS:]
        slots[0, :OVERLAP_SLOTS] += self._overlap
        slots[1:, :OVERLAP_SLOTS] += overlaps[:-1]
        self._overlap = overlaps[-1].copy()
        return slots.reshape(-1)


def _decibels(power: float) -> float:
    floor = 10 ** (FLOOR_DB / 10)
    return 10 * math.log10(max(power, floor))


def quiet_level(levels: Iterable[float], share: float) -> float:
    """Return the level that `share` of `levels` lie below: at 0.05, their L95."""
    ordered = sorted(levels)
    return ordered[int(share * len(ordered))]


_MINUTE_SECONDS = 60
_LEAST_LEVELS = 20
"""A minute with fewer levels, because sound was lost, says nothing."""

_FLOOR_SHARE = 0.1
"""The floor of a minute: the level below which a tenth of its hops lie."""

_RECENT_MINUTES = 10
"""The floor has fallen, or is back, once all of these minutes say so."""

_DAY_MINUTES = 1440
_LEARNED_MINUTES = 120
"""Needed before a comparison; a fall of this length is learned as normal."""

_QUIET_SHARE = 0.05
"""The quietest hours of a day: 72 minutes are quieter."""

_AWAY_MINUTES = 10
"""Gap after which the floor is learned anew: the place may be another one."""


@dataclass(frozen=True, slots=True)
class FloorChange:
    """A change of the noise floor."""

    state: Literal["fell", "back", "forgotten"]
    start: int
    """Sample at which the fall began."""

    stop: int
    """Sample at which this is known; of "back", at which the fall ended."""

    fall_db: float = 0.0
    """Least distance below the quietest hours, dB."""


class NoiseFloor:
    """Compares the floor of the latest minutes with the quietest hours of a day.

    Evenings and nights are learned as they come, and are no fall: the level must go,
    in less time than the quietest hours take to follow, below all of them, and stay
    there.  A fall that ends by itself after hours was the place, and is normal for a
    day; one that ends sooner was a hand.  A number a minute is kept.  Not thread-safe.
    """

    def __init__(self, sample_rate: int) -> None:
        self._minute_samples = _MINUTE_SECONDS * sample_rate
        self._minute = 0
        self._levels: list[float] = []
        self._history: deque[float] = deque(maxlen=_DAY_MINUTES)
        self._recent: deque[float] = deque(maxlen=_RECENT_MINUTES)
        self._fallen: deque[float] | None = None
        """The floors since it fell; None: it has not fallen."""

        self._began = 0

    def push(self, stop: int, level_db: float, fall_db: float) -> FloorChange | None:
        """Add the level of the hop that ends at sample `stop`, in order.

        A level that lies `fall_db` below the quietest hours is a fall.
        """
        minute = (stop - 1) // self._minute_samples
        change = None
        if minute != self._minute:
            change = self._close_minute(fall_db)
            if minute - self._minute > _AWAY_MINUTES:
                change = self._forget() or change
            self._minute = minute
        self._levels.append(level_db)
        return change

    def _close_minute(self, fall_db: float) -> FloorChange | None:
        levels, self._levels = self._levels, []
        if len(levels) < _LEAST_LEVELS:
            return None
        if len(self._recent) == _RECENT_MINUTES:
            known = self._history if self._fallen is None else self._fallen
            known.append(self._recent[0])
        self._recent.append(quiet_level(levels, _FLOOR_SHARE))
        if len(self._recent) < _RECENT_MINUTES or len(self._history) < _LEARNED_MINUTES:
            return None
        return self._compare(quiet_level(self._history, _QUIET_SHARE), fall_db)

    def _compare(self, quietest_db: float, fall_db: float) -> FloorChange | None:
        span = _RECENT_MINUTES * self._minute_samples
        stop = (self._minute + 1) * self._minute_samples
        if self._fallen is None:
            below_db = quietest_db - max(self._recent)
            if below_db < fall_db:
                return None
            self._fallen = deque(maxlen=_DAY_MINUTES)
            self._began = max(0, stop - span)
            return FloorChange("fell", self._began, stop, below_db)
        # Half of the fall must be made up for: it does not hover at the edge.
        if min(self._recent) <= quietest_db - fall_db / 2:
            return None
        if len(self._fallen) >= _LEARNED_MINUTES:
            self._history.extend(self._fallen)
        self._fallen = None
        return FloorChange("back", self._began, max(self._began, stop - span))

    def _forget(self) -> FloorChange | None:
        """Begin anew, after a long gap."""
        was_fallen, self._fallen = self._fallen is not None, None
        self._history.clear()
        self._recent.clear()
        if not was_fallen:
            return None
        stop = (self._minute + 1) * self._minute_samples
        return FloorChange("forgotten", self._began, stop)
