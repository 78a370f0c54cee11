"""Scenes: streams with events at known times, over backgrounds of no class."""

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import soundfile
from numpy.random import Generator
from numpy.typing import NDArray
from pydantic import Field

from monitor.config.base import Settings
from training.config import TrainingSettings
from training.data.decoded import Advance, ClipStore
from training.data.manifest import NO_FOLD, Clip
from training.mixtures import augment, synthetic
from training.mixtures.material import DataPaths, gather, gather_negatives
from training.mixtures.synthetic import decibels, loudness

Samples = NDArray[np.float32]
_CHANGING_DB = (-10.0, 6.0)
"""Levels of the recordings of a background, one after the other."""
_FRAME_SECONDS = 0.05
_AUDIBLE_DB = -25.0
"""Level relative to the loudest part of a clip above which it counts as audible."""


class SceneSettings(Settings):
    """Length and content of the streams."""

    hours: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Length of all streams together, but for rounding to whole streams."""

    stream_minutes: Annotated[float, Field(ge=1, le=1440)] = 10.0
    """Length of one; no longer than all together."""

    events_per_minute: Annotated[float, Field(ge=0, le=20)] = 3.0
    """Events a minute; 0 makes pure ambience."""

    snr_db: tuple[float, float] = (6.0, 20.0)
    """Lowest and highest level of an event above the background under it."""

    overlap_share: Annotated[float, Field(ge=0, le=1)] = 0.2
    """Share of events after which another one, of another label, begins soon."""

    background_dbfs: tuple[float, float] = (-45.0, -30.0)
    """Lowest and highest level of a background."""

    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of every random draw."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """One event of a stream, in samples."""

    start: int
    stop: int
    label: str
    snr_db: float = math.nan
    """Level above the background under it; NaN: unknown."""
    recording: str = ""
    """Group of its clip; empty: unknown."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A stream and its events."""

    name: str
    samples: Samples
    """(1, n)."""
    annotations: tuple[Annotation, ...]


@dataclass(frozen=True, slots=True)
class SceneClips:
    """Recordings for the events or for the backgrounds of streams."""

    clips: Sequence[Clip] = ()
    store: ClipStore | None = None

    def mono(self, clip: Clip) -> Samples:
        """Return the sound of a clip, (n,)."""
        assert self.store is not None
        samples: Samples = self.store.sound(clip.path).mean(axis=0)
        return samples

    def facts(self, rate: int) -> dict[str, Any]:
        """Return facts for scenes.json: hours made of minutes repeat themselves."""
        seconds = sum(len(self.mono(clip)) for clip in self.clips) / rate
        return {
            "clips": len(self.clips),
            "recordings": len({clip.group for clip in self.clips}),
            "folds": sorted({clip.fold for clip in self.clips} - {NO_FOLD}),
            "minutes": round(seconds / 60, 2),
        }


