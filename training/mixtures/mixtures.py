"""Training windows: clips placed, mixed and laid over ambience, with their labels.

Nothing is padded with digital silence: short recordings would be recognised by it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from monitor.spec import ModelSpec
from training.config import MixtureSettings
from training.data.decoded import ClipStore
from training.data.manifest import NO_FOLD, Clip
from training.mixtures import augment, synthetic
from training.mixtures.background import Background, evaluation_windows
from training.mixtures.synthetic import loudness

Samples = NDArray[np.float32]
FRAMES_PER_CELL = 8
"""Resolution of the activity of a window; its frames are a multiple of this."""


_QUIET_AMBIENCE = 0.15
"""Share of windows without a label that are far quieter, as most nights are."""


@dataclass(frozen=True, slots=True)
class Mixture:
    """One window of training material."""

    samples: Samples
    """(channels, window_samples), as the microphone would deliver it."""

    clean: Samples
    """Samples before level, rounding and noise of the microphone."""

    full_scale_db: float
    """Peak of `full_scale`, dBFS."""

    activity: NDArray[np.float32]
    """(labels, cells): the share of each cell in which the label sounds."""

    fold: int
    """The fold of all its clips; NO_FOLD: none."""

    negatives_fold: int
    """The fold of all its negatives; NO_FOLD: none."""

    @property
    def full_scale(self) -> Samples:
        """The clean sound at the level for the teacher; computed on demand."""
        loud = augment.set_peak(self.clean, self.full_scale_db)
        return loud.astype(np.float32, copy=False)


def cells_of(spec: ModelSpec) -> int:
    """Cells of a window's activity."""
    assert spec.window_frames % FRAMES_PER_CELL == 0
    return spec.window_frames // FRAMES_PER_CELL


