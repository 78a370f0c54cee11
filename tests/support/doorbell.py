"""A doorbell of two tones, in rooms and at distances; and other sounds of a house."""

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

Samples = NDArray[np.float32]

ROOMS = {"hall": 0.9, "kitchen": 0.4, "bedroom": 0.25}
"""Reverberation time of each, seconds."""

_TONES = ((659.3, 0.0), (523.3, 0.45))
_PARTIALS = ((1.0, 1.0), (2.76, 0.5), (5.4, 0.25))
"""Ratio and amplitude of the partials of a struck bar."""


def doorbell(
    room: str, metres: float, rate: int, seed: int = 0, seconds: float = 2.0
) -> Samples:
    """A ring as a microphone hears it, with the hiss of the room.

    Args:
        room: One of `ROOMS`.
        metres: Distance; the direct sound fades with it, the room's does not.
        rate: Samples a second.
        seed: Of the room and of the hiss.
        seconds: Length.
    """
    rng = np.random.default_rng([seed, sorted(ROOMS).index(room)])
    time = np.arange(round(seconds * rate)) / rate
    ring = np.zeros_like(time)
    for hertz, begin in _TONES:
        since = np.maximum(time - begin - 0.1, 0)
        for ratio, amplitude in _PARTIALS:
            if hertz * ratio < rate / 2:
                decay = np.exp(-3 * ratio * since) * (since > 0)
                ring += amplitude * decay * np.sin(2 * np.pi * hertz * ratio * since)
    tail = np.arange(round(ROOMS[room] * rate)) / rate
    echo = rng.standard_normal(len(tail)) * 10 ** (-3 * tail / ROOMS[room])
    echo *= 0.3 / np.sqrt(np.square(echo).sum())
    size = len(ring) + len(echo)
    reverberation = np.fft.irfft(
        np.fft.rfft(ring, size) * np.fft.rfft(echo, size), size
    )
    heard = ring / metres + reverberation[: len(ring)]
    hiss = 1e-4 * rng.standard_normal(len(time))
    return (0.1 * heard + hiss).astype(np.float32)


def other_sound(kind: str, rate: int, seed: int = 0, seconds: float = 2.0) -> Samples:
    """`hiss`, `hum` or `clatter`, a little different for every seed."""
    rng = np.random.default_rng([seed, len(kind)])
    time = np.arange(round(seconds * rate)) / rate
    if kind == "hum":
        wave = np.sign(np.sin(2 * np.pi * rng.uniform(50, 120) * time))
    elif kind == "hiss":
        wave = rng.standard_normal(len(time))
    else:
        wave = rng.standard_normal(len(time)) * (rng.random(len(time)) < 0.002) * 10
    hiss = 1e-4 * rng.standard_normal(len(time))
    return (rng.uniform(0.02, 0.2) * wave + hiss).astype(np.float32)


def write_rings(folder: Path, count: int, rate: int = 16_000) -> list[Path]:
    """Write rings in several rooms and at several distances, as WAV."""
    rooms = sorted(ROOMS)
    paths = []
    for number in range(count):
        path = folder / f"ring{number}.wav"
        ring = doorbell(rooms[number % len(rooms)], 1.0 + number, rate, number)
        soundfile.write(path, ring, rate)
        paths.append(path)
    return paths