class SceneMaker:
    """Makes streams from clips and from recordings of no class."""

    def __init__(
        self,
        events: SceneClips,
        backgrounds: SceneClips,
        labels: Sequence[str],
        sample_rate: int,
        settings: SceneSettings,
    ) -> None:
        self._events = events
        self._backgrounds = backgrounds
        self._labels = labels
        self._rate = sample_rate
        self._settings = settings
        self._weights = even_weights(events.clips)

    def facts(self) -> dict[str, Any]:
        """Return the content of scenes.json: settings and material."""
        return {
            "settings": self._settings.model_dump(mode="json"),
            "events": self._events.facts(self._rate),
            "backgrounds": self._backgrounds.facts(self._rate),
        }

    @property
    def count(self) -> int:
        """Number of the streams."""
        return max(1, round(self._settings.hours * 60 / self._minutes))

    @property
    def _minutes(self) -> float:
        return min(self._settings.stream_minutes, self._settings.hours * 60)

    def scenes(self) -> Iterator[Scene]:
        """Make all streams, one after the other."""
        for number in range(self.count):
            r = np.random.default_rng([self._settings.seed, 6, number])
            yield self._scene(r, f"scene{number:03d}")

    def _scene(self, r: Generator, name: str) -> Scene:
        length = round(self._minutes * 60 * self._rate)
        return self.over(r, name, self._background(r, length))

    def over(self, r: Generator, name: str, background: Samples) -> Scene:
        """Lay events over a background (n,)."""
        settings, length = self._settings, len(background)
        samples = background.copy()
        annotations: list[Annotation] = []
        for at in self._onsets(r, length):
            clip = self._events.clips[
                int(r.choice(len(self._weights), p=self._weights))
            ]
            assert clip.label is not None
            label = self._labels[clip.label]
            if any(event.stop > at and event.label == label for event in annotations):
                continue  # two sounds of one label at a time are one event
            sound = audible_part(self._events.mono(clip), self._rate)[: length - at]
            under = loudness(background[at : at + len(sound)])
            snr = r.uniform(*settings.snr_db)
            sound = sound * np.float32(under * decibels(snr) / loudness(sound))
            samples[at : at + len(sound)] += augment.faded(sound, self._rate // 100)
            stop = at + len(sound)
            annotations.append(Annotation(at, stop, label, snr, clip.group))
        # Loud events may exceed full scale: the whole stream is then turned down.
        peak = float(np.abs(samples).max())
        samples = samples * np.float32(min(1.0, 0.98 / peak))
        return Scene(name, samples[None], tuple(annotations))

    def _onsets(self, r: Generator, length: int) -> list[int]:
        """Draw the onsets: apart from each other, except those that overlap."""
        settings, rate = self._settings, self._rate
        if settings.events_per_minute == 0 or not self._events.clips:
            return []
        spacing = 60 / settings.events_per_minute
        onsets: list[int] = []
        at = r.uniform(2, 2 + spacing)
        while at * rate < length - 3 * rate:
            onsets.append(int(at * rate))
            if r.random() < settings.overlap_share:
                onsets.append(int((at + r.uniform(0.5, 2.5)) * rate))
            at += spacing * r.uniform(0.6, 1.4)
        return [onset for onset in onsets if onset < length - rate]

    def _background(self, r: Generator, length: int) -> Samples:
        """Recordings of no class one after the other, over steady noise."""
        noise = synthetic.coloured_noise(r, length, self._rate, slope=-1.5)
        level = decibels(r.uniform(*self._settings.background_dbfs))
        samples = augment.match_level(noise, level, -10.0)
        clips = self._backgrounds.clips
        if not clips:
            return samples
        return augment.lay_in_succession(
            r,
            samples,
            lambda: self._backgrounds.mono(clips[int(r.integers(len(clips)))]),
            level,
            _CHANGING_DB,
            self._rate,
        )


def even_weights(clips: Sequence[Clip]) -> NDArray[np.float64]:
    """Probabilities of clips that make each label equally frequent.

    In a label each recording is equally frequent, and in a recording each clip.
    """
    recordings = Counter((clip.label, clip.group) for clip in clips)
    labels = Counter(label for label, _ in recordings)
    chances = [
        1 / (len(labels) * labels[clip.label] * recordings[clip.label, clip.group])
        for clip in clips
    ]
    return np.array(chances, np.float64)


def foreground_clips(clips: Sequence[Clip]) -> tuple[Clip, ...]:
    """Return the clips that can be events.

    A sound behind others cannot be laid over a background at a level: that of the clip
    is the level of the others.
    """
    return tuple(clip for clip in clips if clip.is_foreground)


def audible_part(sound: Samples, rate: int) -> Samples:
    """Cut a clip to its audible part: (n,) to (m,)."""
    size = round(_FRAME_SECONDS * rate)
    count = len(sound) // size
    if count < 2:
        return sound
    levels = np.square(sound[: count * size]).reshape(count, size).mean(axis=1)
    on = np.flatnonzero(levels >= levels.max() * 10 ** (_AUDIBLE_DB / 10))
    return sound[int(on[0]) * size : (int(on[-1]) + 1) * size]


def write_scene(folder: Path, scene: Scene, sample_rate: int) -> None:
    """Write NAME.wav, 16 bit, and NAME.tsv, seconds in the form of DCASE."""
    soundfile.write(
        folder / f"{scene.name}.wav", scene.samples.T, sample_rate, subtype="PCM_16"
    )
    with (folder / f"{scene.name}.tsv").open("w", encoding="utf-8") as file:
        table = csv.writer(file, delimiter="\t", lineterminator="\n")
        table.writerow(("onset", "offset", "event_label"))
        for event in sorted(scene.annotations, key=lambda event: event.start):
            seconds = (event.start / sample_rate, event.stop / sample_rate)
            table.writerow((*(f"{each:.4f}" for each in seconds), event.label))


@dataclass(frozen=True, slots=True)
class Folds:
    """Folds of clips and of negatives to use; none: all."""

    clips: tuple[int, ...]
    negatives: tuple[int, ...]


def gather_scenes(
    paths: DataPaths, folds: Folds, settings: SceneSettings, advance: Advance
) -> SceneMaker:
    """Find the recordings for streams; those without folds get some if any is chosen.

    Raises:
        DatasetError: There is nothing usable, or no such fold.
    """
    training = TrainingSettings()
    events, backgrounds = SceneClips(), SceneClips()
    labels: tuple[str, ...] = ()
    if settings.events_per_minute > 0:
        material = gather(
            replace(paths, negatives=()), training, advance, bool(folds.clips)
        )
        manifest = material.manifest
        clips = foreground_clips(manifest.of_folds(folds.clips, "recordings"))
        events, labels = SceneClips(clips, material.store), manifest.labels
    if paths.negatives:
        negatives, store = gather_negatives(
            paths, training, advance, bool(folds.negatives)
        )
        backgrounds = SceneClips(
            negatives.of_folds(folds.negatives, "negatives"), store
        )
    rate = training.spec.sample_rate
    return SceneMaker(events, backgrounds, labels, rate, settings)
