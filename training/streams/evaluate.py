"""Evaluation of the whole monitor on streams: the events that its pipeline detects."""

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monitor.audio.conditioning import StreamResampler, at_most_two_channels
from monitor.audio.sources.recording import Recording
from monitor.audio.timeline import Block
from monitor.config.detection import DetectionSettings
from monitor.detection.rules import resolve_rules
from monitor.errors import AudioFileError, DatasetError, UsageError
from monitor.model.classifier import Classifier
from monitor.model.models import Models, as_models
from monitor.records import Event, Onset, Record, ScoreFrame
from monitor.runtime.pipeline import Pipeline
from training.data.decoded import Advance
from training.data.manifest import Clip
from training.data.recordings import find_streams
from training.data.tables import read_table
from training.mixtures.material import Material
from training.streams.metrics import Detected, Reference, StreamResult, stream_figures
from training.streams.scenes import (
    Scene,
    SceneClips,
    SceneMaker,
    SceneSettings,
    foreground_clips,
)

logger = logging.getLogger(__name__)


_BLOCK = 1 << 20
_EVALUATING = "evaluating streams"


def read_annotation(path: Path) -> tuple[Reference, ...]:
    """Read onset, offset and event_label, tab-separated seconds.

    Raises:
        TableError: A column is missing, a value is not a number, or an event ends
            before it begins.
    """
    events = []
    for row in read_table(path, ("onset", "offset", "event_label"), "\t").rows:
        times = row.seconds("onset"), row.seconds("offset")
        if not times[0] <= times[1] < math.inf:
            raise row.error(f"an event cannot last from {times[0]:g} to {times[1]:g} s")
        events.append(Reference(*times, row.name("event_label")))
    return tuple(events)


def detect_events(
    blocks: Iterator[np.ndarray[Any, Any]],
    classifier: Models | Classifier,
    detection: DetectionSettings,
) -> tuple[float, tuple[Detected, ...]]:
    """Run the monitor's own pipeline over blocks (1 or 2, n) at the model's rate.

    Returns:
        Length of the stream in seconds, and the events detected.
    """
    rate = classifier.spec.sample_rate
    samples = 0

    def counted() -> Iterator[np.ndarray[Any, Any]]:
        nonlocal samples
        for block in blocks:
            samples += block.shape[1]
            yield block

    records = pipeline_records(counted(), classifier, detection)
    # Hours of score frames would fill the memory.
    kept = [record for record in records if not isinstance(record, ScoreFrame)]
    return samples / rate, detected_events(kept, rate)


def pipeline_records(
    blocks: Iterator[np.ndarray[Any, Any]],
    classifier: Models | Classifier,
    detection: DetectionSettings,
) -> Iterator[Record]:
    """Yield all records of the pipeline, score frames too; see `detect_events`."""
    models = as_models(classifier)
    rules = resolve_rules(
        models.labels, detection, models.thresholds, models.spec, models.presets
    )
    pipeline = Pipeline(
        models,
        rules,
        hop_frames=detection.hop_frames,
        level_gate_dbfs=detection.level_gate_dbfs,
        level_offsets_db={"stream": 0.0},
        session="evaluation",
    )
    start = 0
    for block in blocks:
        samples = np.ascontiguousarray(block, np.float32)
        yield from pipeline.process([("stream", Block(start, samples))])
        start += samples.shape[1]
    yield from pipeline.finish("stream", "end-of-input")


def detected_events(records: Iterable[Record], rate: int) -> tuple[Detected, ...]:
    """Return the events among records, each with the moment of its first report."""
    reported: dict[str, int] = {}
    found = []
    for record in records:
        if isinstance(record, Onset):
            reported[record.id] = record.stop
        elif isinstance(record, Event):
            start, stop = record.start / rate, record.stop / rate
            first = reported.get(record.id, record.stop) / rate
            found.append(Detected(start, stop, record.label, first))
    return tuple(found)


def file_blocks(path: Path, sample_rate: int) -> Iterator[np.ndarray[Any, Any]]:
    """Read a recording at `sample_rate`, block by block, (1 or 2, n).

    Raises:
        DatasetError: It cannot be read to its end.
    """
    try:
        with Recording(path) as recording:
            channels = recording.channels if recording.channels <= 2 else 1
            resampler = StreamResampler(recording.sample_rate, sample_rate, channels)
            for block in recording.blocks(_BLOCK):
                yield resampler.push(at_most_two_channels(block))
            yield resampler.finish()
    except (AudioFileError, UsageError) as error:
        raise DatasetError(str(error)) from None


