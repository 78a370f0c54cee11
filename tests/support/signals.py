"""Signals of known content for tests: float32, shape (channels, n)."""

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

RATE = 44_100


def sine(
    frequency: float,
    seconds: float,
    amplitude: float = 1.0,
    sample_rate: int = RATE,
    channels: int = 1,
) -> Samples:
    """Return the same sine in every channel, beginning at zero."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    return _spread(amplitude * np.sin(2 * np.pi * frequency * time), channels)


def noise(
    seconds: float,
    rms: float = 0.1,
    sample_rate: int = RATE,
    channels: int = 1,
    seed: int = 0,
) -> Samples:
    """Return white Gaussian noise of root mean square `rms`, one in each channel."""
    generator = np.random.default_rng(seed)
    shape = (channels, round(seconds * sample_rate))
    return (rms * generator.standard_normal(shape)).astype(np.float32)


def silence(seconds: float, sample_rate: int = RATE, channels: int = 1) -> Samples:
    """Return digital silence."""
    return np.zeros((channels, round(seconds * sample_rate)), np.float32)


def click(
    seconds: float,
    at_seconds: float,
    amplitude: float = 1.0,
    sample_rate: int = RATE,
    channels: int = 1,
) -> Samples:
    """Return digital silence but for one sample."""
    samples = silence(seconds, sample_rate, channels)
    samples[:, round(at_seconds * sample_rate)] = amplitude
    return samples


def chirp(
    seconds: float,
    lowest: float = 50.0,
    highest: float = 10_000.0,
    amplitude: float = 0.5,
    sample_rate: int = RATE,
    channels: int = 1,
) -> Samples:
    """Return a sine whose frequency rises exponentially from `lowest` to `highest`."""
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    growth = np.log(highest / lowest) / seconds
    phase = 2 * np.pi * lowest / growth * np.expm1(growth * time)
    return _spread(amplitude * np.sin(phase), channels)


def numbered(start: int, count: int, channels: int = 1) -> Samples:
    """Return samples that carry their own absolute index, negative in odd channels.

    So a sample out of its place, or of another channel, is found.  Exact for
    indices below 2 ** 24.
    """
    index = np.arange(start, start + count, dtype=np.float32)
    signs = np.array([[1.0], [-1.0]] * channels, np.float32)[:channels]
    return signs * index


def cut(samples: Samples, sizes: list[int]) -> list[Samples]:
    """Cut into consecutive blocks of `sizes`, and one more of what then remains."""
    edges = np.minimum(np.cumsum(sizes), samples.shape[1]).astype(int)
    return np.split(samples, edges, axis=1)


def rms(samples: Samples) -> float:
    """Return the root mean square over all channels."""
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


def _spread(wave: NDArray[np.float64], channels: int) -> Samples:
    return np.tile(wave.astype(np.float32), (channels, 1))