class MixtureMaker:
    """Makes mixtures of given clips; all clips of one mixture are of one fold.

    Holds no state: the same generator state gives the same mixture, in any process.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        negatives: Sequence[Clip],
        store: ClipStore,
        negatives_store: ClipStore | None,
        labels: int,
        spec: ModelSpec,
        settings: MixtureSettings,
    ) -> None:
        self.clips = tuple(clips)
        self.labels = labels
        self.spec = spec
        self.settings = settings
        self._store = store
        share = settings.synthetic_share
        self._background = Background(
            negatives, negatives_store, spec, share, self._vary
        )
        self.channels = max(
            store.channels, negatives_store.channels if negatives_store else 1
        )
        """Channels of a mixture at most."""
        self.weights = balanced_weights(self.clips, settings.balance)
        self._peers = {
            fold: np.array(
                [i for i, clip in enumerate(self.clips) if clip.fold == fold]
            )
            for fold in {clip.fold for clip in self.clips}
        }

    def make(self, r: Generator, index: int | None) -> Mixture:
        """Make a window around clip `index`, or one of no label for None."""
        activity = np.zeros((self.labels, cells_of(self.spec)), np.float32)
        negatives_fold = self._background.draw_fold(r)
        if index is None:
            window, used = self._background.make(r, negatives_fold)
            quiet = r.uniform(25, 60) if r.random() < _QUIET_AMBIENCE else 0.0
            of = negatives_fold if used else NO_FOLD
            made = self._finish(r, window, activity, NO_FOLD, of)
            gain = np.float32(synthetic.decibels(-quiet))
            return replace(made, samples=made.samples * gain)
        window, level = self._clip_window(r, index, activity)
        used = False
        kind = r.random()
        settings = self.settings
        if kind < settings.two_sources:
            window = self._add_second(r, window, index, level, activity)
        if kind < settings.two_sources * 0.3 or (
            settings.two_sources <= kind < settings.two_sources + settings.over_ambience
        ):
            ambience, used = self._background.make(r, negatives_fold)
            window = _add(
                window, augment.match_level(ambience, level, -r.uniform(-3, 20))
            )
        window = window + self._floor(r, level)
        fold = self.clips[index].fold
        of = negatives_fold if used else NO_FOLD
        return self._finish(r, window, activity, fold, of)

    def unaltered(self, index: int) -> Mixture:
        """Return the clip as it is evaluated: its first window, not augmented."""
        clip = self.clips[index]
        samples = self._store.read(clip.path)
        window = evaluation_windows(samples, self.spec)[0]
        activity = np.zeros((self.labels, cells_of(self.spec)), np.float32)
        count = self.spec.window_samples
        start = max(0, count - samples.shape[1]) // 2
        assert clip.label is not None
        self._mark(activity, clip.label, start, min(count, start + samples.shape[1]))
        return Mixture(window, window, -3, activity, clip.fold, NO_FOLD)

    def _clip_window(
        self, r: Generator, index: int, activity: NDArray[np.float32]
    ) -> tuple[Samples, float]:
        spec, settings = self.spec, self.settings
        clip = self.clips[index]
        sound = self._vary(r, self._store.sound(clip.path))
        length, window = sound.shape[1], spec.window_samples
        if length < 0.6 * window and r.random() < settings.repeat:
            sound = augment.repeat(r, sound, window, spec.sample_rate)
        partial = r.random() < settings.partial
        placed, start, stop = augment.place(r, sound, window, spec.sample_rate, partial)
        assert clip.label is not None
        self._mark(activity, clip.label, start, stop)
        return placed, loudness(placed[:, start:stop])

    def _add_second(
        self,
        r: Generator,
        window: Samples,
        index: int,
        level: float,
        activity: NDArray[np.float32],
    ) -> Samples:
        """Add a clip of another label of the same fold, at -8 to 8 dB."""
        first = self.clips[index]
        peers = self._peers[first.fold]
        others = peers[[self.clips[i].label != first.label for i in peers]]
        if len(others) == 0:
            return window
        chances = self.weights[others]
        other = int(r.choice(others, p=chances / chances.sum()))
        second, own = self._clip_window(r, other, activity)
        gain = synthetic.decibels(r.uniform(-8, 8)) * level / own
        return _add(window, second * np.float32(gain))

    def _vary(self, r: Generator, samples: Samples) -> Samples:
        if r.random() < self.settings.speed_share:
            samples = augment.change_speed(r, samples, self.settings.speed_range)
        if r.random() < self.settings.filter_share:
            rate = self.spec.sample_rate
            samples = augment.filter_randomly(r, samples, rate)
        return samples

    def _floor(self, r: Generator, level: float) -> Samples:
        """Make faint noise, so that no sound lies in digital silence."""
        spec = self.spec
        return _noise(r, spec.window_samples, spec.sample_rate, level, -55, -20)

    def _mark(
        self, activity: NDArray[np.float32], label: int, start: int, stop: int
    ) -> None:
        spec = self.spec
        cell = FRAMES_PER_CELL * spec.hop_length
        edges = np.arange(activity.shape[1] + 1) * cell
        overlap = np.minimum(edges[1:], stop) - np.maximum(edges[:-1], start)
        share = (overlap.clip(0) / cell).astype(np.float32)
        activity[label] = np.maximum(activity[label], share)

    def _finish(
        self,
        r: Generator,
        window: Samples,
        activity: NDArray[np.float32],
        fold: int,
        negatives_fold: int,
    ) -> Mixture:
        """Apply the level and the noise of a microphone."""
        settings, spec = self.settings, self.spec
        full_scale_db = -r.uniform(1, 9)
        samples = augment.set_peak(window, -r.uniform(0, settings.gain_range_db))
        if r.random() < settings.microphone_noise:
            noise = _noise(r, spec.window_samples, spec.sample_rate, 1.0, -85, -55)
            samples = samples + noise
            # Rounding alone would turn faint sound into digital silence.
            if r.random() < settings.quantise_share:
                samples = augment.quantise(samples)
        return Mixture(
            samples.astype(np.float32, copy=False),
            window,
            full_scale_db,
            activity,
            fold,
            negatives_fold,
        )


def balanced_weights(clips: Sequence[Clip], exponent: float) -> NDArray[np.float64]:
    """Probability of each clip: (clips of its label * of its group)**-exponent."""
    of_label = Counter(clip.label for clip in clips)
    of_group = Counter((clip.label, clip.group) for clip in clips)
    counts = [of_label[c.label] * of_group[c.label, c.group] for c in clips]
    weights = np.array([count**-exponent for count in counts])
    return np.asarray(weights / weights.sum())


def _noise(
    r: Generator, samples: int, rate: int, level: float, low_db: float, high_db: float
) -> Samples:
    """Coloured noise, (1, samples), at `low_db` to `high_db` relative to `level`."""
    noise = synthetic.noise_floor(r, samples, rate)[None]
    gain = level / synthetic.LEVEL * synthetic.decibels(r.uniform(low_db, high_db))
    return noise * np.float32(gain)


def _add(one: Samples, other: Samples) -> Samples:
    """Sum of two windows; mono is broadcast over both channels."""
    total: Samples = one + other
    return total
