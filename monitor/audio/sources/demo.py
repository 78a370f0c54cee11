"""The demo scene: a minute of a synthetic street, the same every time.

`SCENE` lists its sounds.  None of it was recorded, and nothing is trained on it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.audio.ring import Samples

Signal = NDArray[np.float64]
"""One channel of samples, shape (n,)."""


@dataclass(frozen=True, slots=True)
class Sound:
    """One sound of the scene, in seconds from its beginning."""

    label: str
    start_seconds: float
    end_seconds: float
    level_dbfs: float
    """Root mean square over its duration."""


LABELS = ("siren", "dog_bark", "drilling", "car_horn")
"""Names of the sounds, the one that networks recognise best first."""

SCENE_SECONDS = 60.0
SCENE = (
    Sound("siren", 6.0, 20.0, -20.0),
    Sound("drilling", 26.0, 34.0, -20.0),
    Sound("car_horn", 40.0, 41.2, -20.0),
    Sound("dog_bark", 48.0, 51.0, -26.0),
)
"""The true times of everything that has a label."""

_FADE_SECONDS = 0.02
_CORNER_SECONDS = 1.0
AMBIENCE_DBFS = -62.0
"""Root mean square of the distant traffic under all of it."""


def render_scene(sample_rate: int) -> Samples:
    """Compute the scene.

    Returns:
        float32, shape (1, SCENE_SECONDS * sample_rate).
    """
    generator = np.random.Generator(np.random.PCG64(2014))
    count = round(SCENE_SECONDS * sample_rate)
    scene = _at_level(_traffic(count, sample_rate, generator), AMBIENCE_DBFS)
    for sound in SCENE:
        start = round(sound.start_seconds * sample_rate)
        stop = round(sound.end_seconds * sample_rate)
        dry = _SYNTHESISERS[sound.label](stop - start, sample_rate, generator)
        scene[start:stop] += _at_level(_faded(dry, sample_rate), sound.level_dbfs)
    return np.clip(scene, -1, 1).astype(np.float32)[np.newaxis]


def render_sound(label: str, seconds: float, sample_rate: int) -> Signal:
    """Compute one of `LABELS` alone, the same every time.

    Returns:
        Shape (seconds * sample_rate,); its root mean square is 1.
    """
    generator = np.random.Generator(np.random.PCG64(2014))
    count = round(seconds * sample_rate)
    dry = _SYNTHESISERS[label](count, sample_rate, generator)
    return _at_level(_faded(dry, sample_rate), 0.0)


def _at_level(signal: Signal, level_dbfs: float) -> Signal:
    rms = float(np.sqrt(np.mean(signal**2)))
    return signal * (10 ** (level_dbfs / 20) / rms)


def _faded(signal: Signal, sample_rate: int) -> Signal:
    count = min(len(signal) // 2, round(_FADE_SECONDS * sample_rate))
    ramp = np.sin(np.linspace(0, np.pi / 2, count)) ** 2
    faded = signal.copy()
    faded[:count] *= ramp
    faded[-count:] *= ramp[::-1]
    return faded


def _shaped(signal: Signal, sample_rate: int, points: dict[float, float]) -> Signal:
    """Filter by gains in dB given at frequencies in Hz, straight lines between."""
    spectrum = np.fft.rfft(signal)
    frequencies = np.fft.rfftfreq(len(signal), 1 / sample_rate)
    octaves = np.log2(np.maximum(frequencies, 1.0))
    gains_db = np.interp(octaves, np.log2(list(points)), list(points.values()))
    return np.fft.irfft(spectrum * 10 ** (gains_db / 20), len(signal))


def _echoed(
    signal: Signal, sample_rate: int, generator: np.random.Generator, seconds: float
) -> Signal:
    """Add the diffuse echo of a street that decays by 60 dB in `seconds`."""
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    tail = generator.standard_normal(len(times)) * 10 ** (-3 * times / seconds)
    tail = _shaped(tail, sample_rate, {100: -6, 500: 0, 2000: -3, 8000: -18})
    wet = _convolved(signal, tail)
    return signal + wet * (0.35 * np.std(signal) / np.std(wet))


def _convolved(signal: Signal, response: Signal) -> Signal:
    """Convolve with an impulse response; what rings on after the signal is cut off."""
    size = len(signal) + len(response)
    product = np.fft.rfft(signal, size) * np.fft.rfft(response, size)
    return np.fft.irfft(product, size)[: len(signal)]


def _traffic(count: int, sample_rate: int, generator: np.random.Generator) -> Signal:
    noise = generator.standard_normal(count)
    return _shaped(
        noise, sample_rate, {20: -20, 60: 0, 250: -6, 1000: -18, 4000: -36, 16000: -60}
    )


def _siren(count: int, sample_rate: int, generator: np.random.Generator) -> Signal:
    """A wailing siren: a horn loudspeaker swept between 650 and 1,500 Hz.

    It comes around a corner: one that begins all at once is a horn, until it wails.
    """
    times = np.arange(count) / sample_rate
    sweep = 0.5 - 0.5 * np.cos(2 * np.pi * times / 4.2)
    frequency = 650.0 * (1500.0 / 650.0) ** sweep
    phase = 2 * np.pi * np.cumsum(frequency) / sample_rate
    tone = sum(np.sin(k * phase) / k**1.2 for k in range(1, 8))
    horn: dict[float, float] = {200: -30, 600: -3, 1500: 0, 3500: 0, 9000: -25}
    tone = _shaped(np.tanh(1.5 * tone), sample_rate, horn)
    tone *= np.minimum(times / _CORNER_SECONDS, 1) ** 2
    return _echoed(tone, sample_rate, generator, 1.2)


_CHUCK_HZ = 55.0
"""Revolutions a second without a load."""

_RATCHET_TEETH = 14
_GEAR_TEETH = 8
_WALL: dict[float, float] = {950: 0.005, 2300: 0.003, 3900: 0.002, 6100: 0.0015}
"""Resonances of bit and masonry in Hz, with their decay times in seconds."""


def _drilling(count: int, sample_rate: int, generator: np.random.Generator) -> Signal:
    """A percussion drill: it runs up, bites into masonry after 0.4 s, and runs down.

    Under the hand's varying pressure it turns more slowly.  Gears whine, and each tooth
    of the ratchet is a blow: some 650 a second, where a jackhammer has 15 to 30.
    """
    times = np.arange(count) / sample_rate
    running = np.minimum(1 - np.exp(-times / 0.15), np.minimum(1, times[::-1] / 0.3))
    pressure = _shaped(generator.standard_normal(count), sample_rate, {1: 0, 15: -40})
    in_wall = np.clip((times - 0.4) / 0.1, 0, 1)
    load = in_wall * (0.13 + 0.06 * pressure / np.std(pressure))
    turns = np.cumsum(_CHUCK_HZ * running * (1 - load)) / sample_rate
    whine = sum(
        np.sin(2 * np.pi * k * _GEAR_TEETH * turns) / k**0.3 for k in range(1, 30)
    )
    blows = np.diff(np.floor(_RATCHET_TEETH * turns), prepend=0.0) * in_wall
    blows *= 1 + 0.3 * generator.standard_normal(count)
    rattle = _shaped(
        generator.standard_normal(count),
        sample_rate,
        {60: -50, 250: -25, 400: 0, 9000: 0, 18000: -16},
    )
    drill = (
        0.25 * whine / np.std(whine)
        + _on_masonry(blows, sample_rate, generator)
        + 0.7 * running * rattle / np.std(rattle)
    )
    return _echoed(running * drill, sample_rate, generator, 0.8)


def _on_masonry(
    blows: Signal, sample_rate: int, generator: np.random.Generator
) -> Signal:
    """Let each blow ring in the wall and crush a little of it."""
    times = np.arange(round(0.03 * sample_rate)) / sample_rate
    ring = np.zeros(len(times))
    for frequency, decay in _WALL.items():
        ring += np.sin(2 * np.pi * frequency * times) * np.exp(-times / decay)
    ringing = _convolved(blows, ring)
    crumbs = _shaped(
        generator.standard_normal(len(blows)),
        sample_rate,
        {500: -10, 1500: 0, 8000: 0, 18000: -12},
    )
    crumbs *= _convolved(blows, np.exp(-times / 0.001))
    return 0.7 * ringing / np.std(ringing) + 0.3 * crumbs / np.std(crumbs)


def _car_horn(count: int, sample_rate: int, generator: np.random.Generator) -> Signal:
    """A pair of disc horns a minor third apart, rich in harmonics."""
    times = np.arange(count) / sample_rate
    attack = 0.04
    horn = np.zeros(count)
    for base in (330.0, 392.0):
        frequency = base * (1 - 0.02 * np.exp(-times / attack))
        phase = 2 * np.pi * np.cumsum(frequency) / sample_rate
        for k in range(1, 22):
            horn += np.sin(k * phase + generator.uniform(0, 2 * np.pi)) / k**0.6
    horn += 0.05 * np.std(horn) * generator.standard_normal(count)
    horn = _shaped(
        horn, sample_rate, {150: -15, 350: 0, 1000: 2, 2500: 4, 4500: -2, 9000: -18}
    )
    return _echoed(horn * np.minimum(1, times / attack), sample_rate, generator, 0.5)


def _dog_bark(count: int, sample_rate: int, generator: np.random.Generator) -> Signal:
    """A large dog: a rough voice through the resonances of its throat."""
    barks = np.zeros(count)
    length = round(0.22 * sample_rate)
    times = np.arange(length) / sample_rate
    position = 0
    while position + length <= count:
        pitch = generator.uniform(430, 470)
        arch = np.sin(np.pi * (times / times[-1]) ** 0.7)
        phase = np.cumsum(pitch * (0.75 + 0.5 * arch)) / sample_rate
        voice = 2 * (phase % 1) - 1 + 0.3 * generator.standard_normal(length)
        voice = _through_throat(voice, sample_rate)
        voice *= np.minimum(1, times / 0.015)
        voice *= np.exp(-np.maximum(0, times - 0.08) / 0.06)
        barks[position : position + length] = voice
        position += length + round(generator.uniform(0.4, 0.6) * sample_rate)
    return _echoed(barks, sample_rate, generator, 0.5)


def _through_throat(voice: Signal, sample_rate: int) -> Signal:
    frequencies = np.fft.rfftfreq(len(voice), 1 / sample_rate)
    gain = np.full(len(frequencies), 0.02)
    for centre, width in ((700.0, 150.0), (1400.0, 250.0), (2800.0, 400.0)):
        gain += 1 / (1 + ((frequencies - centre) / width) ** 2)
    return np.fft.irfft(np.fft.rfft(voice) * gain, len(voice))


_SYNTHESISERS: dict[str, Callable[[int, int, np.random.Generator], Signal]] = {
    "siren": _siren,
    "drilling": _drilling,
    "car_horn": _car_horn,
    "dog_bark": _dog_bark,
}
