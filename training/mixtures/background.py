"""Backgrounds, windows of no class; and the windows in which a clip is evaluated."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from monitor.spec import ModelSpec
from training.data.decoded import ClipStore
from training.data.manifest import NO_FOLD, Clip
from training.mixtures import augment, synthetic
from training.mixtures.synthetic import loudness

Samples = NDArray[np.float32]
Vary = Callable[[Generator, Samples], Samples]
_JOINED = 0.4
"""Share of recorded backgrounds in which one recording crossfades into another, as a
street does: else the only such seams in training would be onsets of a label."""
_CROSSFADE_SECONDS = 0.3
_SYNTHETIC_ON_TOP = 0.25
"""Share of backgrounds with a synthetic sound on top."""
_BEDS_DB = ((-60.0, -30.0), (-30.0, -4.0))
"""Levels of the steady noise under a background; faint and loud equally often."""


class Background:
    """Makes windows of no class from recordings and from random numbers."""

    def __init__(
        self,
        negatives: Sequence[Clip],
        store: ClipStore | None,
        spec: ModelSpec,
        synthetic_share: float,
        vary: Vary,
    ) -> None:
        self._pools = {
            fold: [clip for clip in negatives if clip.fold == fold]
            for fold in sorted({clip.fold for clip in negatives})
        }
        self._store = store
        self._spec = spec
        self._synthetic_share = synthetic_share
        self._vary = vary

    def draw_fold(self, r: Generator) -> int:
        """Draw the fold whose recordings a window may contain; NO_FOLD: none are."""
        folds = list(self._pools)
        if not folds:
            return NO_FOLD
        sizes = np.array([len(self._pools[fold]) for fold in folds], float)
        return int(r.choice(folds, p=sizes / sizes.sum()))

    def make(self, r: Generator, fold: int) -> tuple[Samples, bool]:
        """Make a window, (channels, window_samples).

        Returns:
            The window; true if it contains a recording.
        """
        count, rate = self._spec.window_samples, self._spec.sample_rate
        recorded = fold in self._pools and r.random() >= self._synthetic_share
        if recorded:
            window = _fill(r, self._recording(r, fold), count)
            if r.random() < _JOINED:
                window = self._crossfade(r, window, self._recording(r, fold))
        else:
            sound = synthetic.any_sound(r, count, rate)[None]
            window = _fill(r, self._vary(r, sound), count)
        bed = synthetic.noise_floor(r, count, rate)[None]
        offset = r.uniform(*_BEDS_DB[int(r.integers(len(_BEDS_DB)))])
        window = window + augment.match_level(bed, loudness(window), offset)
        if r.random() < _SYNTHETIC_ON_TOP:
            more = synthetic.any_sound(r, count, rate)[None]
            level = loudness(window)
            window = window + augment.match_level(more, level, r.uniform(-20, 3))
        return window, recorded

    def _recording(self, r: Generator, fold: int) -> Samples:
        assert self._store is not None
        pool = self._pools[fold]
        clip = pool[int(r.integers(len(pool)))]
        return self._vary(r, self._store.sound(clip.path))

    def _crossfade(self, r: Generator, window: Samples, sound: Samples) -> Samples:
        """Crossfade a window into the beginning of another sound at a random moment."""
        count = window.shape[1]
        fade = round(_CROSSFADE_SECONDS * self._spec.sample_rate)
        at = int(r.integers(count // 8, count * 7 // 8))
        following = np.zeros((sound.shape[0], count), np.float32)
        following[:, at:] = _looped(sound, count - at)[:, : count - at]
        following = augment.match_level(following, loudness(window), r.uniform(-10, 10))
        rise = ((np.arange(count) - at) / fade).clip(0, 1) * np.pi / 2
        mixed: Samples = window * np.cos(rise).astype(np.float32) + following * np.sin(
            rise
        ).astype(np.float32)
        return mixed


def _fill(r: Generator, samples: Samples, count: int) -> Samples:
    """Cut `count` samples at a random place, from a loop if there are fewer."""
    samples = _looped(samples, count)
    start = int(r.integers(0, samples.shape[1] - count + 1))
    return samples[:, start : start + count]


def _looped(samples: Samples, count: int) -> Samples:
    """Repeat to at least `count` samples."""
    times = -(-count // samples.shape[1])
    return np.tile(samples, (1, times)) if times > 1 else samples


Array = NDArray[np.float32]
_FLOOR_DB = -50.0


def centred(samples: Array, size: int, rate: int) -> Array:
    """Place a clip in the middle of faint fixed noise: (channels, n) to (., size)."""
    length = samples.shape[1]
    noise = synthetic.noise_floor(np.random.default_rng(0), size, rate)[None]
    level = synthetic.loudness(samples) / synthetic.LEVEL
    window = noise * np.float32(level * synthetic.decibels(_FLOOR_DB))
    window = np.repeat(window, samples.shape[0], axis=0)
    start = (size - length) // 2
    window[:, start : start + length] += samples
    return window


def evaluation_windows(samples: Array, spec: ModelSpec) -> Array:
    """Cut a clip into windows, without a random draw.

    A short clip lies in the middle of a window over fixed noise, 50 dB below it: no
    microphone delivers digital silence.  A long one gives a window every half window,
    the last one flush with its end.

    Returns:
        (windows, channels, window_samples).
    """
    size = spec.window_samples
    length = samples.shape[1]
    if length <= size:
        return centred(samples, size, spec.sample_rate)[None]
    starts = [*range(0, length - size, size // 2), length - size]
    return np.stack([samples[:, start : start + size] for start in starts])
