"""Event-based figures: found and missed events, false alarms, latency and placement.

Detected events are matched with true ones, at most one with one.  A false alarm is an
event at whose time its label does not sound at all.  An event whose label does sound,
but began elsewhere, only costs precision.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from monitor.model.thresholds import highest_rate

COLLAR_SECONDS = 1.0
"""Tolerance of onsets; a window of 4 s does not place them more exactly."""

OFFSET_SHARE = 0.5
"""An end may lie as far from the true one as this share of the true length, or as the
collar, whichever is more."""

_IMPOSSIBLE = 1e9
"""Costs more than all possible pairs together."""


@dataclass(frozen=True, slots=True)
class Interval:
    """An interval in seconds."""

    onset: float
    offset: float


def match(
    references: Sequence[Interval], found: Sequence[Interval], *, offsets: bool = False
) -> list[tuple[int, int]]:
    """Pair as many events of one label and stream as possible, with the closest onsets.

    Two events can be a pair if their onsets lie within the collar, and with `offsets`
    their ends too.  This is what sed_eval calls optimal matching (Mesaros, Heittola and
    Virtanen, "Metrics for Polyphonic Sound Event Detection", 2016).

    Returns:
        Index of the true event and of the detected one.
    """
    from scipy.optimize import linear_sum_assignment  # takes half a second

    pairs: list[tuple[int, int]] = []
    for true, detected in _clusters(references, found):
        costs = np.full((len(true), len(detected)), _IMPOSSIBLE)
        for row, reference in enumerate(true):
            for column, event in enumerate(detected):
                if _fits(references[reference], found[event], offsets):
                    apart = abs(references[reference].onset - found[event].onset)
                    costs[row, column] = apart
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            if costs[row, column] < _IMPOSSIBLE:
                pairs.append((true[row], detected[column]))
    return pairs


def overlaps(one: Interval, other: Interval) -> bool:
    """True if two intervals overlap within the collar."""
    return (
        one.onset <= other.offset + COLLAR_SECONDS
        and one.offset >= other.onset - COLLAR_SECONDS
    )


def _fits(reference: Interval, event: Interval, offsets: bool) -> bool:
    if abs(reference.onset - event.onset) > COLLAR_SECONDS:
        return False
    length = reference.offset - reference.onset
    allowed = max(COLLAR_SECONDS, OFFSET_SHARE * length)
    return not offsets or abs(reference.offset - event.offset) <= allowed


def _clusters(
    references: Sequence[Interval], found: Sequence[Interval]
) -> Iterator[tuple[list[int], list[int]]]:
    """Divide at pauses that are longer than the collar, so that hours stay cheap."""
    onsets = [(event.onset, 0, index) for index, event in enumerate(references)]
    onsets += [(event.onset, 1, index) for index, event in enumerate(found)]
    cluster: tuple[list[int], list[int]] = ([], [])
    before = -np.inf
    for onset, kind, index in sorted(onsets):
        if onset - before > COLLAR_SECONDS:
            yield cluster
            cluster = ([], [])
        cluster[kind].append(index)
        before = onset
    yield cluster


@dataclass(frozen=True, slots=True)
class Reference(Interval):
    """A true event, in seconds."""

    label: str
    snr_db: float = math.nan
    """Level above the background under it; NaN: unknown."""

    recording: str = ""
    """Recording that it is from; empty: unknown."""


@dataclass(frozen=True, slots=True)
class Detected(Interval):
    """An event that the monitor detected, in seconds."""

    label: str
    reported: float
    """End of the window in which it was first reported."""


@dataclass(frozen=True, slots=True)
class StreamResult:
    """The true and the detected events of a stream."""

    seconds: float
    references: tuple[Reference, ...]
    found: tuple[Detected, ...]
    name: str = ""
    """Its recording, or place."""


def detections(
    results: Iterable[StreamResult], label: str
) -> list[tuple[Reference, Detected | None]]:
    """Find for each true event of a label the detected one that was reported first.

    It overlaps the true one within the collar, and was reported after that had begun:
    an alarm that is already on says nothing of a new sound.  None: the event was not
    detected.
    """
    pairs: list[tuple[Reference, Detected | None]] = []
    for result in results:
        found = [event for event in result.found if event.label == label]
        for reference in result.references:
            if reference.label == label:
                own = [
                    event
                    for event in found
                    if overlaps(event, reference) and event.reported > reference.onset
                ]
                first = min(own, key=lambda event: event.reported, default=None)
                pairs.append((reference, first))
    return pairs


def false_alarms(result: StreamResult, label: str) -> list[Detected]:
    """Return the events of a label that do not sound at all."""
    true = [event for event in result.references if event.label == label]
    return [
        event
        for event in result.found
        if event.label == label and not any(overlaps(event, each) for each in true)
    ]


def stream_figures(
    results: Sequence[StreamResult], labels: Sequence[str]
) -> dict[str, Any]:
    """Compute event-based figures over all streams.

    `event_f1`, `event_precision` and `event_recall` count onsets only; in
    `with_offsets` the ends must fit too.  Latencies and errors are those of the pairs;
    `start_error_of_heard_seconds` is that of all events detected while their label
    sounded, wherever they begin.
    """
    hours = sum(result.seconds for result in results) / 3600
    tallies = {label: _tally(results, label) for label in labels}
    total = _sum(tallies.values())
    present = {label: t for label, t in tallies.items() if t.references or t.found}
    rates = {label: t.false_alarms / hours for label, t in tallies.items()}
    highest = {
        label: highest_rate(t.false_alarms, hours) for label, t in tallies.items()
    }
    return {
        "hours": hours,
        "streams": len(results),
        "collar_seconds": COLLAR_SECONDS,
        "event_f1": total.f1,
        "event_precision": total.precision,
        "event_recall": total.recall,
        "event_macro_f1": _mean([t.f1 for t in present.values()]) or 0.0,
        "with_offsets": {
            **total.with_offsets(),
            "macro_f1": _mean([t.with_offsets()["f1"] for t in present.values()])
            or 0.0,
        },
        **total.counts(),
        "per_class": {label: t.figures() for label, t in present.items()},
        "false_alarms_per_hour": rates,
        "false_alarms_per_hour_at_most": highest,
        "false_alarms_per_hour_all_labels": total.false_alarms / hours,
        "false_alarms_per_hour_all_labels_at_most": highest_rate(
            total.false_alarms, hours
        ),
        **total.times(),
    }


@dataclass
class _Tally:
    """Counts of one label, or of all."""

    references: int = 0
    found: int = 0
    undetected: int = 0
    false_alarms: int = 0
    pairs: list[tuple[Reference, Detected]] = field(default_factory=list)
    pairs_with_offsets: int = 0
    start_errors: list[float] = field(default_factory=list)

    @property
    def precision(self) -> float:
        return _share(len(self.pairs), self.found)

    @property
    def recall(self) -> float:
        return _share(len(self.pairs), self.references)

    @property
    def f1(self) -> float:
        return _share(2 * len(self.pairs), self.references + self.found)

    def with_offsets(self) -> dict[str, float]:
        pairs = self.pairs_with_offsets
        return {
            "f1": _share(2 * pairs, self.references + self.found),
            "precision": _share(pairs, self.found),
            "recall": _share(pairs, self.references),
        }

    def counts(self) -> dict[str, int]:
        return {
            "events": self.references,
            "found": self.found,
            "missed": self.references - len(self.pairs),
            "unheard": self.undetected,
            "false_alarms": self.false_alarms,
        }

    def times(self) -> dict[str, dict[str, float | None]]:
        latencies = [event.reported - true.onset for true, event in self.pairs]
        starts = [event.onset - true.onset for true, event in self.pairs]
        ends = [event.offset - true.offset for true, event in self.pairs]
        return {
            "onset_latency_seconds": {
                "p50": _quantile(latencies, 0.5),
                "p95": _quantile(latencies, 0.95),
            },
            "start_error_seconds": _errors(starts),
            "end_error_seconds": _errors(ends),
            "start_error_of_heard_seconds": _errors(self.start_errors),
        }

    def figures(self) -> dict[str, Any]:
        return {
            "f1": self.f1,
            "precision": self.precision,
            "recall": self.recall,
            "f1_with_offsets": self.with_offsets()["f1"],
            **self.counts(),
            **self.times(),
        }


def _tally(results: Sequence[StreamResult], label: str) -> _Tally:
    tally = _Tally()
    for result in results:
        true = [event for event in result.references if event.label == label]
        found = [event for event in result.found if event.label == label]
        tally.references += len(true)
        tally.found += len(found)
        tally.pairs += [(true[a], found[b]) for a, b in match(true, found)]
        tally.pairs_with_offsets += len(match(true, found, offsets=True))
        tally.false_alarms += len(false_alarms(result, label))
        for reference in true:
            overlapping = [event for event in found if overlaps(event, reference)]
            if overlapping:
                errors = [event.onset - reference.onset for event in overlapping]
                tally.start_errors.append(min(errors, key=abs))
            else:
                tally.undetected += 1
    return tally


def _sum(tallies: Iterable[_Tally]) -> _Tally:
    total = _Tally()
    for tally in tallies:
        for each in fields(_Tally):
            own = getattr(tally, each.name)  # numbers add up, lists are joined
            setattr(total, each.name, getattr(total, each.name) + own)
    return total


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _quantile(values: Sequence[float], share: float) -> float | None:
    return float(np.quantile(values, share)) if len(values) else None


def _errors(values: Sequence[float]) -> dict[str, float | None]:
    """Mean error, late being positive, and how large errors are."""
    sizes = [abs(value) for value in values]
    return {
        "mean": _mean(values),
        "p50": _quantile(sizes, 0.5),
        "p95": _quantile(sizes, 0.95),
    }
