"""The recall cost of thresholds: true events that the monitor no longer detects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.config.detection import DetectionSettings
from monitor.detection.detector import Detector
from monitor.detection.rules import resolve_rules
from monitor.model.classifier import Classifier
from monitor.records import Record, ScoreFrame
from training.data.decoded import Advance
from training.streams.evaluate import (
    detected_events,
    file_blocks,
    find_streams,
    pipeline_records,
    read_annotation,
)
from training.streams.metrics import Reference, StreamResult, stream_figures

ThresholdPairs = Mapping[str, tuple[float, float]]
"""Onset and offset threshold of labels."""


@dataclass(frozen=True, slots=True)
class RecallCost:
    """True events of one label, and how many are missed."""

    events: int
    missed_before: int
    """With the thresholds that the model had."""
    missed: int
    """With the new ones."""


@dataclass(frozen=True, slots=True)
class ScoredStream:
    """An annotated stream with its scores; detection can be repeated on it."""

    references: tuple[Reference, ...]
    frames: tuple[ScoreFrame, ...]


def score_streams(
    folder: Path,
    classifier: Classifier,
    detection: DetectionSettings,
    advance: Advance,
) -> list[ScoredStream]:
    """Score all streams of a folder."""
    pairs = find_streams(folder)
    streams = []
    for number, (audio, table) in enumerate(pairs, start=1):
        blocks = file_blocks(audio, classifier.spec.sample_rate)
        records = pipeline_records(blocks, classifier, detection)
        frames = tuple(item for item in records if isinstance(item, ScoreFrame))
        streams.append(ScoredStream(read_annotation(table), frames))
        advance("scoring streams", number, len(pairs))
    return streams


def detect(
    stream: ScoredStream,
    classifier: Classifier,
    detection: DetectionSettings,
    pairs: ThresholdPairs,
) -> StreamResult:
    """Detect the events of a stream with these thresholds."""
    spec = classifier.spec
    detector = Detector(
        source="stream",
        labels=classifier.labels,
        rules=resolve_rules(classifier.labels, detection, pairs, spec),
        level_gate_dbfs=detection.level_gate_dbfs,
        model_name=classifier.name,
        session="recall-cost",
    )
    records: list[Record] = []
    for frame in stream.frames:
        records += detector.push(frame)
    records += detector.finish("end-of-input")
    seconds = spec.seconds(stream.frames[-1].stop) if stream.frames else 0.0
    found = detected_events(records, spec.sample_rate)
    return StreamResult(seconds, stream.references, found)


def recall_costs(
    streams: Sequence[ScoredStream],
    classifier: Classifier,
    detection: DetectionSettings,
    pairs: ThresholdPairs,
) -> dict[str, RecallCost]:
    """Count by label the true events missed before and after a change."""
    none = {"onset_threshold": None, "offset_threshold": None}
    labels = {
        label: chosen.model_copy(update=none)
        for label, chosen in detection.labels.items()
    }
    others = detection.model_copy(update={"labels": labels})
    before, after = (
        stream_figures(
            [detect(stream, classifier, rules, chosen) for stream in streams],
            classifier.labels,
        )["per_class"]
        for rules, chosen in ((detection, classifier.thresholds), (others, pairs))
    )
    return {
        label: RecallCost(
            after[label]["events"], before[label]["missed"], after[label]["missed"]
        )
        for label in classifier.labels
        if label in after and label in before and after[label]["events"]
    }
