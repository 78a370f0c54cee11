"""Figures of the monitor in places: events detected, false alarms, curves.

All are of networks and heads that were trained on neither the events nor the places,
with thresholds from other places.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.model.thresholds import CURVE_POINTS, CurvePoint, Thresholds, highest_rate
from training.evaluate.metrics import ratio_interval, resampled
from training.evaluate.thresholds import Threshold
from training.streams.metrics import (
    Detected,
    Reference,
    StreamResult,
    detections,
    false_alarms,
    match,
)

FAR_DB, NEAR_DB = (6.0, 12.0), (12.0, 20.0)
"""Levels of events above the place."""
_LIMITING = 3
"""Places and recordings that are named for each label."""
_RATE_FACTOR = 10.0
"""Of the false alarms at the lower end of a curve to those at its middle."""
_LEAST_STEP = 0.1
"""Logits from one point of a curve to the next, at least."""
_LIMITS = (0.02, 0.995)
"""Onset thresholds at the ends of a curve."""
Pairs = Sequence[tuple[Reference, Detected | None]]


def place_figures(
    alone: Sequence[StreamResult],
    events: Sequence[StreamResult],
    tops: Mapping[str, Mapping[str, float]],
    labels: Sequence[str],
    groups: Mapping[str, str],
    masked: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """Compute the figures of all places.

    Args:
        alone: Places without events.
        events: Places with events.
        tops: For each label the highest score in each place alone.
        labels: Names.
        groups: The place of each recording, by its name.
        masked: For each label the seconds of the recordings in which it may sound, and
            which say nothing about false alarms.

    Returns:
        Figures over all labels, with 95 % intervals: of events detected by their
        recording, of F1 and of false alarms by place.  In `per_label`
        those of each.
    """
    pairs = {label: detections(events, label) for label in labels}
    pairs = {label: own for label, own in pairs.items() if own}
    alarms = {label: [false_alarms(each, label) for each in alone] for label in labels}
    hours = sum(result.seconds for result in alone) / 3600
    with_events = sum(result.seconds for result in events) / 3600
    all_alarms = [each for own in alarms.values() for found in own for each in found]
    total = len(all_alarms)
    seconds = sum(each.offset - each.onset for each in all_alarms)
    confused = sum(len(false_alarms(r, label)) for r in events for label in labels)
    found, true, streams = _event_counts(events, labels, groups)
    return {
        "hours": hours,
        "places": len({groups[result.name] for result in alone}),
        "recordings_of_places": len({result.name for result in alone}),
        "events": sum(map(len, pairs.values())),
        "event_f1": float(2 * found.sum() / max(true.sum(), 1)),
        "event_f1_ci95": list(ratio_interval(2 * found, true, streams)),
        "detected": _mean([_share(own) for own in pairs.values()]),
        "detected_ci95": _macro_interval(pairs.values()),
        "detected_far": _mean([_share(_within(own, FAR_DB)) for own in pairs.values()]),
        "detected_near": _mean(
            [_share(_within(own, NEAR_DB)) for own in pairs.values()]
        ),
        "latency_seconds": _latency([pair for own in pairs.values() for pair in own]),
        **_rates(total, alone, {}),
        "false_alarms_per_hour_ci95": _rate_interval(alone, alarms, groups),
        "false_alarm_seconds_per_hour": seconds / hours,
        "false_alarms_per_hour_with_events": (
            confused / with_events if with_events else 0.0
        ),
        "per_label": {
            label: {
                **_of_events(own),
                **_rates(sum(map(len, alarms[label])), alone, masked.get(label, {})),
                "limiting_places": _limiting_places(tops[label]),
            }
            for label, own in pairs.items()
        },
    }


def _of_events(own: Pairs) -> dict[str, Any]:
    detected = np.array([found is not None for _, found in own])
    recordings = [reference.recording for reference, _ in own]
    return {
        "events": len(own),
        "recordings": len(set(recordings)),
        "detected": _share(own),
        "detected_ci95": list(ratio_interval(detected, np.ones(len(own)), recordings)),
        "detected_far": _share(_within(own, FAR_DB)),
        "detected_near": _share(_within(own, NEAR_DB)),
        "latency_seconds": _latency(own),
        "limiting_recordings": _limiting_recordings(own),
    }


def _share(own: Pairs) -> float | None:
    return _mean([found is not None for _, found in own])


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _within(own: Pairs, levels: tuple[float, float]) -> Pairs:
    low, high = levels
    return [pair for pair in own if low <= pair[0].snr_db < high]


def _latency(own: Pairs) -> float | None:
    """Median time from onset to report of the events that were detected."""
    times = [found.reported - true.onset for true, found in own if found is not None]
    return float(np.median(times)) if times else None


def _rates(
    count: int, alone: Sequence[StreamResult], masked: Mapping[str, float]
) -> dict[str, float]:
    """Rate in places, with its upper limit; without the seconds `masked` of each.

    Several networks hear the same places, which are no more evidence than once.
    """
    seconds = sum(each.seconds - masked.get(each.name, 0.0) for each in alone)
    hours = max(seconds, 1.0) / 3600
    times = len(alone) / len({result.name for result in alone})
    return {
        "false_alarms": count,
        "false_alarms_per_hour": count / hours,
        "false_alarms_per_hour_at_most": highest_rate(
            math.ceil(count / times), hours / times
        ),
    }


def _event_counts(
    results: Sequence[StreamResult], labels: Sequence[str], groups: Mapping[str, str]
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Pairs, and true and detected events, of each stream; and its place."""
    found, true = [], []
    for result in results:
        counts = [0, 0]
        for label in labels:
            references = [event for event in result.references if event.label == label]
            own = [event for event in result.found if event.label == label]
            counts[0] += len(match(references, own))
            counts[1] += len(references) + len(own)
        found.append(counts[0])
        true.append(counts[1])
    names = [groups[result.name] for result in results]
    return np.array(found, float), np.array(true, float), names


