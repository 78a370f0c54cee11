"""Teaching: from examples and negatives to a taught label, and what to expect of it.

Nothing here is random: the same examples, in any order, the same model and the same
last week give the same label to the last bit.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.model.head_fit import Head, Levels, means_of, other_sound
from monitor.model.negatives import Negatives
from monitor.model.taught import (
    OFFSET_SCORE,
    ONSET_SCORE,
    TaughtCard,
    TaughtLabel,
    scaled_head,
    unit_of,
)
from monitor.model.taught_fit import (
    PAUSE_SECONDS,
    Fit,
    PlaceValues,
    detected_left_out,
    fit,
    unseen_places,
)
from monitor.model.thresholds import CURVE_POINTS, CurvePoint, Thresholds, highest_rate
from monitor.runtime.examples import Example
from monitor.runtime.last_week import KeptBlock, Week

Array = NDArray[np.float64]

MOST_KEPT = 4000
"""Windows of the last week that the fit takes, spread over all of it."""

MOST_TIMES = 100
"""Alarms whose time is reported."""

_JUDGED_SECONDS = 3600.0
"""Time by turns that a head of the report on the week judges, and is fitted to."""

_RESEMBLING_SCORE = 0.3
_RESEMBLING_SHARE = 0.2
_MOST_RESEMBLING = 3
_SHORT_SECONDS = 2.0
"""Sounds that are active for less are impulsive."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """A moment of the last week at which the label would have been reported."""

    source: str
    seconds: float
    """Since 1970."""


@dataclass(frozen=True, slots=True)
class WeekReport:
    """The label on the last week of this place.

    Every second hour is judged by a head that was fitted to the hours between: a head
    is quiet in what it was fitted to.
    """

    hours: float
    """Time of which embeddings were kept."""

    alarms: int
    first: tuple[Alarm, ...]
    """The first of them; see `MOST_TIMES`."""


@dataclass(frozen=True, slots=True)
class Report:
    """What to expect of a taught label."""

    examples: int
    missed: tuple[str, ...]
    """Examples that are not detected by a label taught from all the others."""

    others: tuple[str, ...]
    """Examples that are another sound than the most; empty: they are one."""

    place_alarms: int
    place_hours: float
    """Alarms in the places of the negatives, and the time in them."""

    is_supported: bool
    """False: to detect half of the examples, more alarms are accepted than wanted."""

    known: tuple[tuple[str, float], ...]
    """Labels of the model that the examples reach, with their median score."""

    resembling: tuple[tuple[str, float], ...]
    """Other sounds that would be reported as this one, with their share."""

    week: WeekReport | None
    """None: no embeddings of the model were kept."""

    other_models: tuple[str, ...] = ()
    """Models whose embeddings were kept instead."""

    @property
    def detected(self) -> int:
        """Examples that are detected by a label taught from all the others."""
        return self.examples - len(self.missed)

    @property
    def alarms_per_hour(self) -> float:
        """Alarms an hour in the places of the negatives."""
        return self.place_alarms / self.place_hours

    @property
    def alarms_per_hour_at_most(self) -> float:
        """Upper limit of that rate, with 95 % confidence."""
        return highest_rate(self.place_alarms, self.place_hours)

    def facts(self) -> dict[str, object]:
        """What the file of the label says: figures, no names of files, no times."""
        week = self.week
        return {
            "examples": self.examples,
            "detected_left_out": self.detected,
            "another_sound": len(self.others),
            "place_alarms_per_hour": round(self.alarms_per_hour, 3),
            "place_alarms_per_hour_at_most": round(self.alarms_per_hour_at_most, 3),
            "place_hours": round(self.place_hours, 3),
            "known": dict(self.known),
            "resembling": dict(self.resembling),
            "week_hours": None if week is None else round(week.hours, 2),
            "week_alarms": None if week is None else week.alarms,
        }


@dataclass(frozen=True, slots=True)
class TaughtIdentity:
    """The identity of a label that is taught."""

    label: str
    model: str
    network: str
    """Digest of its network."""

    labels: Sequence[str]
    """Labels of the model, in the order of its scores."""

    newest_event_seconds: float | None = None
    """See `TaughtCard`."""


def teach(
    identity: TaughtIdentity,
    examples: Sequence[Example],
    negatives: Negatives,
    week: Week | None = None,
    other_models: tuple[str, ...] = (),
) -> tuple[TaughtLabel, Report]:
    """Teach a label, and find out what to expect of it.

    Args:
        identity: The label and the model.
        examples: Three or more.
        negatives: Those of the model.
        week: Embeddings that were kept here.
        other_models: Models whose embeddings were kept, if there is no week.
    """
    clips = [example.embeddings for example in examples]
    spread = None if week is None else _spread(week)
    kept = None if spread is None else spread.embeddings
    fitted = fit(clips, negatives, kept)
    head, levels = fitted.head, fitted.levels
    weights, bias = scaled_head(head, levels)
    is_detected = detected_left_out(clips, negatives, fitted)
    others = other_sound(fitted.discriminant.cosines(means_of(clips)))
    unseen = unseen_places(clips, negatives, kept)
    report = Report(
        examples=len(examples),
        missed=tuple(
            example.name
            for example, detected in zip(examples, is_detected, strict=True)
            if not detected
        ),
        others=tuple(examples[index].name for index in others),
        place_alarms=unseen.alarms(0.0),
        place_hours=negatives.hours,
        is_supported=levels.is_supported,
        known=_known(examples, identity.labels),
        resembling=_resembling(head, levels, negatives),
        week=None
        if week is None or spread is None
        else _week_report(_halves(clips, negatives, spread), week),
        other_models=other_models,
    )
    active = float(np.median([example.active_seconds for example in examples]))
    card = TaughtCard(
        label=identity.label,
        model=identity.model,
        network=identity.network,
        clips=len(examples),
        newest_event_seconds=identity.newest_event_seconds,
        preset="impulsive" if active < _SHORT_SECONDS else "lasting",
        thresholds=_thresholds(levels, unseen, negatives.hours),
        report=report.facts(),
    )
    return TaughtLabel(card, weights, bias), report


def _thresholds(levels: Levels, unseen: PlaceValues, hours: float) -> Thresholds:
    """Thresholds in scores, with their curve from few alarms to many detections."""
    middle = CURVE_POINTS // 2
    deviations = [
        *np.linspace(levels.highest, levels.threshold, middle + 1)[:-1],
        *np.linspace(levels.threshold, levels.lowest, CURVE_POINTS - middle),
    ]
    points = []
    for deviation in deviations:
        logit = (deviation - levels.threshold) / unit_of(levels)
        count = unseen.alarms(deviation - levels.threshold)
        points.append(
            CurvePoint(
                onset=min(max(1 / (1 + math.exp(-logit)), 1e-4), 1 - 1e-4),
                detected_near=None,
                detected_far=None,
                latency_seconds=None,
                false_alarms_per_hour=count / hours,
                false_alarms_per_hour_at_most=highest_rate(count, hours),
            )
        )
    rate = points[middle].false_alarms_per_hour
    return Thresholds(
        onset=ONSET_SCORE,
        offset=OFFSET_SCORE,
        false_alarms_per_hour=rate,
        curve=tuple(points),
    )


def _known(
    examples: Sequence[Example], labels: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    scores = np.median([example.scores for example in examples], axis=0)
    highest = np.argsort(-scores, kind="stable")[:_MOST_RESEMBLING]
    return tuple(
        (labels[index], round(float(scores[index]), 2))
        for index in highest.tolist()
        if scores[index] >= _RESEMBLING_SCORE
    )


def _resembling(
    head: Head, levels: Levels, negatives: Negatives
) -> tuple[tuple[str, float], ...]:
    above = head(negatives.embeddings.astype(np.float64)) >= levels.threshold
    windows = Counter(negatives.kinds.tolist())
    shares = {
        kind: count / windows[kind]
        for kind, count in Counter(negatives.kinds[above].tolist()).items()
    }
    most = sorted(shares, key=lambda kind: (-shares[kind], kind))[:_MOST_RESEMBLING]
    return tuple(
        (negatives.name_of(kind), round(shares[kind], 2))
        for kind in most
        if shares[kind] >= _RESEMBLING_SHARE
    )


class _Spread(NamedTuple):
    """Windows of a week."""

    embeddings: Array
    """(n, features)."""

    seconds: Array
    """(n,)."""


def _spread(week: Week) -> _Spread:
    """Take `MOST_KEPT` windows of a week, spread over all of it."""
    count = sum(len(block.seconds) for block in week())
    step = max(1, -(-count // MOST_KEPT))
    chosen: list[Array] = []
    seconds: list[Array] = []
    position = 0
    for block in week():
        first = -position % step
        chosen.append(block.embeddings[first::step].astype(np.float64))
        seconds.append(block.seconds[first::step])
        position += len(block.seconds)
    if not seconds:
        return _Spread(np.empty((0, 0)), np.empty(0))
    return _Spread(np.concatenate(chosen), np.concatenate(seconds))


def _half(seconds: Array) -> NDArray[np.int64]:
    """0 or 1 for each moment, by turns an hour."""
    return (seconds // _JUDGED_SECONDS).astype(np.int64) % 2


def _halves(
    clips: Sequence[Array], negatives: Negatives, spread: _Spread
) -> tuple[Fit, Fit]:
    """Fit a head for each half of the hours, to the windows of the other half."""
    half = _half(spread.seconds)
    first, second = (
        fit(clips, negatives, spread.embeddings[half != judged]) for judged in (0, 1)
    )
    return first, second


def _week_report(halves: tuple[Fit, Fit], week: Week) -> WeekReport:
    alarms: list[Alarm] = []
    covered = 0.0
    newest: dict[str, float] = {}
    for block in week():
        covered += _covered_seconds(block)
        for second in _seconds_above(halves, block):
            if second - newest.get(block.source, -math.inf) > PAUSE_SECONDS:
                alarms.append(Alarm(block.source, second))
            newest[block.source] = second
    alarms.sort(key=lambda alarm: alarm.seconds)
    return WeekReport(covered / 3600, len(alarms), tuple(alarms[:MOST_TIMES]))


def _seconds_above(halves: tuple[Fit, Fit], block: KeptBlock) -> list[float]:
    """Moments of the windows that exceed the threshold, each by its own half."""
    embeddings = block.embeddings.astype(np.float64)
    above = np.array(
        [each.head(embeddings) >= each.levels.threshold for each in halves]
    )
    judged = np.where(_half(block.seconds) == 0, above[0], above[1])
    found: list[float] = block.seconds[judged].tolist()
    return found


def _covered_seconds(block: KeptBlock) -> float:
    """Time of the hops of a block; pauses are left out."""
    if len(block.seconds) < 2:
        return 0.0
    hops = np.diff(block.seconds)
    return float(np.median(hops) * len(block.seconds))
