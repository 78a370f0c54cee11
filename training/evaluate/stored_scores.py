"""Scores that a running monitor has stored, taken as background."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.config.detection import DetectionSettings
from monitor.errors import DatasetError, StoreError
from monitor.model.models import Models
from monitor.sinks.store.queries import Reader, open_to_read
from monitor.sinks.store.records import Session
from monitor.sinks.store.scores import ScoreRow
from monitor.text import counted
from training.evaluate.ambience import averaged_scores, highest_of_segments
from training.evaluate.reviewed import (
    LabelVerdicts,
    ScoredRun,
    confirmed_windows,
    label_verdicts,
    read_verdicts,
)

logger = logging.getLogger(__name__)


Array = NDArray[np.float32]
Span = tuple[datetime, datetime]
_Row = tuple[ScoreRow, Array, NDArray[np.bool_]]
"""A row, its scores (frames, labels), and which of them are taken."""


@dataclass(frozen=True, slots=True)
class StoredBackground:
    """Scores that count as background."""

    segments: Array
    """(segments, labels), the highest scores of every few seconds."""
    hours: float
    """Their length, over all sources."""
    label_hours: NDArray[np.float64]
    """(labels,), the same without the time of confirmed events of the label."""
    verdicts: dict[str, LabelVerdicts]
    """What people said about the events in it, by label."""
    unreviewed: int
    """Events of the labels without a verdict."""

    def events(self, labels: Sequence[str]) -> list[Array]:
        """Scores of confirmed events, for each label; empty where verdicts are few."""
        none = np.zeros(0, np.float32)
        return [
            own.events if (own := self.verdicts.get(label)) is not None else none
            for label in labels
        ]


@dataclass(frozen=True, slots=True)
class ScoreQuery:
    """A choice of stored scores."""

    database: Path
    since: datetime | None = None
    until: datetime | None = None
    excepted: tuple[Span, ...] = ()
    """Times in which labels did sound."""


@dataclass
class _Series:
    """Scores of one source that follow each other without a break."""

    source: str
    hop_samples: int
    window_samples: int
    rate: int
    """Samples a second."""
    parts: list[Array]
    starts: list[NDArray[np.float64]]
    """Of the windows, seconds since 1970."""
    next_start: int

    def scores(self) -> Array:
        return np.concatenate(self.parts)

    def run(self, models: Models, detection: DetectionSettings) -> ScoredRun:
        averaged = averaged_scores(
            self.scores()[None], models.labels, models.spec, detection
        )[0]
        starts = np.concatenate(self.starts)
        return ScoredRun(self.source, starts, self.window_samples / self.rate, averaged)


def recorded_scores(
    query: ScoreQuery, name: str, models: Models, detection: DetectionSettings
) -> StoredBackground:
    """Find the highest scores of every few seconds that were stored.

    A label that people have confirmed in the time of an event has no scores there.

    Args:
        query: What to read.
        name: Of the model, which may have listened with others.
        models: It, and the labels.
        detection: Rules of detection.

    Raises:
        StoreError: The database is not there, or cannot be read.
        DatasetError: It holds no scores of the model in this time.
    """
    with open_to_read(query.database) as reader:
        series = _read_series(reader, query, name, models, detection)
        said = read_verdicts(reader, query.since, query.until, models.labels)
    runs = [each.run(models, detection) for each in series]
    verdicts = label_verdicts(said, runs, models.labels)
    parts, seconds = [], 0.0
    confirmed = np.zeros(len(models.labels))  # seconds
    for each, run in zip(series, runs, strict=True):
        scores = each.scores()
        for label, windows in confirmed_windows(said, verdicts, run):
            index = models.labels.index(label)
            scores[windows, index] = 0
            confirmed[index] += windows.sum() * each.hop_samples / each.rate
        highest, hops = highest_of_segments(
            scores[None], models.labels, models.spec, detection
        )
        parts.append(highest)
        seconds += len(highest) * hops * each.hop_samples / each.rate
    segments = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    if len(segments) == 0:
        raise DatasetError(
            f"{query.database}: holds no scores of the model {name!r} in this time"
        )
    if said.unreviewed:
        logger.warning(
            "%s without a verdict in this time %s taken as false: review them, or "
            "leave the times of true ones out with --except",
            counted(said.unreviewed, "event"),
            "is" if said.unreviewed == 1 else "are",
        )
    return StoredBackground(
        segments,
        seconds / 3600,
        np.maximum(seconds - confirmed, 1) / 3600,
        verdicts,
        said.unreviewed,
    )


def _read_series(
    reader: Reader,
    query: ScoreQuery,
    name: str,
    models: Models,
    detection: DetectionSettings,
) -> list[_Series]:
    sessions = reader.sessions()
    of_source: dict[tuple[str, str], list[_Row]] = defaultdict(list)
    unfit: set[str] = set()
    for row in reader.score_rows(query.since, query.until):
        facts = sessions[row.session]
        if (reason := _unfit(facts, row, name, models, detection)) is not None:
            unfit.add(reason)
            continue
        order = [facts.labels.index(label) for label in models.labels]
        try:
            table = row.arrays()
        except StoreError as error:
            unfit.add(str(error))
            continue
        scores = table.scores[:, order].astype(np.float32)
        # A window below the level gate begins no event, whatever its scores.
        scores[table.levels[:, 1] < detection.level_gate_dbfs] = 0
        heard = table.levels[:, 1] >= detection.level_gate_dbfs
        if (unknown := heard & ~table.computed).any():
            unfit.add("windows below the level gate of their time: not computed")
        keep = _kept(row, facts.sample_rate, query) & ~unknown
        of_source[row.session, row.source].append((row, scores, keep))
    for reason in sorted(unfit):
        logger.warning("left out: %s", reason)
    return [
        run
        for (session, _), rows in of_source.items()
        for run in _joined(rows, sessions[session].sample_rate)
    ]


def _unfit(
    facts: Session,
    row: ScoreRow,
    name: str,
    models: Models,
    detection: DetectionSettings,
) -> str | None:
    """Describe why scores cannot be used for the model; None: they can."""
    spec = models.spec
    is_alone = facts.model == name
    if (
        name not in facts.model.split("+")
        or not set(models.labels) <= set(facts.labels)
        or (is_alone and facts.sample_rate != spec.sample_rate)
    ):
        return f"scores of the model {facts.model!r}"
    if (
        is_alone
        and row.frame_count > 1
        and (row.hop_samples != detection.hop_frames * spec.hop_length)
    ):
        return "scores of a time with another detection.hop_frames"
    return None


def _kept(row: ScoreRow, rate: int, query: ScoreQuery) -> NDArray[np.bool_]:
    """(frames,): windows inside the chosen time and outside the excepted ones."""
    starts = _starts(row, rate)
    stops = starts + row.window_samples / rate
    keep = np.ones(row.frame_count, bool)
    if query.since is not None:
        keep &= starts >= query.since.timestamp()
    if query.until is not None:
        keep &= stops <= query.until.timestamp()
    for begin, end in query.excepted:
        keep &= (stops <= begin.timestamp()) | (starts >= end.timestamp())
    return keep


def _starts(row: ScoreRow, rate: int) -> NDArray[np.float64]:
    """(frames,): begin of each window, seconds since 1970."""
    hops = np.arange(row.frame_count, dtype=np.float64)
    return row.start.timestamp() + hops * row.hop_samples / rate


def _joined(rows: list[_Row], rate: int) -> list[_Series]:
    """Join the windows of one source that follow each other, by their samples.

    The times of the rows do not order them: the clock of the machine may be set back.
    """
    runs: list[_Series] = []
    for row, scores, keep in sorted(rows, key=lambda item: item[0].start_sample):
        hop = row.hop_samples
        for begin, end in _true_intervals(keep):
            start = row.start_sample + begin * hop
            if not runs or runs[-1].next_start != start or runs[-1].hop_samples != hop:
                window = row.window_samples
                runs.append(_Series(row.source, hop, window, rate, [], [], start))
            runs[-1].parts.append(scores[begin:end])
            runs[-1].starts.append(_starts(row, rate)[begin:end])
            runs[-1].next_start = row.start_sample + end * hop
    return runs


def _true_intervals(keep: NDArray[np.bool_]) -> Sequence[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], keep.astype(np.int8), [0]])))
    pairs = edges.reshape(-1, 2).tolist()
    return [(int(begin), int(end)) for begin, end in pairs]
