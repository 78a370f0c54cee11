"""Scores of networks in places on which their heads were not fitted, and thresholds.

Each place is scored alone, for false alarms, and under events, for what is detected.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.model.classifier import Classifier
from monitor.model.models import Models
from monitor.spec import ModelSpec
from training.config import HeadSettings
from training.data.decoded import Advance
from training.data.manifest import Clip
from training.data.places import PLACE_PARTS, Places
from training.evaluate.ambience import averaged_scores
from training.evaluate.thresholds import HIGHEST_ONSET, Threshold, thresholds_for
from training.heads.masks import TeacherMask
from training.mixtures import augment
from training.streams.evaluate import detection_for, references_of
from training.streams.scenes import (
    Scene,
    SceneClips,
    SceneMaker,
    SceneSettings,
    foreground_clips,
)
from training.streams.scored import ScoredStream, score_frames

Array = NDArray[np.float32]
_SHORTEST_SECONDS = 12.0
_SHORTEST_WITH_EVENTS_SECONDS = 40.0
_EVENTS_PER_MINUTE = 4.0
_LATE_SECONDS = 1.5
"""After the end of an event, in which it may still be detected."""
_TWELVE_DB = (9.0, 15.0)
"""Levels of the events that count as lying 12 dB above the place."""
_LOWEST_ONSET = 0.05
_NAMED = 5
"""Masked recordings that the report names."""


@dataclass(frozen=True, slots=True)
class PlaceScores:
    """Scores of one network over one part of the places."""

    part: int
    """Of the places; its head was not fitted on them."""
    alone: tuple[ScoredStream, ...]
    """Each place once."""
    events: tuple[ScoredStream, ...] = ()
    """Each place several times, under events that the network was not trained on."""


def score_places(
    classifier: Models | Classifier,
    places: Places,
    part: int,
    masks: Mapping[str, NDArray[np.bool_]],
    seed: int,
    advance: Advance,
) -> PlaceScores:
    """Score the places of one part alone.

    A label scores 0 where a mask of `place_masks` says that it may sound.
    """
    scenes = _alone(places, part, classifier.spec, seed)
    scored = _scored(classifier, scenes, len(places.of([part])), advance)
    return PlaceScores(part, tuple(_without(each, masks) for each in scored))


def place_masks(
    mask: TeacherMask,
    places: Places,
    spec: ModelSpec,
    hop_frames: int,
    seed: int,
    advance: Advance,
) -> dict[str, NDArray[np.bool_]]:
    """Find where a teacher detects the labels in the places.

    Returns:
        By the name of the recording, (windows, labels).
    """
    scenes = (
        scene
        for part in range(PLACE_PARTS)
        for scene in _alone(places, part, spec, seed)
    )
    masks: dict[str, NDArray[np.bool_]] = {}
    for number, scene in enumerate(scenes, start=1):
        count = spec.frames_in(scene.samples.shape[1]) - spec.window_frames
        windows = count // hop_frames + 1
        masks[scene.name] = mask.windows(scene.samples, spec, hop_frames, windows)
        advance("the teacher in the places", number, len(places.clips))
    return masks


def masked_seconds(
    masks: Mapping[str, NDArray[np.bool_]], labels: Sequence[str], hop_seconds: float
) -> dict[str, dict[str, float]]:
    """By label and place the seconds in which the label may sound."""
    found: dict[str, dict[str, float]] = {label: {} for label in labels}
    for name, rows in masks.items():
        for label, count in zip(labels, rows.sum(axis=0).tolist(), strict=True):
            if count:
                found[label][name] = round(count * hop_seconds, 1)
    return {label: own for label, own in found.items() if own}


def most_masked(
    seconds: Mapping[str, Mapping[str, float]],
) -> dict[str, dict[str, Any]]:
    """By label all masked seconds, and the recordings that have most of them."""
    found = {}
    for label, own in seconds.items():
        most = sorted(own, key=lambda name: -own[name])[:_NAMED]
        found[label] = {
            "seconds": round(sum(own.values()), 1),
            "most_in": {name: own[name] for name in most},
        }
    return found


def _without(
    stream: ScoredStream, masks: Mapping[str, NDArray[np.bool_]]
) -> ScoredStream:
    rows = masks.get(stream.name)
    if rows is None or not rows.any():
        return stream
    frames = (
        replace(frame, scores=tuple(np.where(row, 0.0, frame.scores).tolist()))
        for frame, row in zip(stream.frames, rows, strict=True)
    )
    return replace(stream, frames=tuple(frames))


def score_events(
    classifier: Models | Classifier,
    places: Places,
    part: int,
    clips: SceneClips,
    passes: int,
    seed: int,
    advance: Advance,
    labels: Sequence[str] | None = None,
) -> tuple[ScoredStream, ...]:
    """Score events over the places of one part, each `passes` times.

    `labels` are those of the clips; None: of the classifier.
    """
    spec = classifier.spec
    maker = SceneMaker(
        SceneClips(foreground_clips(clips.clips), clips.store),
        SceneClips(),
        labels or classifier.labels,
        spec.sample_rate,
        SceneSettings(events_per_minute=_EVENTS_PER_MINUTE),
    )
    scenes = _under(places, part, maker, spec, passes, seed)
    return _scored(classifier, scenes, passes * len(places.of([part])), advance)


def _alone(places: Places, part: int, spec: ModelSpec, seed: int) -> Iterator[Scene]:
    shortest = max(spec.samples(_SHORTEST_SECONDS), 2 * spec.window_samples)
    names = places.names()
    for number, clip in enumerate(places.of([part])):
        r = np.random.default_rng([seed, 9, part, number])
        bed = _bed(r, places, clip, shortest, spec)
        yield Scene(names[clip.path], bed[None], ())


def _under(
    places: Places,
    part: int,
    maker: SceneMaker,
    spec: ModelSpec,
    passes: int,
    seed: int,
) -> Iterator[Scene]:
    shortest = max(spec.samples(_SHORTEST_WITH_EVENTS_SECONDS), 6 * spec.window_samples)
    names = places.names()
    for run in range(passes):
        for number, clip in enumerate(places.of([part])):
            r = np.random.default_rng([seed, 10, part, number, run])
            bed = _bed(r, places, clip, shortest, spec)
            yield maker.over(r, names[clip.path], bed)


def _bed(
    r: np.random.Generator, places: Places, clip: Clip, shortest: int, spec: ModelSpec
) -> Array:
    """A place at a random level, as long as it is, or as `shortest`, (n,)."""
    sound = SceneClips((clip,), places.store).mono(clip)
    length = max(len(sound), shortest)
    bed = augment.looped(r, sound, length, spec.sample_rate)
    low, high = SceneSettings().background_dbfs
    return augment.match_level(bed, 1.0, r.uniform(low, high))


def _scored(
    classifier: Models | Classifier,
    scenes: Iterable[Scene],
    count: int,
    advance: Advance,
) -> tuple[ScoredStream, ...]:
    detection = detection_for(classifier.hop_frames_step)
    streams = []
    for number, scene in enumerate(scenes, start=1):
        frames = score_frames(iter([scene.samples]), classifier, detection)
        references = references_of(scene, classifier.spec.sample_rate)
        streams.append(ScoredStream(references, frames, scene.name))
        advance("scoring places", number, count)
    return tuple(streams)


def thresholds_in_places(
    alone: Iterable[ScoredStream],
    events: Iterable[ScoredStream],
    labels: Sequence[str],
    spec: ModelSpec,
    settings: HeadSettings,
) -> list[Threshold]:
    """Find thresholds for a budget of false alarms in places.

    Each recording counts once, by the highest score in it: a bird that sings for a
    minute is one false alarm.  Masked windows count as time without one.  A label whose
    threshold would let through too few of its events gets a lower one, unless that
    costs more false alarms than the label is worth.

    Args:
        alone: Places without events.
        events: Places with events, for what the thresholds let through.
        labels: Names.
        spec: Of the networks.
        settings: Budget and lowest recall.
    """
    places = tuple(alone)
    tops = [_averaged(stream, labels, spec).max(axis=0) for stream in places]
    seconds = sum(spec.seconds(stream.frames[-1].stop) for stream in places)
    own = _event_scores(events, labels, spec)
    hours, highest = seconds / 3600, np.stack(tops)
    affordable = _onsets_at_rate(highest, hours, settings.most_false_alarms_per_hour)
    useful = [_useful_onset(each, settings.lowest_recall) for each in own]
    return thresholds_for(
        highest,
        hours,
        settings.false_alarms_per_hour,
        [np.array([score for score, _ in each], np.float32) for each in own],
        np.minimum(np.maximum(useful, affordable), HIGHEST_ONSET).tolist(),
        shared_tail=True,
    )


def top_scores(
    alone: Iterable[ScoredStream], labels: Sequence[str], spec: ModelSpec
) -> dict[str, dict[str, float]]:
    """For each label the highest averaged score in each place, by any network."""
    tops: dict[str, dict[str, float]] = {label: {} for label in labels}
    for stream in alone:
        highest = _averaged(stream, labels, spec).max(axis=0).tolist()
        for label, score in zip(labels, highest, strict=True):
            tops[label][stream.name] = max(score, tops[label].get(stream.name, 0.0))
    return tops


def _useful_onset(own: Sequence[tuple[float, float]], share: float) -> float:
    """Highest threshold that a share of the events at 12 dB reaches; 1 if unknown."""
    low, high = _TWELVE_DB
    scores = [score for score, snr_db in own if low <= snr_db <= high]
    if not scores or share == 0:
        return 1.0
    return max(_LOWEST_ONSET, float(np.quantile(scores, 1 - share, method="lower")))


def _onsets_at_rate(tops: Array, hours: float, rate: float) -> Array:
    """(labels,): lowest thresholds that at most `rate` places an hour exceed.

    `tops` are (places, labels).
    """
    exceeding = min(int(rate * hours), len(tops) - 1)
    return np.asarray(np.sort(tops, axis=0)[-1 - exceeding] + np.float32(1e-3))


def _averaged(stream: ScoredStream, labels: Sequence[str], spec: ModelSpec) -> Array:
    """(hops, labels): scores as detection averages them."""
    scores = np.array([frame.scores for frame in stream.frames], np.float32)
    averaged: Array = averaged_scores(scores[None], labels, spec)[0]
    return averaged


def _event_scores(
    streams: Iterable[ScoredStream], labels: Sequence[str], spec: ModelSpec
) -> list[list[tuple[float, float]]]:
    """For each label the highest score of each event, and its level, dB."""
    own: list[list[tuple[float, float]]] = [[] for _ in labels]
    for stream in streams:
        averaged = _averaged(stream, labels, spec)
        stops = np.array([spec.seconds(frame.stop) for frame in stream.frames])
        for event in stream.references:
            label = labels.index(event.label)
            near = (stops > event.onset) & (stops <= event.offset + _LATE_SECONDS)
            score = float(averaged[near, label].max(initial=0.0))
            own[label].append((score, event.snr_db))
    return own
