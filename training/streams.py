"""Testing the whole monitor on streams: events found, missed and made up."""

import bisect
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import soundfile

from monitor.audio.channels import adapt
from monitor.audio.feed import Block
from monitor.audio.resample import StreamResampler
from monitor.config import DetectionSettings
from monitor.detection.presets import resolve_rules
from monitor.errors import DatasetError
from monitor.model.classifier import Classifier
from monitor.records import Event, Onset, Record
from monitor.runtime.pipeline import Pipeline

logger = logging.getLogger(__name__)

COLLAR_SECONDS = 1.0
"""How far an onset may lie from the true one; a window of 4 s places it no better."""

_BLOCK = 1 << 20


@dataclass(frozen=True, slots=True)
class Reference:
    """A true event, in seconds."""

    onset: float
    offset: float
    label: str


@dataclass(frozen=True, slots=True)
class Found:
    """An event that the monitor told, in seconds."""

    onset: float
    offset: float
    label: str
    told: float
    """End of the window in which it was first told."""


@dataclass(frozen=True, slots=True)
class StreamResult:
    """What is in a stream, and what the monitor heard in it."""

    seconds: float
    references: tuple[Reference, ...]
    found: tuple[Found, ...]


def find_streams(folder: Path) -> list[tuple[Path, Path]]:
    """The pairs NAME.wav and NAME.tsv of a folder.

    Raises:
        DatasetError: There is none, or a recording has no annotation.
    """
    pairs = []
    for audio in sorted(folder.glob("*.wav")):
        table = audio.with_suffix(".tsv")
        if not table.is_file():
            raise DatasetError(f"{audio}: its annotation {table.name} is missing")
        pairs.append((audio, table))
    if not pairs:
        raise DatasetError(f"{folder}: there is no pair of NAME.wav and NAME.tsv")
    return pairs


def read_annotation(path: Path) -> tuple[Reference, ...]:
    """Read onset, offset and event_label, tab-separated seconds.

    Raises:
        DatasetError: A column is missing or a number is none.
    """
    try:
        table = pd.read_csv(path, sep="\t")
        rows = zip(
            table["onset"].astype(float),
            table["offset"].astype(float),
            table["event_label"].astype(str),
            strict=True,
        )
        return tuple(Reference(*row) for row in rows)
    except (KeyError, ValueError) as error:
        raise DatasetError(
            f"{path}: must have the columns onset, offset and event_label, tabs "
            f"between them and seconds in them ({error})"
        ) from None


def listen(
    blocks: Iterator[np.ndarray[Any, Any]],
    classifier: Classifier,
    detection: DetectionSettings,
) -> tuple[float, tuple[Found, ...]]:
    """Run the monitor's own pipeline over samples at the model's rate.

    Args:
        blocks: (1 or 2, n) each.
        classifier: The network.
        detection: How scores become events.

    Returns:
        Seconds listened to, and the events told.
    """
    rules = resolve_rules(
        classifier.labels, detection, classifier.thresholds, classifier.spec
    )
    pipeline = Pipeline(
        classifier,
        rules,
        hop_frames=detection.hop_frames,
        level_gate_dbfs=detection.level_gate_dbfs,
        level_offsets_db={"stream": 0.0},
        session="evaluation",
    )
    start = 0
    records: list[Record] = []
    for block in blocks:
        samples = np.ascontiguousarray(block, np.float32)
        records += pipeline.process([("stream", Block(start, samples))])
        start += samples.shape[1]
    records += pipeline.finish("stream", "end-of-input")
    rate = classifier.spec.sample_rate
    return start / rate, _found(records, rate)


def _found(records: Sequence[Record], rate: int) -> tuple[Found, ...]:
    told = {record.id: record.stop for record in records if isinstance(record, Onset)}
    return tuple(
        Found(
            event.start / rate,
            event.stop / rate,
            event.label,
            told.get(event.id, event.stop) / rate,
        )
        for event in records
        if isinstance(event, Event)
    )


def file_blocks(path: Path, sample_rate: int) -> Iterator[np.ndarray[Any, Any]]:
    """A recording at `sample_rate`, block by block, (1 or 2, n)."""
    with soundfile.SoundFile(path) as file:
        channels = min(file.channels, 2)
        resampler = StreamResampler(file.samplerate, sample_rate, channels)
        for block in file.blocks(_BLOCK, dtype="float32", always_2d=True):
            yield resampler.push(adapt(np.ascontiguousarray(block.T)))
        yield resampler.finish()


