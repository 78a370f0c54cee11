"""Level of a stream: re full scale, A-weighted, and the noise floor under it."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from monitor.audio.ring import Samples
from monitor.spectra import Spectra, overlapping

FLOOR_DB = -120.0
"""Level of digital silence, dB re full scale; no level is lower."""

# A shorter frame smears a low tone upwards, to where the weighting is far higher.  With
# this one, and with that corrected, a tone of 31.5 Hz is off by 0.05 dB at 44.1 kHz.
_FRAME_SECONDS = 0.139

_MOST_FRAMES = 6
"""Frames transformed at once, those of the default hop."""


@dataclass(frozen=True, slots=True)
class Level:
    """Level of the samples of one hop."""

    level_dbfs: float
    """Root mean square over all channels, dB re 1.0: a full-scale sine has -3.01."""

    laeq_db: float
    """A-weighted equivalent level (LAeq), dB re 1.0 plus the offset of the meter."""


class AWeighting:
    """Weights overlapping spectra.  Streams of one thread share it; not thread-safe.

    Their windows have flanks of a third, each a quarter of a sine, whose powers add up
    to one where two overlap, so that the energy of every sample is counted once and the
    energies of hops add up.
    """

    def __init__(self, sample_rate: int) -> None:
        self.flank = 1 << round(math.log2(_FRAME_SECONDS * sample_rate / 3))
        """Samples in which two frames overlap."""

        self.step = 2 * self.flank
        """Samples from one frame to the next."""

        window = _flat_top(self.flank)
        self._spectra = Spectra(window, _MOST_FRAMES)
        self._weights = _energy_weights(sample_rate, window.size)

    def energy(self, samples: NDArray[np.float32]) -> float:
        """A-weighted energy of every whole frame of one channel, shape (n,)."""
        frames = overlapping(samples, self.step + self.flank, self.step)
        energy = 0.0
        for first in range(0, len(frames), _MOST_FRAMES):
            spectra = self._spectra.of(frames[first : first + _MOST_FRAMES])
            parts = spectra.view(np.float32)
            parts *= self._weights
            energy += float(np.vdot(parts, parts))
        return energy


class LevelMeter:
    """Measures the consecutive hops of one stream.  Not thread-safe."""

    def __init__(self, weighting: AWeighting, offset_db: float) -> None:
        """Begin a stream; `offset_db` is added to the A-weighted level."""
        self._weighting = weighting
        self._offset_db = offset_db
        self._tail: Samples | None
        self._laeq_db: float
        self.restart()

    def restart(self) -> None:
        """Begin another stream, maybe of other channels."""
        self._tail = None
        self._laeq_db = FLOOR_DB + self._offset_db

    def measure(self, samples: Samples) -> Level:
        """Measure the samples that follow.

        The A-weighted level is that of the frames which these samples complete, so it
        lags by a sixth of a frame to five sixths (23 to 116 ms at 44.1 kHz).  Where
        they complete none, it stays as it was; at first, on the floor.

        Args:
            samples: float32, shape (channels, n), n > 0, finite; always the same
                channels.
        """
        flat = np.ascontiguousarray(samples).reshape(-1)
        level_dbfs = _decibels(float(np.dot(flat, flat)) / flat.size)
        power = self._weighted_power(samples)
        if power is not None:
            self._laeq_db = _decibels(power) + self._offset_db
        return Level(level_dbfs, self._laeq_db)

    def _weighted_power(self, samples: Samples) -> float | None:
        """Mean A-weighted power of the frames that `samples` complete, if any."""
        if self._tail is not None:
            samples = np.concatenate([self._tail, samples], axis=1)
        channels, count = samples.shape
        weighting = self._weighting
        taken = max(0, count - weighting.flank) // weighting.step * weighting.step
        self._tail = samples[:, taken:].copy()
        if taken == 0:
            return None
        energy = sum(weighting.energy(channel) for channel in samples)
        return float(energy / (channels * taken))


def a_weighting_db(frequency: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """A-weighting at `frequency` in Hz, dB, as IEC 61672-1:2013 defines it (E.4).

    The poles are those of its Annex E, to which the table of nominal values is fitted;
    at 0 Hz the weighting is minus infinity.
    """
    squared = np.square(frequency)
    numerator = 12_194.217**2 * np.square(squared)
    denominator = (
        (squared + 20.598_997**2)
        * np.sqrt((squared + 107.652_65**2) * (squared + 737.862_23**2))
        * (squared + 12_194.217**2)
    )
    with np.errstate(divide="ignore"):
        # 2.000 dB normalises the weighting to 0 dB at 1 kHz.
        return np.asarray(20 * np.log10(numerator / denominator) + 2.000)


def _flat_top(flank: int) -> NDArray[np.float32]:
    """Window of three times `flank` samples."""
    rise = np.sin(np.pi / 2 * (np.arange(flank) + 0.5) / flank)
    return np.concatenate([rise, np.ones(flank), rise[::-1]]).astype(np.float32)


def _energy_weights(sample_rate: int, frame: int) -> NDArray[np.float32]:
    """Factors for the real and imaginary parts of a spectrum, which lie side by side.

    The sum of the squares of the weighted parts is the A-weighted energy of the frame:
    Parseval's theorem over the one half of the spectrum that a real signal has.
    """
    gain = 10 ** (a_weighting_db(np.fft.rfftfreq(frame, 1 / sample_rate)) / 10)
    # The window spreads a tone over the bins around it, with a variance of 9/32 bins
    # squared: the energy of the slope of the window over its own.  To the mean of the
    # gains there, this adds half of the variance times their second derivative.
    gain[1:-1] -= 9 / 64 * np.diff(gain, 2)
    mirrored = np.full(gain.size, 2.0)
    mirrored[[0, -1]] = 1.0
    weights = np.sqrt(np.maximum(gain, 0) * mirrored * frame)
    return np.repeat(weights, 2).astype(np.float32)


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
