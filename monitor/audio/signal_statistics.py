"""Statistics of a source's channels, in intervals of half a second.

The samples are measured as they come in, before anything changes them: a resampler
rounds off the flat tops of a clipped wave, and a dead channel is replaced on the way.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.audio.repetition import RepetitionDetector
from monitor.audio.ring import Samples

INTERVAL_SECONDS = 0.5

_FAINT_DBFS = -80.0
"""Level of the louder channel below which the two cannot be compared."""

_FULL_SCALE = 0.98
"""Level of a flat top that is clipped; 8-bit and mu-law sound ends not far above it."""

_FLAT_SAMPLES = 3
_STEEP = 1e-3
"""A wave runs into its flat top by a step of at least this, re the top.

The top of a low unclipped tone may be flat for some samples as well, once it is rounded
to 16 bits, but its neighbours are the next steps below.
"""


@dataclass(frozen=True, slots=True)
class ChannelStatistics:
    """The statistics of one channel in one interval."""

    lowest: float
    highest: float
    mean: float
    power: float
    """Mean square of the samples less their mean."""

    clipped: int
    """Samples in flat tops at full scale."""

    @property
    def is_constant(self) -> bool:
        """True if all samples have one value."""
        return self.lowest == self.highest

    @property
    def is_zero(self) -> bool:
        """True if all samples are zero."""
        return self.is_constant and self.lowest == 0.0

    @property
    def is_stuck(self) -> bool:
        """True if all samples have one value that is not zero."""
        return self.is_constant and self.lowest != 0.0


Channels = tuple[ChannelStatistics, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """The statistics of one interval."""

    channels: Channels
    period_seconds: float | None
    """Period in which all its samples repeat earlier ones; None: they are new."""

    is_mono: bool
    """True if two channels have the same samples, and more than one value."""


@dataclass(frozen=True, slots=True)
class SignalStatistics:
    """The channels of a source in the samples [start, stop) of its timeline."""

    start: int
    stop: int
    channels: Channels
    period_seconds: float | None = None
    """See `Interval`."""


class ChannelMeter:
    """Measures a stream in intervals of half a second, counted from its first sample.

    Block sizes do not matter.  Not thread-safe.
    """

    def __init__(self, sample_rate: int, channels: int) -> None:
        self.samples = round(INTERVAL_SECONDS * sample_rate)
        """Length of an interval, samples of the stream."""

        # The samples are kept, not their sums so far, which other blocks would round
        # differently.
        self._interval = np.zeros((channels, self.samples), np.float32)
        self._filled = 0
        self._rate = sample_rate
        self._repetition = RepetitionDetector(sample_rate)

    def push(self, block: Samples) -> Iterator[tuple[Samples, Interval | None]]:
        """Cut the samples that follow at the ends of intervals.

        Args:
            block: float32, shape (channels, n), finite, any n.

        Yields:
            A part of `block`, and the statistics of the interval that it completes.
        """
        start = 0
        while start < block.shape[1]:
            part = block[:, start : start + self.samples - self._filled]
            start += part.shape[1]
            stop = self._filled + part.shape[1]
            self._interval[:, self._filled : stop] = part
            self._filled = stop % self.samples
            yield part, None if self._filled else self._complete()

    def restart(self) -> None:
        """Begin a new interval: samples were lost.

        A source that is stuck repeats itself also where it is too slow, so that the
        period goes on.
        """
        if self._filled:
            self._repetition.push(self._interval[:, : self._filled])
        self._filled = 0

    def _complete(self) -> Interval:
        wave = self._interval
        channels = tuple(map(_measured, wave))
        period = self._repetition.push(wave)
        is_mono = (
            len(wave) == 2
            and not channels[0].is_constant
            and np.array_equal(wave[0], wave[1])
        )
        period_seconds = None if period is None else period / self._rate
        return Interval(channels, period_seconds, is_mono)


def _measured(wave: NDArray[np.float32]) -> ChannelStatistics:
    lowest, highest = float(wave.min()), float(wave.max())
    if lowest == highest:
        return ChannelStatistics(lowest, highest, lowest, 0.0, 0)
    mean = float(wave.mean())
    power = max(0.0, float(np.dot(wave, wave)) / wave.size - mean * mean)
    clipped = _clipped(wave) if max(highest, -lowest) >= _FULL_SCALE else 0
    return ChannelStatistics(lowest, highest, mean, power, clipped)


def _clipped(wave: NDArray[np.float32]) -> int:
    """Count the samples in runs of one value at full scale with steep flanks."""
    edges = np.flatnonzero(np.diff(wave)) + 1
    first = np.concatenate([[0], edges])
    last = np.concatenate([edges, [wave.size]]) - 1
    lengths = last - first + 1
    is_flat = (lengths >= _FLAT_SAMPLES) & (np.abs(wave[first]) >= _FULL_SCALE)
    first, last = first[is_flat], last[is_flat]
    top = wave[first]
    before = np.abs(top - wave[np.maximum(first - 1, 0)])
    after = np.abs(top - wave[np.minimum(last + 1, wave.size - 1)])
    is_steep = np.maximum(before, after) >= _STEEP * np.abs(top)
    return int(lengths[is_flat][is_steep].sum())


def quieter_channel(channels: Channels) -> tuple[int, float] | None:
    """Compare two channels.

    Returns:
        Index of the quieter one, and its level re the other one, dB; None where both
        are too faint to compare.
    """
    quiet, loud = sorted(channel.power for channel in channels)
    if loud < 10 ** (_FAINT_DBFS / 10):
        return None
    level_db = -math.inf if quiet == 0 else 10 * math.log10(quiet / loud)
    return int(channels[1].power < channels[0].power), level_db
