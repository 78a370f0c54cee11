"""What a running monitor has stored of its scores, taken as background."""

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.config.detection import DetectionSettings
from monitor.errors import DatasetError
from monitor.model.model_file import TrainedModel
from monitor.sinks.store.queries import Reader, open_to_read
from monitor.sinks.store.records import Session
from monitor.sinks.store.scores import ScoreRow
from training.evaluate.ambience import highest_of_segments

logger = logging.getLogger(__name__)


Array = NDArray[np.float32]
Span = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Extract:
    """Which scores to take."""

    database: Path
    since: datetime | None = None
    until: datetime | None = None
    excepted: tuple[Span, ...] = ()
    """Times in which labels have sounded."""


@dataclass
class _Run:
    """Scores of one source that follow each other without a break."""

    hop_samples: int
    parts: list[Array]
    next_start: int

    def scores(self) -> Array:
        return np.concatenate(self.parts)


def recorded_scores(
    extract: Extract, model: TrainedModel, detection: DetectionSettings
) -> tuple[Array, float]:
    """The highest scores of every few seconds of what was stored.

    Args:
        extract: Of the database; all that it holds is taken as background.
        model: Whose scores they must be.
        detection: Over how many hops scores are averaged, and how loud it must be.

    Returns:
        (segments, labels), and how many hours they are, over all sources.

    Raises:
        StoreError: The database is not there, or cannot be read.
        DatasetError: It holds no scores of the model in this time.
    """
    with open_to_read(extract.database) as reader:
        runs = _runs(reader, extract, model, detection)
        told = sum(1 for _ in reader.events(extract.since, extract.until))
    parts, seconds = [], 0.0
    for run in runs:
        highest, hops = highest_of_segments(
            run.scores()[None], model.card.labels, model.spec, detection
        )
        parts.append(highest)
        seconds += len(highest) * hops * model.spec.seconds(run.hop_samples)
    segments = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
    if len(segments) == 0:
        raise DatasetError(
            f"{extract.database}: holds no scores of the model {model.card.name!r} in "
            "this stretch of time"
        )
    if told:
        logger.warning(
            "%d events were told in this time, and are taken as false: if some were "
            "true, leave their times out with --except",
            told,
        )
    return segments, seconds / 3600


def _runs(
    reader: Reader,
    extract: Extract,
    model: TrainedModel,
    detection: DetectionSettings,
) -> list[_Run]:
    sessions = reader.sessions()
    of_source: dict[tuple[str, str], list[_Run]] = defaultdict(list)
    strange: set[str] = set()
    for stretch in reader.score_rows(extract.since, extract.until):
        facts = sessions[stretch.session]
        if (reason := _unfit(facts, stretch, model, detection)) is not None:
            strange.add(reason)
            continue
        order = [facts.labels.index(label) for label in model.card.labels]
        table = stretch.arrays()
        scores = table.scores[:, order].astype(np.float32)
        # What is too faint begins no event, whatever its scores.
        scores[table.levels[:, 1] < detection.level_gate_dbfs] = 0
        keep = _kept(stretch, facts.sample_rate, extract)
        _add(of_source[stretch.session, stretch.source], stretch, scores, keep)
    for reason in sorted(strange):
        logger.warning("left out: %s", reason)
    return [run for runs in of_source.values() for run in runs]


def _unfit(
    facts: Session,
    stretch: ScoreRow,
    model: TrainedModel,
    detection: DetectionSettings,
) -> str | None:
    """Why scores say nothing about the model; None: they do."""
    card, spec = model.card, model.spec
    if (
        facts.model != card.name
        or set(facts.labels) != set(card.labels)
        or facts.sample_rate != spec.sample_rate
    ):
        return f"scores of the model {facts.model!r}"
    if stretch.frame_count > 1 and (
        stretch.hop_samples != detection.hop_frames * spec.hop_length
    ):
        return "scores of a time with another detection.hop_frames"
    return None


def _kept(stretch: ScoreRow, rate: int, extract: Extract) -> NDArray[np.bool_]:
    """(frames,): which windows lie in the time asked for, and in none excepted."""
    first = stretch.start.timestamp()
    starts = first + np.arange(stretch.frame_count) * stretch.hop_samples / rate
    stops = starts + stretch.window_samples / rate
    keep = np.ones(stretch.frame_count, bool)
    if extract.since is not None:
        keep &= starts >= extract.since.timestamp()
    if extract.until is not None:
        keep &= stops <= extract.until.timestamp()
    for begin, end in extract.excepted:
        keep &= (stops <= begin.timestamp()) | (starts >= end.timestamp())
    return keep


def _add(
    runs: list[_Run], stretch: ScoreRow, scores: Array, keep: NDArray[np.bool_]
) -> None:
    """Go on with the last run where a window follows it, else begin another."""
    hop = stretch.hop_samples
    for begin, end in _true_stretches(keep):
        start = stretch.start_sample + begin * hop
        if not runs or runs[-1].next_start != start or runs[-1].hop_samples != hop:
            runs.append(_Run(hop, [], start))
        runs[-1].parts.append(scores[begin:end])
        runs[-1].next_start = stretch.start_sample + end * hop


def _true_stretches(keep: NDArray[np.bool_]) -> Sequence[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], keep.astype(np.int8), [0]])))
    pairs = edges.reshape(-1, 2).tolist()
    return [(int(begin), int(end)) for begin, end in pairs]
