"""Log-mel columns for people to look at: coarse, quantised, ten a second."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from monitor.audio.ring import Samples
from monitor.spectra import Spectra, overlapping

BANDS = 48
"""Mel bands of a column, the lowest first."""

COLUMNS_PER_SECOND = 10

FLOOR_DB = -100.0
"""Power in a band, dB re 1.0, that is quantised as 0; 0 dB is 255."""

_F_MIN = 50.0
_F_MAX = 16_000.0

_FRAME_SECONDS = 0.046
_FRAMES = 4
"""Frames of a column.  They overlap, so that no click falls between them."""

Columns = NDArray[np.uint8]
"""uint8, shape (n, BANDS), linear in dB; the low band first."""


class MelColumns:
    """Turns the consecutive samples of one stream into columns.  Not thread-safe.

    The same whatever the sizes of the blocks.  The powers of the bands of a column add
    up to the mean square of the samples between `_F_MIN` and the highest band.
    """

    def __init__(self, sample_rate: int) -> None:
        """Begin a stream of `sample_rate` samples a second."""
        self._rate = sample_rate
        self._step = sample_rate // (COLUMNS_PER_SECOND * _FRAMES)
        size = _frame_size(sample_rate)
        window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size)).astype("f4")
        self._spectra = Spectra(window, _FRAMES)
        # A transform is divided by its length, and half of the spectrum is mirrored.
        self._scale = 2 * size / (float(np.square(window).sum()) * _FRAMES)
        self._span = (_FRAMES - 1) * self._step + size
        self._bank, self._bins = _mel_bank(sample_rate)
        self.restart()

    def restart(self) -> None:
        """Begin another stream, maybe of other channels: samples were lost."""
        self._tail: Samples | None = None
        self._first = 0  # sample at which the tail begins
        self._count = 0

    @property
    def stop(self) -> int:
        """Samples from the begin of the stream to the end of its newest column."""
        return self._start_of(self._count)

    def push(self, samples: Samples) -> Columns:
        """Return the columns that the samples which follow complete.

        Args:
            samples: float32, shape (channels, n), any n, finite; always the same
                channels.

        Returns:
            Shape (columns, BANDS); the mean power over the channels in dB, from
            `FLOOR_DB` to 0 dB re 1.0 in steps of 0.39 dB.  A full-scale sine has
            -3 dB in its bands together.
        """
        if self._tail is not None:
            samples = np.concatenate([self._tail, samples], axis=1)
        columns: list[NDArray[np.float32]] = []
        start = self._start_of(self._count)
        while start - self._first + self._span <= samples.shape[1]:
            begin = start - self._first
            columns.append(self._powers(samples[:, begin : begin + self._span]))
            self._count += 1
            start = self._start_of(self._count)
        kept = min(start - self._first, samples.shape[1])
        self._tail, self._first = samples[:, kept:].copy(), self._first + kept
        if not columns:
            return np.zeros((0, BANDS), np.uint8)
        return _quantised(np.stack(columns))

    def _start_of(self, column: int) -> int:
        # Not a multiple of a rounded step: columns would drift away from the seconds.
        return column * self._rate // COLUMNS_PER_SECOND

    def _powers(self, samples: Samples) -> NDArray[np.float32]:
        """Mean power of each band over frames and channels, (BANDS,)."""
        power = np.zeros(self._bank.shape[1], np.float32)
        for channel in samples:
            frames = overlapping(channel, self._spectra.window.size, self._step)
            bins = self._spectra.of(frames)[:, self._bins]
            power += (np.square(bins.real) + np.square(bins.imag)).sum(axis=0)
        scaled: NDArray[np.float32] = self._bank @ power
        return scaled * np.float32(self._scale / len(samples))


@lru_cache(maxsize=4)
def band_centres(sample_rate: int) -> tuple[float, ...]:
    """Centre of each band in Hz, the lowest first."""
    return tuple(float(edge) for edge in _edges(sample_rate)[1:-1])


def _edges(sample_rate: int) -> NDArray[np.float64]:
    """Edges of overlapping triangles, which O'Shaughnessy's mel scale spaces evenly."""
    ends = np.array([_F_MIN, min(sample_rate / 2, _F_MAX)])
    low, high = np.log1p(ends / 700)
    edges: NDArray[np.float64] = 700 * np.expm1(np.linspace(low, high, BANDS + 2))
    return edges


def _frame_size(sample_rate: int) -> int:
    return 1 << round(float(np.log2(_FRAME_SECONDS * sample_rate)))


@lru_cache(maxsize=4)
def _mel_bank(sample_rate: int) -> tuple[NDArray[np.float32], slice]:
    """Weights of the bins within each band, (BANDS, bins), and which bins these are.

    Triangles of height one: where two bands overlap, their weights add up to one.
    """
    edges = _edges(sample_rate)[:, None]
    size = _frame_size(sample_rate)
    bins = np.linspace(0, sample_rate / 2, size // 2 + 1)
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bank = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    used = np.flatnonzero(bank.any(axis=0))
    chosen = slice(int(used[0]), int(used[-1]) + 1)
    return np.ascontiguousarray(bank[:, chosen]), chosen


def _quantised(power: NDArray[np.float32]) -> Columns:
    level_db = 10 * np.log10(np.maximum(power, 10 ** (FLOOR_DB / 10)))
    steps = np.rint((1 - level_db / FLOOR_DB) * 255)
    return np.clip(steps, 0, 255).astype(np.uint8)