def evaluate_streams(
    folder: Path,
    classifier: Models | Classifier,
    detection: DetectionSettings,
    advance: Advance,
) -> list[StreamResult]:
    """Run the pipeline over all streams of a folder.

    Raises:
        DatasetError: There is none, or a file cannot be read.
    """
    pairs = find_streams(folder)
    annotations = [read_annotation(table) for _, table in pairs]
    _warn_of_unknown_labels(annotations, classifier.labels)
    rate = classifier.spec.sample_rate
    results = []
    for (audio, _), references in zip(pairs, annotations, strict=True):
        blocks = file_blocks(audio, rate)
        seconds, found = detect_events(blocks, classifier, detection)
        results.append(StreamResult(seconds, references, found))
        advance(_EVALUATING, len(results), len(pairs))
        if late := sum(each.onset >= seconds for each in references):
            logger.warning(
                "%s: %d events begin after its end, and count as missed",
                audio.name,
                late,
            )
        logger.info(
            "%s: %.0f s, %d events in it, %d detected",
            audio.name,
            seconds,
            len(references),
            len(found),
        )
    return results


def _warn_of_unknown_labels(
    annotations: Sequence[Sequence[Reference]], labels: Sequence[str]
) -> None:
    found = Counter(event.label for events in annotations for event in events)
    for label in sorted(set(found) - set(labels)):
        logger.warning(
            "the model has no label '%s': its %d events are left out",
            label,
            found[label],
        )


_PARTS = ("event_f1", "hours", "false_alarms_per_hour_all_labels")


def evaluate_on_scenes(
    classifier: Classifier,
    material: Material,
    clips: Sequence[Clip],
    negatives: Sequence[Clip],
    hours: float,
    advance: Advance,
) -> list[StreamResult]:
    """Run the monitor on streams made of clips over negatives."""
    settings = SceneSettings(hours=hours)
    if not clips:
        settings = SceneSettings(hours=hours, events_per_minute=0.0)
    maker = SceneMaker(
        SceneClips(foreground_clips(clips), material.store),
        SceneClips(negatives, material.negatives_store),
        classifier.labels,
        classifier.spec.sample_rate,
        settings,
    )
    detection = detection_for(classifier.hop_frames_step)
    results = []
    for number, scene in enumerate(maker.scenes(), start=1):
        seconds, found = detect_events(iter([scene.samples]), classifier, detection)
        references = references_of(scene, classifier.spec.sample_rate)
        results.append(StreamResult(seconds, references, found))
        advance(_EVALUATING, number, maker.count)
    return results


def detection_for(stride: int) -> DetectionSettings:
    """Return the settings of detection for a network: the defaults, if they suit it."""
    detection = DetectionSettings()
    if detection.hop_frames % stride:
        detection = DetectionSettings(hop_frames=stride)
    return detection


def references_of(scene: Scene, rate: int) -> tuple[Reference, ...]:
    """Return the true events of a scene."""
    return tuple(
        Reference(
            event.start / rate,
            event.stop / rate,
            event.label,
            event.snr_db,
            event.recording,
        )
        for event in scene.annotations
    )


def stream_figures_by_fold(
    by_fold: dict[int, list[StreamResult]], labels: Sequence[str]
) -> dict[str, Any]:
    """Figures over the streams of all folds, and the main ones of each."""
    pooled = [result for results in by_fold.values() for result in results]
    figures = stream_figures(pooled, labels)
    figures["folds"] = {}
    for fold, results in by_fold.items():
        own = stream_figures(results, labels)
        figures["folds"][str(fold)] = {key: own[key] for key in _PARTS}
    return figures


def ambience_figures(
    results: Sequence[StreamResult], labels: Sequence[str]
) -> dict[str, Any]:
    """False alarms on streams without any label."""
    figures = stream_figures(results, labels)
    alarms = sum(len(result.found) for result in results)
    return {
        "hours": figures["hours"],
        "false_alarms": alarms,
        "false_alarms_per_hour": alarms / figures["hours"],
        "per_label": {
            label: rate
            for label, rate in figures["false_alarms_per_hour"].items()
            if rate > 0
        },
    }
