"""The thresholds of a label in a model file, and the curve that they lie on.

The sensitivity, a setting from 0 to 1, moves the onset threshold along the curve.
"""

import math
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

Score = Annotated[float, Field(ge=1e-6, le=1 - 1e-6)]
Share = Annotated[float, Field(ge=0, le=1)]
Rate = Annotated[float, Field(ge=0, le=1e6)]
"""An hour."""

CURVE_POINTS = 11
_LAST, _MIDDLE = 10, 5
"""Indices of the points of a curve for the sensitivities 1 and 0.5."""

CONFIDENCE = 0.95
"""Of the upper limits of rates."""

_HALVINGS = 50
"""Steps of the bisection that finds a limit."""


class CardPart(BaseModel):
    """A part of the metadata of a model file: frozen, finite, without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class CurvePoint(CardPart):
    """Figures of a label at one sensitivity, measured in recordings of real places."""

    onset: Score
    """Onset threshold."""

    detected_near: Share | None
    """Share of the events detected that lie 12 to 20 dB above the background; null:
    there were none."""

    detected_far: Share | None
    """The same of events that lie 6 to 12 dB above it."""

    latency_seconds: Annotated[float, Field(ge=0, le=3600)] | None
    """Median time from onset to report; null: no event was detected."""

    false_alarms_per_hour: Rate
    """Measured in places without the label."""

    false_alarms_per_hour_at_most: Rate
    """Upper limit of the rate, with 95 % confidence."""

    @model_validator(mode="after")
    def _rate_is_below_its_limit(self) -> "CurvePoint":
        rate, limit = self.false_alarms_per_hour, self.false_alarms_per_hour_at_most
        if rate > limit:
            raise ValueError(f"false alarms: {rate} is above their limit {limit}")
        return self


class Thresholds(CardPart):
    """Detection thresholds of one label and the false alarms measured with them."""

    onset: Score
    """Score at or above which the label may begin."""

    offset: Score
    """Score below which it may end."""

    false_alarms_per_hour: Rate | None = None
    """Measured at these thresholds on sounds of no label; null: not measured."""

    curve: tuple[CurvePoint, ...] = ()
    """A point for each of the sensitivities 0, 0.1 to 1; empty: not measured.  `onset`
    is the threshold at 0.5."""

    @model_validator(mode="after")
    def _are_ordered(self) -> "Thresholds":
        if self.offset > self.onset:
            raise ValueError(f"offset {self.offset} is above onset {self.onset}")
        return self

    @model_validator(mode="after")
    def _curve_fits(self) -> "Thresholds":
        if not self.curve:
            return self
        if len(self.curve) != CURVE_POINTS:
            raise ValueError(f"curve: has {len(self.curve)} points, not {CURVE_POINTS}")
        onsets = [point.onset for point in self.curve]
        if onsets != sorted(onsets, reverse=True):
            raise ValueError("curve: an onset rises with the sensitivity")
        if onsets[_MIDDLE] != self.onset:
            raise ValueError(
                f"curve: its onset at sensitivity 0.5 is {onsets[_MIDDLE]}, and that "
                f"of the label {self.onset}"
            )
        return self

    def onset_at(self, sensitivity: float) -> float | None:
        """Onset threshold at a sensitivity in [0, 1]; None: there is no curve."""
        return self._read(sensitivity * _LAST).onset if self.curve else None

    def sensitivity_at(self, onset: float) -> float | None:
        """Sensitivity that gives an onset threshold; None: it is not on the curve."""
        place = self._place(onset)
        return None if place is None else place / _LAST

    def expected_at(self, onset: float) -> CurvePoint | None:
        """Figures to expect with an onset threshold; None: not measured there."""
        place = self._place(onset)
        return None if place is None else self._read(place)

    def curve_through(self, onset: float) -> tuple[CurvePoint, ...]:
        """Return the curve with `onset` at sensitivity 0.5 and the same two ends.

        Empty if there is no curve, or `onset` lies beyond it.
        """
        place = self._place(onset)
        if place is None:
            return ()
        places = [
            *(place * index / _MIDDLE for index in range(_MIDDLE)),
            *(
                place + (_LAST - place) * index / _MIDDLE
                for index in range(_MIDDLE + 1)
            ),
        ]
        points = [self._read(each) for each in places]
        # Rounding may carry one a hair past its neighbour, or past the middle.
        above = [max(point.onset, onset) for point in points[:_MIDDLE]]
        below = [min(point.onset, onset) for point in points[_MIDDLE + 1 :]]
        onsets = sorted([*above, onset, *below], reverse=True)
        return tuple(
            point.model_copy(update={"onset": each})
            for point, each in zip(points, onsets, strict=True)
        )

    def _place(self, onset: float) -> float | None:
        """Index into the curve, with a fraction; None: `onset` is not on it."""
        if not self.curve:
            return None
        if onset == self.onset:  # several points may have it
            return _MIDDLE
        if not self.curve[-1].onset <= onset <= self.curve[0].onset:
            return None
        index = next(it for it in range(_LAST) if self.curve[it + 1].onset <= onset)
        left, right = self.curve[index].onset, self.curve[index + 1].onset
        if onset == left:
            return index
        span = _logit(left) - _logit(right)  # zero if they are only a hair apart
        return index + ((_logit(left) - _logit(onset)) / span if span else 1)

    def _read(self, place: float) -> CurvePoint:
        """Interpolate the curve, onsets in logits, at an index with a fraction."""
        index = min(int(place), _LAST - 1)
        left, right = self.curve[index], self.curve[index + 1]
        share = place - index
        if share in (0, 1):
            return right if share else left
        logit = (1 - share) * _logit(left.onset) + share * _logit(right.onset)
        onset = min(max(1 / (1 + math.exp(-logit)), right.onset), left.onset)
        figures = {
            name: _between(getattr(left, name), getattr(right, name), share)
            for name in CurvePoint.model_fields
        }
        return left.model_copy(update={**figures, "onset": onset})


def highest_rate(count: int, hours: float) -> float:
    """Upper limit of a rate an hour with `count` in `hours`, with 95 % confidence.

    Garwood's limit for independent counts: none in T hours still allows 3 / T.
    """
    low, high = float(count), count + 10 * math.sqrt(count + 1)
    for _ in range(_HALVINGS):
        mean = (low + high) / 2
        terms = (
            math.exp(each * math.log(mean) - mean - math.lgamma(each + 1))
            for each in range(count + 1)
        )
        low, high = (mean, high) if sum(terms) > 1 - CONFIDENCE else (low, mean)
    return high / hours


def _logit(score: float) -> float:
    return math.log(score / (1 - score))


def _between(left: float | None, right: float | None, share: float) -> float | None:
    """Interpolate; of a figure that is missing on one side, return the other one.

    Rounding may carry `share` a hair past 1, but not the result past its neighbours.
    """
    if left is None or right is None:
        return right if left is None else left
    return min(max(left + share * (right - left), min(left, right)), max(left, right))
