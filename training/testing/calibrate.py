"""What scores mean: temperatures, and thresholds from a budget of false alarms."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
_TEMPERATURES = np.geomspace(0.3, 5.0, 57)
_TAIL = 0.1
"""Share of the highest negatives from which rates beyond all of them are judged."""
_LOWEST_ONSET, _HIGHEST_ONSET = 0.3, 0.999
_OFFSET_SHARE = 0.6


def fit_temperature(logits: Array, present: NDArray[np.bool_]) -> float:
    """Find the temperature at which the highest score is as often right as it says.

    One for all labels: a few recordings cannot tell one for each, and different ones
    would change which label stands highest.

    Args:
        logits: (clips, labels), of clips that the network has not heard.
        present: (clips, labels), whether the label sounds; one in each clip.

    Returns:
        What logits are divided by; scores are the sigmoid of that.
    """
    if len(logits) == 0:
        return 1.0
    rows, highest = np.arange(len(logits)), logits.argmax(axis=1)
    told = logits[rows, highest].astype(np.float64)
    margins = np.where(present[rows, highest], told, -told)
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
    highest_onset: float = _HIGHEST_ONSET,
) -> list[Threshold]:
    """Find for each label the lowest onset threshold that keeps its share of a budget.

    Rates beyond the highest negative are extrapolated: logits of the highest tenth
    are taken to fall off exponentially, as the tails of most distributions do.

    Args:
        scores: (trials, labels): the highest score of each independent stretch of
            material without any label, by a network that has not heard it.
        hours: How long the stretches are together.
        false_alarms_per_hour: Of all labels together.
        highest_onset: Is not exceeded, though it cost more false alarms: a label that
            is never told is worth nothing.
    """
    labels = scores.shape[1]
    budget = false_alarms_per_hour / labels
    found = []
    for label in range(labels):
        clipped = np.clip(scores[:, label].astype(np.float64), 1e-6, 1 - 1e-6)
        logits = np.sort(np.log(clipped / (1 - clipped)))
        wanted = _at_rate(logits, hours, budget)
        onset = float(np.clip(1 / (1 + np.exp(-wanted)), _LOWEST_ONSET, highest_onset))
        rate = _rate_above(logits, hours, float(np.log(onset / (1 - onset))))
        found.append(
            Threshold(
                round(onset, 3),
                round(_OFFSET_SHARE * onset, 3),
                float(rate),
                rate * hours < 1,
            )
        )
    return found


def _tail(logits: NDArray[np.float64]) -> tuple[float, float, int]:
    """Where the tail begins, its mean excess, and how many trials are in it."""
    count = max(2, int(len(logits) * _TAIL))
    begin = float(logits[-count])
    excess = float(np.mean(logits[-count:] - begin))
    return begin, max(excess, 0.1), count


def _at_rate(logits: NDArray[np.float64], hours: float, rate: float) -> float:
    begin, excess, count = _tail(logits)
    allowed = rate * hours  # in as much material as this
    return begin + excess * float(np.log(count / allowed))


def _rate_above(logits: NDArray[np.float64], hours: float, level: float) -> float:
    begin, excess, count = _tail(logits)
    if level <= begin:
        return float((logits >= level).sum() / hours)
    return count / hours * float(np.exp(-(level - begin) / excess))