def _macro_interval(pairs: Iterable[Pairs]) -> list[float]:
    """Interval of the mean over labels, with the recordings of each drawn anew."""
    shares = []
    for seed, own in enumerate(pairs):
        detected = np.array([found is not None for _, found in own])
        names = [reference.recording for reference, _ in own]
        shares.append(resampled(detected, np.ones(len(own)), names, seed))
    low, high = np.quantile(np.mean(shares, axis=0), [0.025, 0.975])
    return [float(low), float(high)]


def _rate_interval(
    alone: Sequence[StreamResult],
    alarms: Mapping[str, Sequence[Sequence[Detected]]],
    groups: Mapping[str, str],
) -> list[float]:
    counts = np.sum([[len(found) for found in own] for own in alarms.values()], axis=0)
    hours = np.array([result.seconds / 3600 for result in alone])
    names = [groups[result.name] for result in alone]
    return list(ratio_interval(counts, hours, names))


def _limiting_places(tops: Mapping[str, float]) -> dict[str, float]:
    highest = sorted(tops, key=lambda name: -tops[name])[:_LIMITING]
    return {name: round(tops[name], 3) for name in highest}


def _limiting_recordings(own: Pairs) -> dict[str, float]:
    """The recordings that are detected least, with the share of their events."""
    hits: dict[str, list[bool]] = defaultdict(list)
    for reference, found in own:
        hits[reference.recording].append(found is not None)
    # Of those missed alike the one with more events says more.
    worst = sorted(hits, key=lambda name: (np.mean(hits[name]), -len(hits[name])))
    return {name: round(float(np.mean(hits[name])), 3) for name in worst[:_LIMITING]}


Detect = Callable[[Mapping[str, float]], tuple[list[StreamResult], list[StreamResult]]]
"""Detects with onset thresholds by label: places alone, and places with events."""


def curves(
    thresholds: Mapping[str, Threshold],
    tops: Mapping[str, Mapping[str, float]],
    masked: Mapping[str, Mapping[str, float]],
    detect: Detect,
) -> dict[str, tuple[CurvePoint, ...]]:
    """Measure each label at eleven onset thresholds, the sixth being its own.

    For `tops` and `masked` see `place_figures`.
    """
    onsets = {
        label: _onsets(found.onset, sorted(tops[label].values()))
        for label, found in thresholds.items()
    }
    points: dict[str, list[CurvePoint]] = defaultdict(list)
    for point in range(CURVE_POINTS):
        chosen = {label: own[point] for label, own in onsets.items()}
        alone, events = detect(chosen)
        for label, onset in chosen.items():
            own = detections(events, label)
            alarms = sum(len(false_alarms(result, label)) for result in alone)
            rates = _rates(alarms, alone, masked.get(label, {}))
            points[label].append(
                CurvePoint(
                    onset=onset,
                    detected_near=_share(_within(own, NEAR_DB)),
                    detected_far=_share(_within(own, FAR_DB)),
                    latency_seconds=_latency(own),
                    false_alarms_per_hour=rates["false_alarms_per_hour"],
                    false_alarms_per_hour_at_most=rates[
                        "false_alarms_per_hour_at_most"
                    ],
                )
            )
    return {label: tuple(own) for label, own in points.items()}


def moved(found: Threshold, before: float, after: float) -> Thresholds:
    """Move a threshold by as many logits as there are from one score to another."""
    logit = _logit(found.onset) + _logit(after) - _logit(before)
    onset = min(max(1 / (1 + math.exp(-logit)), 1e-4), 1 - 1e-4)
    # Rounding may put the quotient a hair above 1.
    offset = min(onset, onset * found.offset / found.onset)
    return Thresholds(onset=onset, offset=offset)


def _onsets(middle: float, tops: Sequence[float]) -> list[float]:
    """Eleven thresholds, falling, at even steps of the logit on both sides."""
    above = sum(top >= middle for top in tops)
    # The lower end lets so many more places through.
    more = min(len(tops) - 1, math.ceil(max(above, 1) * _RATE_FACTOR))
    low = min(_logit(tops[-1 - more]), _logit(middle) - 5 * _LEAST_STEP)
    high = max(_logit(tops[-1]), _logit(middle)) + 5 * _LEAST_STEP
    ends = [_logit(limit) for limit in _LIMITS]
    low = min(max(low, ends[0]), _logit(middle))
    high = max(min(high, ends[1]), _logit(middle))
    rising = np.linspace(_logit(middle), high, 6)[:0:-1]
    falling = np.linspace(_logit(middle), low, 6)[1:]
    scores = [round(1 / (1 + math.exp(-each)), 4) for each in (*rising, *falling)]
    onsets = [max(each, middle) for each in scores[:5]]
    return [*onsets, middle, *(min(each, middle) for each in scores[5:])]


def _logit(score: float) -> float:
    bounded = min(max(score, 1e-4), 1 - 1e-4)
    return math.log(bounded / (1 - bounded))
