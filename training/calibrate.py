"""What scores mean: temperatures, and thresholds from a budget of false alarms."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_TEMPERATURES = np.geomspace(0.3, 5.0, 57)
_TAIL = 0.1
"""Share of the highest negatives from which rates beyond all of them are judged."""
_LOWEST_ONSET, _HIGHEST_ONSET = 0.3, 0.99
_OFFSET_SHARE = 0.6
_LEVELS = 120
_WORTHS = np.geomspace(1e-3, 1e3, 200)
"""Shares of a label's events that one false alarm an hour less may cost."""


def fit_temperature(logits: Array, present: NDArray[np.bool_]) -> float:
    """Find the temperature at which the scores are most likely.

    One for all labels: a few recordings cannot tell one for each, and different ones
    would change which label stands highest.

    Args:
        logits: (clips, labels), of clips that the network has not heard.
        present: (clips, labels), whether the label sounds.

    Returns:
        What logits are divided by; scores are the sigmoid of that.
    """
    if len(logits) == 0:
        return 1.0
    margins = np.where(present, logits, -logits).astype(np.float64)
    losses = [
        float(np.logaddexp(0, -margins / temperature).mean())
        for temperature in _TEMPERATURES
    ]
    return float(_TEMPERATURES[int(np.argmin(losses))])


@dataclass(frozen=True, slots=True)
class Threshold:
    """Where a label begins and ends, and how often that is wrong."""

    onset: float
    offset: float
    false_alarms_per_hour: float
    """What is to be expected on material like the negatives."""
    extrapolated: bool
    """The rate is lower than the negatives are long enough to show."""


def thresholds_for(
    scores: Array,
    hours: float,
    false_alarms_per_hour: float,
    highest: Array | None = None,
    events: Sequence[Array] | None = None,
) -> list[Threshold]:
    """Find onset thresholds for a budget of false alarms.

    With events the labels share the budget so that they miss the fewest, each label
    counting as much as any other: one that hardly ever errs leaves its part to others.
    Without, each gets an equal share.

    Rates beyond the highest negative are extrapolated: logits of the highest tenth
    are taken to fall off exponentially, as the tails of most distributions do.

    Args:
        scores: (trials, labels): the highest score of each independent stretch of
            material without any label, by a network that has not heard it.
        hours: How long the stretches are together.
        false_alarms_per_hour: Of all labels together.
        highest: (labels,), thresholds that are not exceeded, though it cost more false
            alarms: a label that is never told is worth nothing.
        events: For each label the highest scores of true events, which no network has
            heard either; a label without any gets an equal share.
    """
    labels = scores.shape[1]
    most = np.full(labels, _HIGHEST_ONSET) if highest is None else highest
    tails = [_Tail.of(scores[:, label], hours) for label in range(labels)]
    share = false_alarms_per_hour / labels
    wanted = [tail.at_rate(share) for tail in tails]
    told = [] if events is None else [i for i, own in enumerate(events) if len(own)]
    if events is not None and told:
        chosen = _fewest_missed(
            [tails[label] for label in told],
            [logits_of(events[label]) for label in told],
            share * len(told),
        )
        for label, level in zip(told, chosen, strict=True):
            wanted[label] = level
    found = []
    for label, tail in enumerate(tails):
        limit = float(np.clip(most[label], _LOWEST_ONSET, _HIGHEST_ONSET))
        onset = float(np.clip(1 / (1 + np.exp(-wanted[label])), _LOWEST_ONSET, limit))
        rate = tail.rate_above(float(np.log(onset / (1 - onset))))
        found.append(
            Threshold(
                round(onset, 3), round(_OFFSET_SHARE * onset, 3), rate, rate * hours < 1
            )
        )
    return found


def logits_of(scores: Array) -> NDArray[np.float64]:
    """The logits of scores, finite ones."""
    clipped = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


@dataclass(frozen=True, slots=True)
class _Tail:
    """How often a label's highest scores come in material without it."""

    logits: NDArray[np.float64]
    """(trials,), rising."""
    hours: float

    @classmethod
    def of(cls, scores: Array, hours: float) -> "_Tail":
        return cls(np.sort(logits_of(scores)), hours)

    def _shape(self) -> tuple[float, float, int]:
        """Where the tail begins, its mean excess, and how many trials are in it."""
        count = max(2, int(len(self.logits) * _TAIL))
        begin = float(self.logits[-count])
        excess = float(np.mean(self.logits[-count:] - begin))
        return begin, max(excess, 0.1), count

    def at_rate(self, rate: float) -> float:
        """The level that is exceeded so often."""
        begin, excess, count = self._shape()
        allowed = rate * self.hours  # in as much material as this
        return begin + excess * float(np.log(count / allowed))

    def rate_above(self, level: float) -> float:
        """How often an hour a level is exceeded."""
        begin, excess, count = self._shape()
        if level <= begin:
            return float((self.logits >= level).sum() / self.hours)
        return count / self.hours * float(np.exp(-(level - begin) / excess))


def _fewest_missed(
    tails: Sequence[_Tail], events: Sequence[NDArray[np.float64]], budget: float
) -> list[float]:
    """One level for each label: together within the budget, fewest events below.

    At the best levels a further false alarm an hour would bring every label as much:
    its worth is raised until the budget is kept.
    """
    low, high = (float(np.log(p / (1 - p))) for p in (_LOWEST_ONSET, _HIGHEST_ONSET))
    levels = np.linspace(low, high, _LEVELS)
    missed = [np.array([(own < level).mean() for level in levels]) for own in events]
    rates = [np.array([tail.rate_above(level) for level in levels]) for tail in tails]
    chosen = [_LEVELS - 1] * len(tails)
    for worth in _WORTHS:
        chosen = [
            int(np.argmin(lost + worth * rate))
            for lost, rate in zip(missed, rates, strict=True)
        ]
        if sum(rate[at] for rate, at in zip(rates, chosen, strict=True)) <= budget:
            break
    return [float(levels[at]) for at in chosen]
