"""Sounds of a household, synthesised: a smoke alarm, glass, a baby.

Each is mono, float64 at 44.1 kHz, and a little different for each seed.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, fftconvolve, iirpeak, lfilter, sosfilt

RATE = 44_100
Sound = NDArray[np.float64]


def smoke_alarm(seed: int) -> Sound:
    """Nine beeps of 3.1 kHz, in threes."""
    r = np.random.default_rng(seed)
    hertz = r.uniform(3000, 3300)
    time = _time(0.5)
    tone = np.sin(2 * np.pi * hertz * time)
    beep = (0.6 * np.sign(tone) + 0.4 * tone) * np.interp(
        time, [0, 0.005, 0.495, 0.5], [0, 1, 1, 0]
    )
    three = np.concatenate([beep, _silence(0.5)] * 3 + [_silence(1)])
    return np.tile(three, 3)


def glass(seed: int) -> Sound:
    """A pane that bursts, and splinters that fall."""
    r = np.random.default_rng(seed)
    time = _time(1.8)
    burst = r.normal(size=len(time)) * np.exp(-time / 0.03)
    sound = 1.2 * sosfilt(butter(2, 1500, "high", fs=RATE, output="sos"), burst)
    for _ in range(160):
        at = int(r.exponential(0.28) * RATE)
        decay = r.uniform(0.01, 0.12)
        after = time[: max(0, min(len(time) - at, int(6 * decay * RATE)))]
        ring = sum(
            r.uniform(0.2, 1)
            * np.sin(2 * np.pi * r.uniform(2500, 14_000) * after + r.uniform(0, 6))
            for _ in range(5)
        ) * np.exp(-after / decay)
        click = 1.5 * r.normal(size=len(after)) * np.exp(-after / 0.002)
        fall = np.exp(-at / RATE / 0.5) * r.uniform(0.1, 1)
        sound[at : at + len(after)] += (ring + click) * fall
    return sound


_FORMANTS = ((1223, 475, 0.52), (2168, 419, 0.56), (3942, 607, 1.13), (9230, 604, 1.16))


def baby_cry(seed: int) -> Sound:
    """Five cries, each with a breath after it."""
    r = np.random.default_rng(seed)
    parts = []
    for _ in range(5):
        time = _time(r.uniform(0.8, 1.3))
        share = time / time[-1]
        rise = np.interp(share, [0, 0.15, 0.6, 1], [0.75, 1.65, 1.54, 0.7])
        jitter = 1 + np.cumsum(r.normal(size=len(time))) * 2e-5
        phase = np.cumsum(296 * rise * jitter) / RATE
        voice = 2 * (phase % 1) - 1 + 0.02 * r.normal(size=len(time))
        cry = sum(_resonance(voice, *formant) for formant in _FORMANTS)
        loud = np.interp(share, [0, 0.06, 0.3, 0.8, 1], [0, 0.7, 1, 0.8, 0])
        breath = r.normal(size=round(0.3 * RATE)) * np.hanning(round(0.3 * RATE))
        parts += [cry * loud, _silence(0.1), _resonance(breath, 2000, 1500, 0.15)]
    return np.concatenate(parts)


def in_room(sound: Sound, seed: int, share: float = 0.3) -> Sound:
    """Add the reverberation of a room of 0.4 s, and scale to a peak of 0.5."""
    r = np.random.default_rng(seed)
    count = round(0.4 * RATE)
    response = r.normal(size=count) * 10 ** (-3 * np.arange(count) / count)
    echoes = fftconvolve(sound, response / np.sqrt(np.square(response).sum()))
    dry = np.pad(sound, (0, len(echoes) - len(sound)))
    mixed = (1 - share) * dry + share * echoes
    return np.asarray(0.5 * mixed / np.abs(mixed).max())


def _time(seconds: float) -> Sound:
    return np.arange(round(seconds * RATE)) / RATE


def _silence(seconds: float) -> Sound:
    return np.zeros(round(seconds * RATE))


def _resonance(sound: Sound, hertz: float, width: float, gain: float) -> Sound:
    numerator, denominator = iirpeak(hertz, hertz / width, fs=RATE)
    return np.asarray(gain * lfilter(numerator, denominator, sound))
