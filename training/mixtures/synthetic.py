"""Sounds of no class, made from random numbers: noise, wind, hum, speech, clatter.

Each function takes a generator, a number of samples and the sample rate, and returns
float32 of shape (n,) with a root mean square of about 0.1.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Wave = NDArray[np.float32]
LEVEL = 0.1
"""Root mean square of what the functions return."""

_TOP_HZ = 10_000.0
_MAJOR = (0, 2, 4, 5, 7, 9, 11, 12)


def decibels(value: float) -> float:
    """Amplitude factor of `value` dB."""
    return float(10 ** (value / 20))


def loudness(wave: NDArray[np.floating]) -> float:
    """Root mean square; never zero."""
    return float(np.sqrt(np.mean(np.square(wave), dtype=np.float64) + 1e-12))


def _levelled(wave: NDArray[np.floating]) -> Wave:
    return (wave * (LEVEL / loudness(wave))).astype(np.float32)


def coloured_noise(
    r: Generator, samples: int, rate: int, slope: float | None = None
) -> Wave:
    """Noise whose power falls with frequency to the `slope`; random from -2 to 0.2."""
    slope = r.uniform(-2.0, 0.2) if slope is None else slope
    spectrum = np.fft.rfft(r.standard_normal(samples, dtype=np.float32))
    frequency = np.maximum(np.fft.rfftfreq(samples, 1 / rate), 20)
    shape = (frequency ** (slope / 2)).astype(np.float32)
    return _levelled(np.fft.irfft(spectrum * shape, samples))


_FLOORS = 48
"""Number of different faint noises; too many for a network to memorise."""


@lru_cache(maxsize=_FLOORS)
def _floor_twice(number: int, samples: int, rate: int) -> Wave:
    """A noise and its repetition, so that every rotation of it is a slice."""
    noise = coloured_noise(np.random.default_rng([7, number]), samples, rate)
    twice = np.concatenate([noise, noise])
    twice.flags.writeable = False
    return twice


def noise_floor(r: Generator, samples: int, rate: int) -> Wave:
    """Coloured noise to lie under a sound: one of a few dozen, rotated at random.

    Far cheaper than `coloured_noise`; every window needs it.  Read-only.
    """
    twice = _floor_twice(int(r.integers(_FLOORS)), samples, rate)
    start = samples - int(r.integers(samples))
    return twice[start : start + samples]


def wind(r: Generator, samples: int, rate: int) -> Wave:
    """Low noise in gusts."""
    gusts = np.interp(
        np.arange(samples), np.linspace(0, samples, 9), r.uniform(0.05, 1, 9) ** 2
    )
    return _levelled(coloured_noise(r, samples, rate, slope=-2.5) * gusts)


def hum(r: Generator, samples: int, rate: int) -> Wave:
    """Harmonics of the mains or of a machine, in some noise."""
    t = _time(samples, rate)
    base = float(r.choice([50, 60, 100, 120, r.uniform(30, 400)]))
    wave = np.zeros(samples, np.float32)
    for harmonic in range(1, int(r.integers(3, 20))):
        if base * harmonic < _TOP_HZ:
            strength = r.uniform(0, 1) * harmonic ** -r.uniform(0.5, 2)
            phase = r.uniform(0, 2 * np.pi)
            wave += np.float32(strength) * np.sin(
                2 * np.pi * base * harmonic * t + phase
            )
    noise = coloured_noise(r, samples, rate) * decibels(r.uniform(-30, -5))
    return _levelled(_levelled(wave) + noise)


def _time(samples: int, rate: int) -> Wave:
    # Single precision is good enough for such phases, and far faster.
    return np.arange(samples, dtype=np.float32) / np.float32(rate)


def _note(r: Generator, frequency: float, rate: int) -> NDArray[np.floating]:
    t = _time(int(r.uniform(0.15, 1.2) * rate), rate)
    wave = np.zeros(len(t), np.float32)
    for harmonic in range(1, int(r.integers(2, 9))):
        if frequency * harmonic < _TOP_HZ:
            wave += r.uniform(0, 1 / harmonic) * np.sin(
                2 * np.pi * frequency * harmonic * t
            )
    envelope = np.exp(-t * r.uniform(1, 10)) * np.minimum(1, t / 0.01)
    return np.asarray(wave * envelope)


def music(r: Generator, samples: int, rate: int) -> Wave:
    """Plucked notes of a major scale, one to three at a time."""
    wave = np.zeros(samples)
    step, base = r.uniform(0.1, 0.6), r.uniform(80, 400)
    for start in np.arange(0, samples / rate, step):
        for _ in range(int(r.integers(1, 4))):
            pitch = base * 2 ** (float(r.choice(_MAJOR)) / 12 + int(r.integers(0, 2)))
            begin = int(start * rate)
            note = _note(r, pitch, rate)[: samples - begin]
            wave[begin : begin + len(note)] += note
    return _levelled(wave)


def _syllable(
    r: Generator, samples: int, rate: int, pitch: float
) -> NDArray[np.floating]:
    t = np.arange(samples) / rate
    if r.random() < 0.75:
        sway = np.sin(2 * np.pi * r.uniform(0.5, 3) * t + r.uniform(0, 7))
        phase = np.cumsum(pitch * (1 + 0.2 * sway) / rate)
        excitation = ((phase % 1) < 0.1) - 0.1
        formants = [(250, 900, 90), (800, 2500, 120), (2200, 3600, 180)]
    else:
        excitation = r.standard_normal(samples) * 0.3
        formants = [(3000, 8000, 1500)]
    frequency = np.fft.rfftfreq(samples, 1 / rate)
    response = np.zeros(len(frequency))
    for low, high, width in formants:
        centre = r.uniform(low, high)
        peak = 1 / (1 + ((frequency - centre) / width) ** 2)
        response += peak * (500 / (centre + 200))
    voice = np.fft.irfft(np.fft.rfft(excitation) * response, samples)
    return np.asarray(voice * np.hanning(samples) * r.uniform(0.4, 1))


def speech(r: Generator, samples: int, rate: int) -> Wave:
    """Glottal pulses through formants, in syllables with pauses and hisses."""
    wave = np.zeros(samples)
    pitch, position = r.uniform(80, 260), int(r.uniform(0, 0.5) * rate)
    while (left := samples - position) > rate // 100:
        length = min(int(r.uniform(0.08, 0.3) * rate), left)
        wave[position : position + length] += _syllable(r, length, rate, pitch)
        position += int(length * r.uniform(0.8, 1.6))
        if r.random() < 0.12:
            position += int(r.uniform(0.2, 0.7) * rate)
    return _levelled(wave)


def clatter(r: Generator, samples: int, rate: int) -> Wave:
    """Knocks and short damped resonances at random times."""
    wave = np.zeros(samples)
    for _ in range(int(r.integers(1, 25))):
        length = min(int(r.uniform(0.003, 0.15) * rate), samples // 2)
        t = _time(length, rate)
        tones = r.uniform(150, 9000, 4).astype(np.float32)
        knock = (r.uniform(0, 1, 4) * np.sin(2 * np.pi * np.outer(t, tones))).sum(1)
        knock += r.standard_normal(length) * r.uniform(0, 2)
        start = int(r.integers(0, samples - length))
        decay = np.exp(-t * r.uniform(30, 400)) * r.uniform(0.1, 1)
        wave[start : start + length] += knock * decay
    noise = coloured_noise(r, samples, rate) * decibels(r.uniform(-60, -25))
    peak = np.abs(wave).max() + 1e-9
    return np.asarray(wave / peak * 0.3 + noise, np.float32)


def beeps(r: Generator, samples: int, rate: int) -> Wave:
    """A tone switched on and off, in some noise."""
    t = _time(samples, rate)
    period = r.uniform(0.15, 1.5)
    on = (t % period) < period * r.uniform(0.1, 0.8)
    wave = np.sin(float(2 * np.pi * r.uniform(300, 4000)) * t) * on * LEVEL
    noise = coloured_noise(r, samples, rate) * decibels(r.uniform(-40, -10))
    return np.asarray(wave + noise, np.float32)


KINDS: tuple[Callable[[Generator, int, int], Wave], ...] = (
    # The most frequent ones are listed twice.
    *(coloured_noise, coloured_noise, wind, hum, music, music),
    *(speech, speech, clatter, clatter, beeps),
)


def any_sound(r: Generator, samples: int, rate: int) -> Wave:
    """A sound of a random kind."""
    return KINDS[int(r.integers(len(KINDS)))](r, samples, rate)
