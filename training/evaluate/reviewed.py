"""Verdicts of people about stored events, beside the scores of these events."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from monitor.records import Occurrence
from monitor.sinks.store.queries import Reader

Array = NDArray[np.float32]
LEAST_VERDICTS = 5
"""Fewer about a label, with stored scores, change nothing."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The time of an event, and whether a label sounded in it."""

    source: str
    label: str
    is_right: bool
    start: float
    """Seconds since 1970."""
    stop: float


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The verdicts about the events of a time."""

    judged: tuple[Judged, ...]
    unreviewed: int
    """Events of these labels without a verdict."""


@dataclass(frozen=True, slots=True)
class LabelVerdicts:
    """The verdicts about one label."""

    confirmed: int
    """Events in which people heard it, also as the right label of another's event."""
    rejected: int
    """Its events in which it did not sound."""
    confirmed_scores: Array
    """The highest score of each confirmed event whose scores are stored."""
    rejected_scores: Array

    @property
    def is_used(self) -> bool:
        """True if they are enough to change something."""
        scored = len(self.confirmed_scores) + len(self.rejected_scores)
        return scored >= LEAST_VERDICTS

    @property
    def events(self) -> Array:
        """Scores of the events that should be detected."""
        return self.confirmed_scores if self.is_used else np.zeros(0, np.float32)


def read_verdicts(
    reader: Reader,
    since: datetime | None,
    until: datetime | None,
    labels: Collection[str],
) -> Verdicts:
    """Read the verdicts about the events of a time range.

    Of the events of `labels`, those without one are counted.

    "Another label" rejects the label of the event, and confirms the one that it names.
    """
    reviews = reader.verdicts()
    judged: list[Judged] = []
    unreviewed = 0
    for timed in reader.events(since, until):
        record = timed.record
        if timed.start_utc is None or timed.end_utc is None:
            continue  # of a recording, which has no time and no stored scores
        assert isinstance(record, Occurrence)
        review = reviews.get(record.id)
        if review is None:
            unreviewed += record.label in labels
            continue
        heard = {record.label: review.verdict == "right"}
        if review.label is not None:
            heard[review.label] = True
        times = timed.start_utc.timestamp(), timed.end_utc.timestamp()
        judged += [
            Judged(record.source, label, is_right, *times)
            for label, is_right in heard.items()
        ]
    return Verdicts(tuple(judged), unreviewed)


class ScoredRun:
    """Windows of one source that follow each other, and their averaged scores."""

    def __init__(
        self,
        source: str,
        starts: NDArray[np.float64],
        window_seconds: float,
        averaged: Array,
    ) -> None:
        """Prepare (n,) windows with the scores (n, labels) that detection sees."""
        self._source, self._averaged = source, averaged
        self._starts, self._stops = starts, starts + window_seconds

    def __len__(self) -> int:
        """The number of windows."""
        return len(self._starts)

    def windows_of(self, judged: Judged) -> slice:
        """The windows that hold a part of an event, if any."""
        if judged.source != self._source:
            return slice(0, 0)
        first = np.searchsorted(self._stops, judged.start, "right")
        return slice(int(first), int(np.searchsorted(self._starts, judged.stop)))

    def highest(self, judged: Judged, label: int) -> float | None:
        """The highest score of a label in an event; None: it is not in these."""
        scores = self._averaged[self.windows_of(judged), label]
        return float(scores.max()) if scores.size else None


def label_verdicts(
    verdicts: Verdicts, runs: Sequence[ScoredRun], labels: Sequence[str]
) -> dict[str, LabelVerdicts]:
    """Find the scores of the judged events, by label; others are missing."""
    scores: dict[tuple[str, bool], list[float]] = {}
    counts: dict[tuple[str, bool], int] = {}
    for judged in verdicts.judged:
        if judged.label not in labels:
            continue
        key = judged.label, judged.is_right
        counts[key] = counts.get(key, 0) + 1
        index = labels.index(judged.label)
        found = [run.highest(judged, index) for run in runs]
        if known := [score for score in found if score is not None]:
            scores.setdefault(key, []).append(max(known))
    return {
        label: LabelVerdicts(
            counts.get((label, True), 0),
            counts.get((label, False), 0),
            np.array(scores.get((label, True), []), np.float32),
            np.array(scores.get((label, False), []), np.float32),
        )
        for label in labels
        if any(name == label for name, _ in counts)
    }


def confirmed_windows(
    verdicts: Verdicts, by_label: Mapping[str, LabelVerdicts], run: ScoredRun
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Return the windows in which labels with enough verdicts were confirmed."""
    for label, own in by_label.items():
        if own.is_used:
            windows = np.zeros(len(run), bool)
            for judged in verdicts.judged:
                if judged.is_right and judged.label == label:
                    windows[run.windows_of(judged)] = True
            if windows.any():
                yield label, windows