def listen_to_files(
    folder: Path,
    classifier: Classifier,
    detection: DetectionSettings,
    advance: Callable[[int, int], None],
) -> list[StreamResult]:
    """Run the pipeline over all streams of a folder."""
    pairs = find_streams(folder)
    results = []
    for number, (audio, table) in enumerate(pairs, start=1):
        blocks = file_blocks(audio, classifier.spec.sample_rate)
        seconds, found = listen(blocks, classifier, detection)
        results.append(StreamResult(seconds, read_annotation(table), found))
        advance(number, len(pairs))
    return results


def match(
    references: Sequence[float], found: Sequence[float], collar: float
) -> list[tuple[int, int]]:
    """Pair as many onsets as possible that lie within the collar, one to one.

    Intervals of equal width on a line: taking them in order is optimal.
    """
    order = sorted(range(len(found)), key=lambda index: found[index])
    onsets = [found[index] for index in order]
    pairs, free = [], 0
    for reference in sorted(range(len(references)), key=lambda i: references[i]):
        at = references[reference]
        free = max(free, bisect.bisect_left(onsets, at - collar))
        if free < len(onsets) and onsets[free] <= at + collar:
            pairs.append((reference, order[free]))
            free += 1
    return pairs


def stream_figures(
    results: Sequence[StreamResult], labels: Sequence[str]
) -> dict[str, Any]:
    """Event-based figures over all streams.

    A false alarm is an event at whose time its label does not sound at all; one whose
    label does sound, but began elsewhere, only costs precision.
    """
    hours = sum(result.seconds for result in results) / 3600
    counts = {label: _Counts() for label in labels}
    for result in results:
        for label in labels:
            counts[label].add(result, label)
    total = _Counts.sum(counts.values())
    latencies = np.array(total.latencies)
    present = {label: c for label, c in counts.items() if c.references or c.found}
    return {
        "hours": hours,
        "collar_seconds": COLLAR_SECONDS,
        "event_f1": total.f1,
        "event_precision": total.precision,
        "event_recall": total.recall,
        "event_macro_f1": (
            float(np.mean([c.f1 for c in present.values()])) if present else 0.0
        ),
        "per_class": {label: c.figures() for label, c in present.items()},
        "false_alarms_per_hour": {
            label: c.false_alarms / hours for label, c in counts.items()
        },
        "false_alarms_per_hour_all_labels": total.false_alarms / hours,
        "onset_latency_seconds": {
            "p50": float(np.median(latencies)) if len(latencies) else None,
            "p95": float(np.quantile(latencies, 0.95)) if len(latencies) else None,
        },
        "onset_error_seconds_p50": (
            float(np.median(np.abs(total.errors))) if total.errors else None
        ),
    }


class _Counts:
    """What is counted of one label."""

    def __init__(self) -> None:
        self.references = 0
        self.found = 0
        self.matched = 0
        self.false_alarms = 0
        self.latencies: list[float] = []
        self.errors: list[float] = []

    def add(self, result: StreamResult, label: str) -> None:
        """Count one stream."""
        references = [event for event in result.references if event.label == label]
        found = [event for event in result.found if event.label == label]
        pairs = match(
            [event.onset for event in references],
            [event.onset for event in found],
            COLLAR_SECONDS,
        )
        self.references += len(references)
        self.found += len(found)
        self.matched += len(pairs)
        for reference, index in pairs:
            self.latencies.append(found[index].told - references[reference].onset)
            self.errors.append(found[index].onset - references[reference].onset)
        self.false_alarms += sum(not _sounds(event, references) for event in found)

    @classmethod
    def sum(cls, parts: "Sequence[_Counts] | Any") -> "_Counts":
        """All labels together."""
        total = cls()
        for part in parts:
            for name in ("references", "found", "matched", "false_alarms"):
                setattr(total, name, getattr(total, name) + getattr(part, name))
            total.latencies += part.latencies
            total.errors += part.errors
        return total

    @property
    def precision(self) -> float:
        """Share of the events told that are true."""
        return self.matched / self.found if self.found else 0.0

    @property
    def recall(self) -> float:
        """Share of the true events that were told."""
        return self.matched / self.references if self.references else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of the two."""
        both = self.references + self.found
        return 2 * self.matched / both if both else 0.0

    def figures(self) -> dict[str, float | int]:
        """For a report."""
        return {
            "f1": self.f1,
            "precision": self.precision,
            "recall": self.recall,
            "events": self.references,
            "found": self.found,
        }


def _sounds(event: Found, references: Sequence[Reference]) -> bool:
    return any(
        event.onset <= reference.offset + COLLAR_SECONDS
        and event.offset >= reference.onset - COLLAR_SECONDS
        for reference in references
    )
