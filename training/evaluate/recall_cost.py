"""What thresholds cost: true events that the monitor no longer tells."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.config.detection import DetectionSettings
from monitor.detection.detector import Detector
from monitor.detection.rules import resolve_rules
from monitor.model.classifier import Classifier
from monitor.records import Record, ScoreFrame
from training.streams.evaluate import (
    file_blocks,
    find_streams,
    found_events,
    read_annotation,
    records_of,
)
from training.streams.metrics import Reference, StreamResult, stream_figures

Pairs = Mapping[str, tuple[float, float]]
"""Onset and offset threshold of labels."""


@dataclass(frozen=True, slots=True)
class EventPrice:
    """What becomes of the true events of one label."""

    events: int
    missed_before: int
    """By the thresholds that the model had."""
    missed: int
    """By the new ones."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A stream as the network heard it; detection can be done again and again."""

    references: tuple[Reference, ...]
    frames: tuple[ScoreFrame, ...]


def hear(
    folder: Path,
    classifier: Classifier,
    detection: DetectionSettings,
    advance: Callable[[int, int], None],
) -> list[Heard]:
    """Score all streams of a folder.

    Args:
        folder: Pairs of NAME.wav and NAME.tsv.
        classifier: The network.
        detection: Only the hop counts.
        advance: Told how many streams of how many are done.
    """
    pairs = find_streams(folder)
    heard = []
    for number, (audio, table) in enumerate(pairs, start=1):
        blocks = file_blocks(audio, classifier.spec.sample_rate)
        records = records_of(blocks, classifier, detection)
        frames = tuple(item for item in records if isinstance(item, ScoreFrame))
        heard.append(Heard(read_annotation(table), frames))
        advance(number, len(pairs))
    return heard


def detect(
    heard: Heard, classifier: Classifier, detection: DetectionSettings, pairs: Pairs
) -> StreamResult:
    """What the monitor would tell of a stream with these thresholds."""
    spec = classifier.spec
    detector = Detector(
        source="stream",
        labels=classifier.labels,
        rules=resolve_rules(classifier.labels, detection, pairs, spec),
        level_gate_dbfs=detection.level_gate_dbfs,
        model_name=classifier.name,
        session="price",
    )
    records: list[Record] = []
    for frame in heard.frames:
        records += detector.push(frame)
    records += detector.finish("end-of-input")
    seconds = spec.seconds(heard.frames[-1].stop) if heard.frames else 0.0
    found = found_events(records, spec.sample_rate)
    return StreamResult(seconds, heard.references, found)


def without_thresholds(detection: DetectionSettings) -> DetectionSettings:
    """The same rules, but for the thresholds of labels."""
    none = {"onset_threshold": None, "offset_threshold": None}
    labels = {
        label: chosen.model_copy(update=none)
        for label, chosen in detection.labels.items()
    }
    return detection.model_copy(update={"labels": labels})


def event_prices(
    streams: Sequence[Heard],
    classifier: Classifier,
    detection: DetectionSettings,
    pairs: Pairs,
) -> dict[str, EventPrice]:
    """By label, how many true events are missed before and after a change.

    Args:
        streams: What was heard.
        classifier: With the thresholds from before.
        detection: The other rules; its thresholds go before those of the model, but
            not before the new ones.
        pairs: The new thresholds.
    """
    others = without_thresholds(detection)
    before, after = (
        stream_figures(
            [detect(heard, classifier, rules, chosen) for heard in streams],
            classifier.labels,
        )["per_class"]
        for rules, chosen in ((detection, classifier.thresholds), (others, pairs))
    )
    return {
        label: EventPrice(
            after[label]["events"], before[label]["missed"], after[label]["missed"]
        )
        for label in classifier.labels
        if label in after and label in before and after[label]["events"]
    }
