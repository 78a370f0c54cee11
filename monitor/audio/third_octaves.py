"""Third octaves: the unweighted level of a stream in bands of a third of an octave."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.audio.ring import Samples
from monitor.spectra import Spectra, overlapping

_FLANK_SECONDS = 0.37
"""Shorter frames smear a tone beyond the limits of the lowest band."""

_LOWEST, _HIGHEST = -16, 12
"""Bands of 25 Hz and of 16 kHz, counted from that of 1 kHz."""

_RATIO = 10**0.3
"""One octave, of base ten: IEC 61260-1:2014, 5.2."""

_ORDER = 3
"""Of the Butterworth filter whose response the bands have."""

_GROUPS_PER_OCTAVE = 200
"""Bins that lie closer are summed before they are weighted."""


class ThirdOctaveBands:
    """The bands of a sample rate.  Streams of one thread share it; not thread-safe.

    Each band has the response of a Butterworth band-pass filter of order six, applied
    to the power of spectra of a second: in simulation class 2 of IEC 61260-1:2014, by
    its limits of relative attenuation.  There is a band if it lies below half of the
    sample rate.
    """

    def __init__(self, sample_rate: int) -> None:
        numbers = range(_LOWEST, _HIGHEST + 1)
        middles = [1000 * _RATIO ** (number / 3) for number in numbers]
        self.middles_hz = tuple(
            middle for middle in middles if middle * _RATIO ** (1 / 6) < sample_rate / 2
        )
        """Exact mid-band frequencies."""

        self.flank = 1 << round(math.log2(_FLANK_SECONDS * sample_rate))
        """Samples in which two frames overlap."""

        self.step = 2 * self.flank
        """Samples from one frame to the next."""

        window = _window(self.flank)
        self._spectra = Spectra(window, 1)
        frequencies = np.fft.rfftfreq(window.size, 1 / sample_rate)
        octave = np.log2(np.maximum(frequencies, frequencies[1]) / frequencies[1])
        groups = np.floor(octave * _GROUPS_PER_OCTAVE)
        self._edges = np.flatnonzero(np.diff(groups, prepend=-1))
        sizes = np.diff(self._edges, append=frequencies.size)
        gains = np.array([_response(frequencies, each) for each in self.middles_hz])
        # Parseval's theorem over half of a spectrum that was divided by its length, for
        # the samples that a frame advances.
        scale = 2 * window.size / self.step
        self._gains = scale * np.add.reduceat(gains, self._edges, axis=1) / sizes

    def powers(self, samples: NDArray[np.float32]) -> NDArray[np.float64]:
        """Mean power of every whole frame of one channel, shape (frames, bands)."""
        frames = overlapping(samples, self.step + self.flank, self.step)
        found = np.empty((len(frames), len(self.middles_hz)))
        for index in range(len(frames)):
            (spectrum,) = self._spectra.of(frames[index : index + 1])
            power = np.square(spectrum.real) + np.square(spectrum.imag)
            found[index] = self._gains @ np.add.reduceat(power, self._edges)
        return found


class ThirdOctaveMeter:
    """Measures the third octaves of one stream.  Not thread-safe."""

    def __init__(self, bands: ThirdOctaveBands) -> None:
        """Begin a stream."""
        self._bands = bands
        self.step = bands.step
        """Samples from one frame to the next."""

        self._tail: Samples | None = None

    def restart(self) -> None:
        """Begin another stream, maybe of other channels."""
        self._tail = None

    def push(self, samples: Samples) -> NDArray[np.float64]:
        """Take the samples that follow, float32, shape (channels, n).

        Returns:
            Mean power over the channels of the frames that they complete, shape
            (frames, bands); a frame is 0.74 s at 44.1 kHz.
        """
        if self._tail is not None:
            samples = np.concatenate([self._tail, samples], axis=1)
        bands = self._bands
        taken = max(0, samples.shape[1] - bands.flank) // bands.step * bands.step
        self._tail = samples[:, taken:].copy()
        powers = [bands.powers(channel) for channel in samples]
        return np.asarray(np.mean(powers, axis=0))


def _window(flank: int) -> NDArray[np.float32]:
    """Window of three times `flank` samples; its powers add up to one in overlaps.

    Its slope has no corners (as that of Vorbis), so a tone leaks less into far bands.
    """
    ramp = np.sin(np.pi / 2 * (np.arange(flank) + 0.5) / flank)
    rise = np.sin(np.pi / 2 * np.square(ramp))
    return np.concatenate([rise, np.ones(flank), rise[::-1]]).astype(np.float32)


def _response(
    frequencies: NDArray[np.floating[Any]], middle: float
) -> NDArray[np.float64]:
    """Squared magnitude of a band at `frequencies`."""
    width = _RATIO ** (1 / 6) - _RATIO ** (-1 / 6)
    ratio = np.maximum(frequencies, 1e-3) / middle
    return np.asarray(1 / (1 + ((ratio - 1 / ratio) / width) ** (2 * _ORDER)))
