"""Figures of events: found, missed, made up; how late they are told, how well placed.

A false alarm is an event at whose time its label does not sound at all.  One whose
label does sound, but began elsewhere, only costs precision.

Which told event stands for which true one: at most one for one.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment  # type: ignore[import-untyped]
from scipy.special import gammaincinv  # type: ignore[import-untyped]

COLLAR_SECONDS = 1.0
"""How far an onset may lie from the true one; a window of 4 s places it no better."""

OFFSET_SHARE = 0.5
"""An end may lie as far from the true one as this share of the true length, or as the
collar, whichever is more."""

_IMPOSSIBLE = 1e9
"""Costs more than all possible pairs together."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Where something sounds, in seconds."""

    onset: float
    offset: float


def match(
    references: Sequence[Stretch], found: Sequence[Stretch], *, offsets: bool = False
) -> list[tuple[int, int]]:
    """Pair as many events as possible; of equally many pairs take the closest onsets.

    Two events can be a pair if their onsets lie within the collar, and with `offsets`
    their ends too.  This is what sed_eval calls optimal matching (Mesaros, Heittola and
    Virtanen, "Metrics for Polyphonic Sound Event Detection", 2016).

    Args:
        references: True events of one label in one stream, in any order.
        found: Events told of that label in that stream.
        offsets: Whether the ends must fit.

    Returns:
        Index of the true event and of the one told.
    """
    pairs: list[tuple[int, int]] = []
    for true, told in _clusters(references, found):
        costs = np.full((len(true), len(told)), _IMPOSSIBLE)
        for row, reference in enumerate(true):
            for column, event in enumerate(told):
                if _fits(references[reference], found[event], offsets):
                    apart = abs(references[reference].onset - found[event].onset)
                    costs[row, column] = apart
        for row, column in zip(*linear_sum_assignment(costs), strict=True):
            if costs[row, column] < _IMPOSSIBLE:
                pairs.append((true[row], told[column]))
    return pairs


def overlaps(one: Stretch, other: Stretch) -> bool:
    """Whether one sounds while the other does, within the collar."""
    return (
        one.onset <= other.offset + COLLAR_SECONDS
        and one.offset >= other.onset - COLLAR_SECONDS
    )


def _fits(reference: Stretch, event: Stretch, offsets: bool) -> bool:
    if abs(reference.onset - event.onset) > COLLAR_SECONDS:
        return False
    length = reference.offset - reference.onset
    allowed = max(COLLAR_SECONDS, OFFSET_SHARE * length)
    return not offsets or abs(reference.offset - event.offset) <= allowed


def _clusters(
    references: Sequence[Stretch], found: Sequence[Stretch]
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


CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Reference(Stretch):
    """A true event, in seconds."""

    label: str


@dataclass(frozen=True, slots=True)
class Found(Stretch):
    """An event that the monitor told, in seconds."""

    label: str
    told: float
    """End of the window in which it was first told."""


@dataclass(frozen=True, slots=True)
class StreamResult:
    """What is in a stream, and what the monitor heard in it."""

    seconds: float
    references: tuple[Reference, ...]
    found: tuple[Found, ...]


def highest_rate(count: int, hours: float) -> float:
    """The rate an hour that `count` in `hours` rules out beyond, with 95 % confidence.

    Garwood's limit for counts that are independent: none in T hours still allows 3 / T.
    """
    return float(gammaincinv(count + 1, CONFIDENCE)) / hours


def stream_figures(
    results: Sequence[StreamResult], labels: Sequence[str]
) -> dict[str, Any]:
    """Event-based figures over all streams.

    `event_f1` and its kin count onsets only; `with_offsets` wants the ends to fit too.
    Latencies and errors are those of the pairs; `start_error_of_heard_seconds` is that
    of all events that were heard while their label sounded, wherever they begin.
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
    """What is counted of one label, or of all."""

    references: int = 0
    found: int = 0
    unheard: int = 0
    false_alarms: int = 0
    pairs: list[tuple[Reference, Found]] = field(default_factory=list)
    pairs_with_offsets: int = 0
    start_errors_of_heard: list[float] = field(default_factory=list)

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
            "unheard": self.unheard,
            "false_alarms": self.false_alarms,
        }

    def times(self) -> dict[str, dict[str, float | None]]:
        latencies = [told.told - true.onset for true, told in self.pairs]
        starts = [told.onset - true.onset for true, told in self.pairs]
        ends = [told.offset - true.offset for true, told in self.pairs]
        return {
            "onset_latency_seconds": {
                "p50": _quantile(latencies, 0.5),
                "p95": _quantile(latencies, 0.95),
            },
            "start_error_seconds": _errors(starts),
            "end_error_seconds": _errors(ends),
            "start_error_of_heard_seconds": _errors(self.start_errors_of_heard),
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
        told = [event for event in result.found if event.label == label]
        tally.references += len(true)
        tally.found += len(told)
        tally.pairs += [(true[a], told[b]) for a, b in match(true, told)]
        tally.pairs_with_offsets += len(match(true, told, offsets=True))
        tally.false_alarms += sum(
            not any(overlaps(event, reference) for reference in true) for event in told
        )
        for reference in true:
            heard = [event for event in told if overlaps(event, reference)]
            if heard:
                errors = [event.onset - reference.onset for event in heard]
                tally.start_errors_of_heard.append(min(errors, key=abs))
            else:
                tally.unheard += 1
    return tally


def _sum(tallies: Iterable[_Tally]) -> _Tally:
    total = _Tally()
    for tally in tallies:
        total.references += tally.references
        total.found += tally.found
        total.unheard += tally.unheard
        total.false_alarms += tally.false_alarms
        total.pairs += tally.pairs
        total.pairs_with_offsets += tally.pairs_with_offsets
        total.start_errors_of_heard += tally.start_errors_of_heard
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
