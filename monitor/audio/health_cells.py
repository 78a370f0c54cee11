"""What the samples of a source say of its microphone, a cell at a time.

Measured where they come in, before anything changes them: a resampler rounds off the
flat tops of a clipped wave, and a dead channel is replaced on the way.
"""

from collections import deque
from dataclasses import dataclass

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
