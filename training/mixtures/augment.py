"""Augmentations; every random draw is from the generator passed in.

Waveforms are float32 of shape (channels, n); log-mels float32 of (batch, channels,
n_mels, frames) in dB.
"""

from collections.abc import Callable

import numpy as np
import soxr
from numpy.random import Generator
from numpy.typing import NDArray

from training.config import FeatureSettings
from training.mixtures.synthetic import decibels, loudness

Samples = NDArray[np.float32]
Array = NDArray[np.float32]

_KNOTS_HZ = (30, 120, 300, 800, 2000, 5000, 11_025, 24_000)
_SHORTEST = 256
_TAPS = 1024
_CROSSFADE_SECONDS = 0.3


def change_speed(r: Generator, samples: Samples, largest: float) -> Samples:
    """Play faster or slower by up to the share `largest`, pitch and all."""
    if samples.shape[1] < _SHORTEST:
        return samples
    factor = r.uniform(1 - largest, 1 + largest)
    # soxr wants time first; only the ratio of the rates matters.
    played = soxr.resample(samples.T, 44_100, 44_100 / factor, quality="MQ")
    return np.ascontiguousarray(played.T, dtype=np.float32)


def filter_randomly(
    r: Generator, samples: Samples, rate: int, room_share: float = 0.2
) -> Samples:
    """Pass through a smooth random equaliser, sometimes a band limit or a room."""
    if samples.shape[1] < _SHORTEST:
        return samples
    response = _equaliser(r, rate)
    if r.random() < room_share:
        room = _room(r, rate)
        size = len(room) + len(response)
        spectrum = np.fft.rfft(room, size) * np.fft.rfft(response, size)
        response = np.fft.irfft(spectrum, size).astype(np.float32)
    return _convolve(samples, response, delay=_TAPS // 2)


def _equaliser(r: Generator, rate: int) -> Array:
    """A symmetric impulse response of `_TAPS` taps."""
    octave = np.log2(np.maximum(np.fft.rfftfreq(_TAPS, 1 / rate), 30))
    knots = r.normal(0, 4, len(_KNOTS_HZ)).clip(-9, 9)
    gain = np.interp(octave, np.log2(_KNOTS_HZ), knots)
    if r.random() < 0.15:
        cut = np.log2(r.uniform(2500, 8000))
        gain -= 12 * r.uniform(0.5, 2) * np.maximum(0, octave - cut)
    if r.random() < 0.15:
        cut = np.log2(r.uniform(100, 500))
        gain -= 12 * r.uniform(0.5, 2) * np.maximum(0, cut - octave)
    response = np.fft.irfft(10 ** (gain / 20), _TAPS)
    return (np.roll(response, _TAPS // 2) * np.hanning(_TAPS)).astype(np.float32)


def _room(r: Generator, rate: int) -> Array:
    """An impulse response: the direct sound and an exponential tail of noise."""
    length = int(r.uniform(0.08, 0.35) * rate)
    tail = r.standard_normal(length) * np.exp(-np.linspace(0, 6.9, length))
    tail *= decibels(r.uniform(-14, -1)) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail.astype(np.float32)


def _convolve(samples: Samples, response: Array, delay: int) -> Samples:
    """Filter, block by block, which the cache likes; as long as before."""
    channels, length = samples.shape
    size = 1 << (2 * len(response) - 1).bit_length()  # of one transform
    step = size - len(response) + 1
    count = -(-(length + delay) // step)
    padded = np.zeros((channels, count * step), np.float32)
    padded[:, :length] = samples
    blocks = padded.reshape(channels, count, step)
    spectrum = np.fft.rfft(blocks, size) * np.fft.rfft(response, size)
    pieces = np.fft.irfft(spectrum, size)  # (channels, blocks, size)
    filtered = np.zeros((channels, (count - 1) * step + size), np.float32)
    for block in range(count):
        filtered[:, block * step : block * step + size] += pieces[:, block]
    return filtered[:, delay : delay + length]


def repeat(r: Generator, samples: Samples, longest: int, rate: int) -> Samples:
    """Repeat a short sound two to four times with pauses, `longest` samples in all."""
    pause = np.zeros((samples.shape[0], int(r.uniform(0.05, 0.8) * rate)), np.float32)
    times = int(r.integers(2, 5))
    return np.concatenate([samples, pause] * times, axis=1)[:, :longest]


def looped(r: Generator, sound: Samples, length: int, rate: int) -> Samples:
    """Cut `length` samples of (n,) at random; a shorter sound is repeated, crossfaded.

    Equal power on both sides of a seam keeps the level of noise.
    """
    if len(sound) >= length:
        start = int(r.integers(0, len(sound) - length + 1))
        return sound[start : start + length].copy()
    fade = min(rate // 2, len(sound) // 4)
    once = faded(sound, fade)
    made = np.zeros(length + len(once), np.float32)
    step = len(once) - fade
    first = -fade - int(r.integers(0, step))
    for at in range(first, length, step):
        begin = max(at, 0)
        made[begin : at + len(once)] += once[begin - at :]
    return made[:length]


def faded(sound: Samples, length: int) -> Samples:
    """Fade (n,) in and out over `length`, with equal power."""
    length = min(length, len(sound) // 4)
    rise = np.sin(np.linspace(0, np.pi / 2, length, dtype=np.float32))
    ramp = np.ones(len(sound), np.float32)
    ramp[:length] = rise
    ramp[len(sound) - length :] = rise[::-1]
    return sound * ramp


def lay_in_succession(
    r: Generator,
    samples: Samples,
    draw: Callable[[], Samples],
    level: float,
    level_range_db: tuple[float, float],
    rate: int,
) -> Samples:
    """Lay sounds one after the other, with short crossfades, over `samples` (n,).

    Args:
        r: Draws the level of each sound.
        samples: Changed in place.
        draw: Returns the next sound, (m,).
        level: Root mean square from which the levels of the sounds differ.
        level_range_db: Lowest and highest difference.
        rate: Samples a second.
    """
    fade = round(_CROSSFADE_SECONDS * rate)
    at = 0
    while at < len(samples):
        sound = match_level(draw(), level, r.uniform(*level_range_db))
        sound = faded(sound, fade)[: len(samples) - at]
        samples[at : at + len(sound)] += sound
        at += max(len(sound) - fade, fade)
    return samples


def place(
    r: Generator, samples: Samples, window: int, rate: int, partial: bool
) -> tuple[Samples, int, int]:
    """Place a sound, (channels, n), at random in an otherwise empty window.

    If `partial`, it may begin before the window or end after it.

    Returns:
        (channels, window), and the interval [start, stop) of the sound.
    """
    length = samples.shape[1]
    placed = np.zeros((samples.shape[0], window), np.float32)
    if partial or length > window:
        # Enough must remain to recognise it.
        keep = int(min(length, max(0.2 * length, 0.6 * rate), window))
        offset = int(r.integers(keep - length, window - keep + 1))
    else:
        offset = int(r.integers(0, window - length + 1))
    start, stop = max(offset, 0), min(window, offset + length)
    placed[:, start:stop] = samples[:, start - offset : stop - offset]
    ramp = min(rate // 110, (stop - start) // 4)
    if offset < 0:
        placed[:, start : start + ramp] *= np.linspace(0, 1, ramp, dtype=np.float32)
    if offset + length > window:
        placed[:, stop - ramp : stop] *= np.linspace(1, 0, ramp, dtype=np.float32)
    return placed, start, stop


def set_peak(samples: Samples, peak_db: float) -> Samples:
    """Scale the loudest sample to `peak_db` dBFS; silence stays silence."""
    # Twice as fast as the largest of the absolute values, which are written down first.
    peak = float(max(samples.max(initial=0.0), -samples.min(initial=0.0)))
    if peak < 1e-6:
        return samples
    return samples * np.float32(decibels(peak_db) / peak)


def quantise(samples: Samples) -> Samples:
    """Round to 16 bit."""
    steps = (samples * 32_767).astype(np.float32, copy=False)
    np.rint(steps, out=steps)
    steps /= 32_767
    return steps


def match_level(samples: Samples, level: float, offset_db: float) -> Samples:
    """Scale to the root mean square `level`, plus `offset_db`."""
    return samples * np.float32(level / loudness(samples) * decibels(offset_db))


def vary_levels(r: Generator, log_mel: Array, settings: FeatureSettings) -> None:
    """Shift each window's level, and tilt its bands by a smooth curve; in place."""
    batch, _, n_mels, _ = log_mel.shape
    if settings.gain_db > 0:
        gains = r.uniform(-settings.gain_db, settings.gain_db, (batch, 1, 1, 1))
        log_mel += gains.astype(np.float32)
    if settings.filter_db > 0:
        knots = r.normal(0, settings.filter_db, (batch, 6))
        grid = np.linspace(0, 5, n_mels)
        curves = np.stack([np.interp(grid, np.arange(6), row) for row in knots])
        log_mel += curves[:, None, :, None].astype(np.float32)


def roll(r: Generator, log_mel: Array, activity: Array, frames_per_cell: int) -> None:
    """Roll each window in time by whole cells, its activity with it; in place.

    The activity is (batch, labels, cells).
    """
    cells = activity.shape[-1]
    for row in range(len(log_mel)):
        by = int(r.integers(cells))
        # Both channels and all bands by the same: the axis is named.
        log_mel[row] = np.roll(log_mel[row], by * frames_per_cell, axis=-1)
        activity[row] = np.roll(activity[row], by, axis=-1)


def mask(r: Generator, log_mel: Array, settings: FeatureSettings) -> None:
    """Mask mel bands and time intervals on all channels alike; in place (SpecAugment).

    Bands are replaced by the window's mean, intervals by the mean of each band, so
    that a mask is not a silence, which would mean something.
    """
    _, _, n_mels, frames = log_mel.shape
    for window in log_mel:  # (channels, n_mels, frames)
        for _ in range(settings.frequency_masks):
            if r.random() < settings.mask_share:
                width = int(r.integers(1, settings.frequency_mask_bands + 1))
                start = int(r.integers(0, n_mels - width + 1))
                window[:, start : start + width] = window.mean()
        for _ in range(settings.time_masks):
            if r.random() < settings.mask_share:
                width = int(r.integers(1, settings.time_mask_frames + 1))
                start = int(r.integers(0, frames - width + 1))
                means = window.mean(axis=-1, keepdims=True)
                window[..., start : start + width] = means


def mix_powers(
    r: Generator, log_mel: Array, partner: NDArray[np.intp], mixed: NDArray[np.bool_]
) -> None:
    """Add the power of its partner to each `mixed` window, at -8 to 4 dB; in place.

    Both arrays are (batch,); `partner` has indices of the batch.
    """
    power = 10 ** (log_mel / 10)
    level = 10 * np.log10(power.mean(axis=(1, 2, 3)) + 1e-10)
    for row in np.flatnonzero(mixed):
        other = partner[row]
        offset = level[row] - level[other] + r.uniform(-8, 4)
        total = power[row] + power[other] * np.float32(10 ** (offset / 10))
        log_mel[row] = 10 * np.log10(total)
