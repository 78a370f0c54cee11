"""Streams with events at known times: what a network makes of each event."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.spec import ModelSpec
from training.ambience import hop_seconds, smoothed, stream_logits
from training.evaluate import Score
from training.manifest import Clip
from training.scenes import Annotation, SceneMaker, SceneSettings
from training.store import ClipStore

Array = NDArray[np.float32]
_STREAM_MINUTES = 5.0


@dataclass(frozen=True, slots=True)
class Stretch:
    """The hops of a stream in whose windows an event can be heard."""

    stream: int
    label: int
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Eventful:
    """Logits of the windows of streams, and the events in them."""

    logits: Array
    """(streams, hops, labels)."""
    stretches: tuple[Stretch, ...]
    part: int
    """What is fitted for other parts may use it."""


@dataclass(frozen=True, slots=True)
class Sounds:
    """Recordings and their samples."""

    clips: Sequence[Clip]
    store: ClipStore


def listen_to_events(
    score: Score,
    sounds: Sounds,
    backgrounds: Sounds,
    labels: Sequence[str],
    spec: ModelSpec,
    hours: float,
    part: int,
    advance: Callable[[int, int], None],
) -> Eventful:
    """Play clips to a network, over recordings of no class.

    Args:
        score: The network's logits of log-mel windows.
        sounds: Clips with labels that it has not heard.
        backgrounds: Of no class, which it has not heard either.
        labels: Names.
        spec: Of the network.
        hours: How long.
        part: See `Eventful`.
        advance: Told how many streams of how many are done.
    """
    minutes = max(1.0, min(_STREAM_MINUTES, 60 * hours))
    settings = SceneSettings(hours=max(hours, minutes / 60), stream_minutes=minutes)
    maker = SceneMaker(
        sounds.clips,
        sounds.store,
        backgrounds.clips,
        backgrounds.store,
        labels,
        spec.sample_rate,
        settings,
    )
    streams: list[Array] = []
    stretches: list[Stretch] = []
    for scene in maker.scenes():
        logits = stream_logits([scene.samples], score, spec)
        for event in scene.annotations:
            found = _stretch(event, len(streams), list(labels), len(logits), spec)
            stretches.append(found)
        streams.append(logits)
        advance(len(streams), maker.count)
    return Eventful(np.stack(streams), tuple(stretches), part)


def _stretch(
    event: Annotation, stream: int, labels: list[str], hops: int, spec: ModelSpec
) -> Stretch:
    """From the first window that ends within the event to the last that begins so."""
    hop = round(hop_seconds(spec) * spec.sample_rate)
    first = max(0, -(-(event.start - spec.window_samples) // hop))
    last = min(hops - 1, event.stop // hop)
    label = labels.index(event.label)
    return Stretch(stream, label, min(first, hops - 1), last + 1)


def highest_of_events(
    heard: Eventful, scores: Array, labels: Sequence[str], spec: ModelSpec
) -> list[Array]:
    """For each label the highest score that detection would see in each of its events.

    Args:
        heard: Where the events are.
        scores: (streams, hops, labels), in [0, 1].
        labels: Names, which decide over how many hops detection averages.
        spec: Of the model.
    """
    averaged = smoothed(scores, labels, spec)
    highest: list[list[float]] = [[] for _ in labels]
    for each in heard.stretches:
        own = averaged[each.stream, each.start : each.stop, each.label]
        highest[each.label].append(float(own.max()))
    return [np.array(own, np.float32) for own in highest]
