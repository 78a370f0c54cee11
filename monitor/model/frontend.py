"""The front end of the monitor: from samples to log-mel, with numpy.

Tests compare it with torchaudio's MelSpectrogram, and with the front end of training,
`training.mixtures.dataset.BatchLogMel`, which has its mel bank and window.
"""

import numpy as np
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.spec import ModelSpec
from monitor.spectra import Spectra, overlapping

Array = NDArray[np.float32]

_BLOCK_FRAMES = 16
"""The product of matrices sums what is left over in another order.  In blocks of this
size a frame is the same to the last bit, however many are computed with it."""

_MOST_FRAMES = 3 * _BLOCK_FRAMES
"""Frames computed at once, those of the default hop."""


class LogMel:
    """Log-mel of whole signals, in dB re a full-scale square, on an absolute grid.

    Reference and floor are fixed, so a frame does not depend on the frames around it.
    Not thread-safe: the buffers are kept.

    Raises:
        UsageError: A mel band of the spec holds no FFT bin.
    """

    def __init__(self, spec: ModelSpec) -> None:
        self.spec = spec
        bank = mel_bank(spec)
        used = np.flatnonzero(bank.any(axis=0))
        # Half of the bins lie above f_max; without them the product is half the work.
        self.bins = slice(int(used[0]), int(used[-1]) + 1)
        self.bank = np.ascontiguousarray(bank[:, self.bins])
        self._spectra = Spectra(spec.n_fft * hann_of(spec), _MOST_FRAMES)
        self._floor = np.float32(10 ** (spec.floor_db / 10))
        self._to_floor = np.add if spec.adds_floor else np.maximum

    def __call__(self, samples: Array) -> Array:
        """Compute every whole frame of `samples`.

        Args:
            samples: float32, shape (channels, n), nominally in [-1, 1].

        Returns:
            float32, shape (channels, n_mels, frames_in(n)), dB, at least `floor_db`.
        """
        spec = self.spec
        count = spec.frames_in(samples.shape[-1])
        log_mel = np.empty((len(samples), spec.n_mels, count), np.float32)
        for channel, output in zip(sharpened(samples, spec), log_mel, strict=True):
            frames = overlapping(channel, spec.n_fft, spec.hop_length)
            for first in range(0, count, _MOST_FRAMES):
                last = first + _MOST_FRAMES
                output[:, first:last] = self._compute(frames[first:last]).T
        return log_mel

    def _compute(self, frames: Array) -> Array:
        """(frames, n_fft) to (frames, n_mels)."""
        count = len(frames)
        blocks = -(-count // _BLOCK_FRAMES)
        padded = blocks * _BLOCK_FRAMES
        bins = self._spectra.of(frames, padded)[:, self.bins]
        power = np.square(bins.real)
        power += np.square(bins.imag)
        mel = power.reshape(blocks, _BLOCK_FRAMES, -1) @ self.bank.T
        self._to_floor(mel, self._floor, out=mel)
        np.log10(mel, out=mel)
        mel *= np.float32(10)
        np.maximum(mel, np.float32(self.spec.floor_db), out=mel)  # to the last bit
        return mel.reshape(padded, -1)[:count]


def sharpened(samples: Array, spec: ModelSpec) -> Array:
    """Samples after the pre-emphasis of a spec, (..., n): without one, as they are.

    With one, (..., n - 1): the last sample has none after it.
    """
    if not spec.pre_emphasis:
        return samples
    sharp: Array = samples[..., 1:] - np.float32(spec.pre_emphasis) * samples[..., :-1]
    return sharp


def hann_of(spec: ModelSpec) -> Array:
    """Hann window of a spec, (n_fft,)."""
    if spec.win_length is None:
        return hann(spec.n_fft)
    window = np.zeros(spec.n_fft, np.float32)
    first = (spec.n_fft - spec.win_length) // 2
    window[first : first + spec.win_length] = np.hanning(spec.win_length)
    return window


def hann(n_fft: int) -> Array:
    """Periodic Hann window, (n_fft,)."""
    phase = 2 * np.pi * np.arange(n_fft) / n_fft
    return (0.5 - 0.5 * np.cos(phase)).astype(np.float32)


def mel_bank(spec: ModelSpec) -> Array:
    """Weights of the FFT bins within each mel band, (n_mels, n_fft // 2 + 1).

    Triangles of height one, either on the mel scale of Slaney's Auditory Toolbox, which
    is linear below 1 kHz, so that no band falls between two bins, and linear in Hz; or
    as Kaldi has them (mel-computations.cc), linear in mel, without the bin at
    half the sample rate.

    Raises:
        UsageError: A band holds no bin.
    """
    ends = np.array([spec.f_min, spec.f_max])
    bins = np.linspace(0, spec.sample_rate / 2, spec.n_fft // 2 + 1)
    if spec.mel_scale == "kaldi":
        low, high = kaldi_mel(ends)
        edges = np.linspace(low, high, spec.n_mels + 2)[:, None]
        bins = kaldi_mel(bins)
    else:
        low, high = hertz_to_mel(ends)
        edges = mel_to_hertz(np.linspace(low, high, spec.n_mels + 2))[:, None]
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bank: Array = np.maximum(0, np.minimum(rising, falling)).astype(np.float32)
    if spec.mel_scale == "kaldi":
        bank[:, -1] = 0
    empty = int((~bank.any(axis=1)).sum())
    if empty:
        raise UsageError(
            f"n_mels: {empty} of the {spec.n_mels} bands from {spec.f_min:g} to "
            f"{spec.f_max:g} Hz hold no FFT bin; take fewer bands or an n_fft above "
            f"{spec.n_fft}"
        )
    return bank


def kaldi_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mels of frequencies, on Kaldi's scale."""
    mels: NDArray[np.float64] = 1127 * np.log1p(hertz / 700)
    return mels


_LINEAR_HERTZ = 200 / 3
"""Hz of a mel below 1 kHz."""

_STEP = np.log(6.4) / 27
"""Logarithm of the ratio of two frequencies one mel apart above 1 kHz."""


def hertz_to_mel(hertz: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mels of frequencies, on Slaney's scale."""
    above = 15 + np.log(np.maximum(hertz, 1000) / 1000) / _STEP
    return np.where(hertz < 1000, hertz / _LINEAR_HERTZ, above)


def mel_to_hertz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Frequencies of mels, on Slaney's scale."""
    above = 1000 * np.exp((np.maximum(mel, 15) - 15) * _STEP)
    return np.where(mel < 15, mel * _LINEAR_HERTZ, above)


class IncrementalLogMel:
    """Log-mel of a stream on its absolute frame grid; each frame is computed once.

    Equal to the last bit to `LogMel` of everything pushed so far, for blocks of any
    size.  Not thread-safe.

    Args:
        log_mel: Computes the frames.
        channels: Channels of the stream, 1 or 2.
        start: Absolute index of the first sample that will be pushed.  Frames begin at
            the next multiple of the hop length; the samples before it are skipped.
    """

    next_frame: int
    """Absolute index of the first frame that the next push can return."""

    def __init__(self, log_mel: LogMel, channels: int, start: int = 0) -> None:
        self._log_mel = log_mel
        hop_length = log_mel.spec.hop_length
        self.next_frame = -(-start // hop_length)
        self._skip = self.next_frame * hop_length - start
        self._tail: Array = np.empty((channels, 0), np.float32)

    def push(self, samples: Array) -> Array:
        """Take the samples that follow; return the frames that they complete.

        The first of these has the index that `next_frame` had before the call.

        Args:
            samples: float32, shape (channels, n), any n.

        Returns:
            float32, shape (channels, n_mels, frames), dB; frames may be 0.
        """
        spec = self._log_mel.spec
        skipped = min(self._skip, samples.shape[-1])
        self._skip -= skipped
        joined = np.concatenate([self._tail, samples[:, skipped:]], axis=-1)
        frames = spec.frames_in(joined.shape[-1])
        taken = frames * spec.hop_length
        self._skip += max(0, taken - joined.shape[-1])  # only if frames do not touch
        self._tail = joined[:, taken:].copy()
        self.next_frame += frames
        return self._log_mel(joined)
