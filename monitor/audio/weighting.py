"""The weightings of sound level meters: A over frequency, and Fast over time."""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.spectra import Spectra, overlapping

# numpy's types know it only for double precision.
_irfft: Callable[..., Any] = partial(np.fft.irfft, norm="backward")
"""With the other norm numpy computes in double precision, see `spectra`."""

# A shorter frame smears a low tone upwards, to where the weighting is far higher.  With
# this one, and with that corrected, a tone of 31.5 Hz is off by 0.05 dB at 44.1 kHz.
_FRAME_SECONDS = 0.139

_MOST_FRAMES = 6
"""Frames transformed at once, those of the default hop."""

SLOTS = 12
"""Parts of a frame in time, of 11.6 ms each at 44.1 kHz."""

OVERLAP_SLOTS = SLOTS // 3
"""Those in which a frame overlaps the next one."""

STEP_SLOTS = SLOTS - OVERLAP_SLOTS
"""Those from one frame to the next."""

FAST_SECONDS = 0.125
"""Time constant of the time weighting Fast (F): IEC 61672-1:2013, 5.8.1."""


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

        self.slot_samples = self.flank // OVERLAP_SLOTS
        """Samples of a slot."""

        self.slot_seconds = self.slot_samples / sample_rate

        assert self.slot_samples * OVERLAP_SLOTS == self.flank
        window = _flat_top(self.flank)
        self._spectra = Spectra(window, _MOST_FRAMES)
        self._weights = _energy_weights(sample_rate, window.size)
        self._weighted = np.empty((_MOST_FRAMES, window.size), np.float32)

    def energies(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """A-weighted energy of every whole frame of one channel, by slots of time.

        Args:
            samples: float32, shape (n,).

        Returns:
            Shape (frames, slots).
        """
        frames = overlapping(samples, self.step + self.flank, self.step)
        found = np.empty((len(frames), SLOTS))
        for first in range(0, len(frames), _MOST_FRAMES):
            spectra = self._spectra.of(frames[first : first + _MOST_FRAMES])
            parts = spectra.view(np.float32)
            parts *= self._weights
            weighted = self._weighted[: len(spectra)]
            _irfft(spectra, weighted.shape[1], out=weighted)
            slots = weighted.reshape(len(spectra), SLOTS, self.slot_samples)
            found[first : first + len(slots)] = np.vecdot(slots, slots)
        return found


class FastWeighting:
    """The exponential mean of the power of one stream, time constant 125 ms.

    Measured against the definition (IEC 61672-1:2013, table 4, tone bursts of 4 kHz,
    wherever a slot begins): within 0.7 dB from 1 s down to 0.25 ms, in class 2.  Not
    thread-safe.
    """

    def __init__(self, slot_seconds: float) -> None:
        """Prepare for powers of slots of `slot_seconds`."""
        self._decay = math.exp(-slot_seconds / FAST_SECONDS)
        self._every = max(1, int(FAST_SECONDS / slot_seconds))
        self.restart()

    def restart(self) -> None:
        """Begin in silence, as an instrument that is switched on."""
        self._power = 0.0
        self._slot = 0

    def push(self, powers: list[float]) -> tuple[float, list[float]]:
        """Take the mean powers of the slots that follow.

        Returns:
            The largest weighted power, 0 for no slots; and samples of it, at most
            125 ms apart (116 ms at 44.1 kHz).
        """
        weighted, decay = self._power, self._decay
        largest, samples = 0.0, []
        for power in powers:
            weighted = power + decay * (weighted - power)
            largest = max(largest, weighted)
            self._slot += 1
            if self._slot == self._every:
                self._slot = 0
                samples.append(weighted)
        self._power = weighted
        return largest, samples


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

    The mean of the squares of the weighted signal is its A-weighted power.
    """
    gain = 10 ** (a_weighting_db(np.fft.rfftfreq(frame, 1 / sample_rate)) / 10)
    # The window spreads a tone over the bins around it, with a variance of 9/32 bins
    # squared: the energy of the slope of the window over its own.  To the mean of the
    # gains there, this adds half of the variance times their second derivative.
    gain[1:-1] -= 9 / 64 * np.diff(gain, 2)
    # Times the length, by which both transforms divide.
    weights = frame * np.sqrt(np.maximum(gain, 0))
    return np.repeat(weights, 2).astype(np.float32)
