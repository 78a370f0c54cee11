"""Scored streams: what a network found in them, for any number of thresholds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.config.detection import DetectionSettings
from monitor.detection.detector import Detector
from monitor.detection.rules import resolve_rules
from monitor.model.classifier import Classifier
from monitor.model.models import Models
from monitor.model.thresholds import Thresholds
from monitor.records import Record, ScoreFrame
from monitor.spec import ModelSpec
from training.data.decoded import Advance
from training.data.recordings import find_streams
from training.streams.evaluate import (
    detected_events,
    file_blocks,
    pipeline_records,
    read_annotation,
)
from training.streams.metrics import Reference, StreamResult


@dataclass(frozen=True, slots=True)
class ScoredStream:
    """An annotated stream with its scores; detection can be repeated on it."""

    references: tuple[Reference, ...]
    frames: tuple[ScoreFrame, ...]
    name: str = ""
    """Its recording, or place."""


def score_frames(
    blocks: Iterator[NDArray[np.float32]],
    classifier: Models | Classifier,
    detection: DetectionSettings,
) -> tuple[ScoreFrame, ...]:
    """Score blocks (1 or 2, n) at the model's rate as the monitor does."""
    records = pipeline_records(blocks, classifier, detection)
    return tuple(record for record in records if isinstance(record, ScoreFrame))


def score_streams(
    folder: Path,
    classifier: Models | Classifier,
    detection: DetectionSettings,
    advance: Advance,
) -> list[ScoredStream]:
    """Score all streams of a folder."""
    pairs = find_streams(folder)
    streams = []
    for number, (audio, table) in enumerate(pairs, start=1):
        blocks = file_blocks(audio, classifier.spec.sample_rate)
        frames = score_frames(blocks, classifier, detection)
        streams.append(ScoredStream(read_annotation(table), frames))
        advance("scoring streams", number, len(pairs))
    return streams


def detect(
    stream: ScoredStream,
    labels: Sequence[str],
    spec: ModelSpec,
    detection: DetectionSettings,
    thresholds: Mapping[str, Thresholds],
    presets: Mapping[str, str] | None = None,
) -> StreamResult:
    """Detect the events of a stream with these thresholds; see `resolve_rules`."""
    detector = Detector(
        source="stream",
        labels=labels,
        rules=resolve_rules(labels, detection, thresholds, spec, presets),
        level_gate_dbfs=detection.level_gate_dbfs,
        models="",
        session="scored",
    )
    records: list[Record] = []
    for frame in stream.frames:
        records += detector.push(frame)
    records += detector.finish("end-of-input")
    seconds = spec.seconds(stream.frames[-1].stop) if stream.frames else 0.0
    found = detected_events(records, spec.sample_rate)
    return StreamResult(seconds, stream.references, found, stream.name)
