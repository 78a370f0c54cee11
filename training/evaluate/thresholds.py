"""Calibration: temperatures, and thresholds from a budget of false alarms."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from monitor.model.thresholds import Thresholds

Array = NDArray[np.float32]
_TEMPERATURES = np.geomspace(0.3, 5.0, 57)
_SHIFTS = np.linspace(-4.0, 4.0, 81)
_TAILS = (0.02, 0.1)
"""Shares of the highest negatives from which rates beyond all of them are
extrapolated.  Most false alarms come from a few recordings: the small share shows the
tail of these, the large one that of all others.  The higher rate counts."""
_FEWEST = 5
"""Negatives that a tail has at least."""
_SHARED = 0.75
"""Share of the mean of all labels in the scale of the tail of one."""
LOWEST_ONSET, HIGHEST_ONSET, _LEVELS = 0.3, 0.995, 800
_PRICES = np.geomspace(1e-5, 1e3, 400)
"""Clips, as a share of their label's, that may be missed to save an alarm an hour."""
_SOFTNESS = 0.5
"""Logits over which a clip goes from detected to missed: a few recordings of a label
stand for many that lie between them."""
_OFFSET_SHARE = 0.6


def fit_temperature(logits: Array, present: NDArray[np.bool_]) -> float:
    """Find the temperature at which the highest score is right as often as it states.

    One for all labels: a few recordings do not determine one for each, and different
    ones would change which label stands highest.

    Args:
        logits: (clips, labels), of clips that the network was not trained on.
        present: (clips, labels), whether the label sounds; one in each clip.

    Returns:
        The divisor of the logits; scores are the sigmoid of the quotient.
    """
    if len(logits) == 0:
        return 1.0
    return float(_TEMPERATURES[int(np.argmin(_losses(logits, present, 0.0)))])


def fit_shift(logits: Array, present: NDArray[np.bool_]) -> float:
    """Find what to add to all logits, before the temperature, for scores that are true.

    A head that learned from streams, where a label is rare, states too little of clips
    with a label in each.  Thresholds for a budget move along (Platt, "Probabilistic
    Outputs for Support Vector Machines", 1999).  The arguments are those of
    `fit_temperature`.
    """
    if len(logits) == 0:
        return 0.0
    losses = [_losses(logits, present, shift).min() for shift in _SHIFTS]
    return float(_SHIFTS[int(np.argmin(losses))])


def _losses(
    logits: Array, present: NDArray[np.bool_], shift: float
) -> NDArray[np.float64]:
    """(temperatures,): cross-entropy of the highest score of each clip.

    The targets are Platt's: as if there were one more clip that is right and one that
    is wrong, so that a dozen clips that are all right do not make scores of 1.
    """
    rows, highest = np.arange(len(logits)), logits.argmax(axis=1)
    top = logits[rows, highest].astype(np.float64) + shift
    is_right = present[rows, highest]
    right = int(is_right.sum())
    wrong = len(logits) - right
    targets = np.where(is_right, (right + 1) / (right + 2), 1 / (wrong + 2))
    scaled = top / _TEMPERATURES[:, None]
    losses = np.logaddexp(0, scaled) - targets * scaled
    return np.asarray(losses.mean(axis=1))


@dataclass(frozen=True, slots=True)
class Threshold:
    """Onset and offset threshold of a label, and its rate of false alarms."""

    onset: float
    offset: float
    false_alarms_per_hour: float
    """Expected on material like the negatives."""
    extrapolated: bool
    """The rate is lower than the negatives are long enough to show."""

    def for_card(self) -> Thresholds:
        """Return it as the card of a model has it."""
        return Thresholds(
            onset=self.onset,
            offset=self.offset,
            false_alarms_per_hour=self.false_alarms_per_hour,
        )


def thresholds_for(
    scores: Array,
    hours: float | Sequence[float],
    false_alarms_per_hour: float,
    own: Sequence[Array] = (),
    highest_onset: float | Sequence[float] = HIGHEST_ONSET,
    shared_tail: bool = False,
    lowest_onset: Sequence[float] | None = None,
    is_own_place: bool = False,
) -> list[Threshold]:
    """Find for each label an onset threshold, so that all keep to a budget together.

    The budget goes where it brings most: the thresholds are those that detect the
    largest share of the clips, each label counting alike.  At such a choice all labels
    pay the same price in clips for the next alarm (Everett, "Generalized Lagrange
    Multiplier Method", 1963).  Without clips of every label each
    gets an equal share, and the lowest threshold that keeps it.

    Rates beyond the highest negatives are extrapolated: logits of the highest ones are
    taken to fall off exponentially, as the tails of most distributions do.

    Args:
        scores: (trials, labels): the highest score of each independent segment of
            material without any label, by a network not trained on it.
        hours: Length of the segments together; one for each label if they differ.
        false_alarms_per_hour: Of all labels together.
        own: For each label the scores of clips in which it sounds, by a network not
            trained on them.
        highest_onset: Of all labels or of each; not exceeded even if it costs more
            false alarms: a label that is never detected is worth nothing.
        shared_tail: Extrapolate all labels alike; see `_shared_rates`.
        lowest_onset: Of each label; not below it, whatever the budget.
        is_own_place: The material is of the place where the thresholds are used: no
            rate is lower than was counted there, even if a few false alarms are far
            above all others and stand for no tail.
    """
    floors = np.array([LOWEST_ONSET] if lowest_onset is None else lowest_onset)
    limits = np.broadcast_to(np.array(highest_onset, np.float64), scores.shape[1])
    lowest = min(float(floors.min()), float(limits.min()))
    levels = np.linspace(_logit(lowest), _logit(HIGHEST_ONSET), _LEVELS)
    own_hours = np.broadcast_to(np.array(hours, np.float64), scores.shape[1])
    if shared_tail:
        rates = _shared_rates(scores, 1.0, levels) / own_hours[:, None]
    else:
        rates = np.stack(
            [
                _rates(column, each, levels)
                for column, each in zip(scores.T, own_hours, strict=True)
            ]
        )
    if is_own_place:
        counted = np.stack([_reaching(np.sort(_logits(it)), levels) for it in scores.T])
        rates = np.maximum(rates, counted / own_hours[:, None])
    if own and all(len(each) for each in own):
        detected = np.stack([_detected(each, levels) for each in own])
        chosen = _divide(detected, rates, false_alarms_per_hour)
    else:
        fits = rates <= false_alarms_per_hour / len(rates)
        fits[:, -1] = True
        chosen = fits.argmax(axis=1)
    # Rounding may put the lowest level a hair above its limit.
    logits = np.log(limits / (1 - limits)) + 1e-9
    highest = np.searchsorted(levels, logits, side="right") - 1
    if lowest_onset is not None:
        least = np.searchsorted(levels, np.log(floors / (1 - floors)) - 1e-9)
        chosen = np.maximum(chosen, least)
    found = []
    for label, level in enumerate(np.minimum(chosen, highest)):
        onset = 1 / (1 + float(np.exp(-levels[level])))
        rate = float(rates[label, level])
        offset = round(_OFFSET_SHARE * onset, 3)
        is_beyond = bool(rate * own_hours[label] < 1)
        # Not below the level, which what was counted there would reach.
        onset = ceil(1e4 * onset - 1e-6) / 1e4
        found.append(Threshold(onset, offset, rate, is_beyond))
    return found


def _logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def _logits(scores: Array) -> NDArray[np.float64]:
    clipped = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _rates(
    scores: Array, hours: float, levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(levels,): how many of the negatives (trials,) reach each level, an hour."""
    logits = np.sort(_logits(scores))
    near, far = (_tail_rates(logits, hours, levels, share) for share in _TAILS)
    return np.asarray(np.maximum(near, far))


def _shared_rates(
    scores: Array, hours: float, levels: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(labels, levels): the same of (trials, labels), with similar tails.

    A dozen places show where the tail of a label begins, but hardly how fast it falls:
    one odd place makes it long, none makes it short.  So most of its scale is the mean
    of all labels.
    """
    logits = np.sort(_logits(scores), axis=0)[::-1]
    count = min(len(logits) - 1, max(_FEWEST, int(len(logits) * _TAILS[1])))
    highest = logits[:count]  # (count, labels)
    own = (highest - logits[count]).mean(axis=0)
    scale = np.maximum(_SHARED * own.mean() + (1 - _SHARED) * own, 0.1)
    above = (levels - highest.mean(axis=0)[:, None]) / scale[:, None] + 1
    beyond = count * np.exp(-np.maximum(above, 0))
    counted = len(logits) - np.stack(
        [np.searchsorted(each[::-1], levels) for each in logits.T]
    )
    return np.asarray(np.where(above <= 0, counted, beyond) / hours)


def _tail_rates(
    logits: NDArray[np.float64],
    hours: float,
    levels: NDArray[np.float64],
    share: float,
) -> NDArray[np.float64]:
    """The same of sorted logits, extrapolated from the highest `share` of them."""
    count = min(len(logits), max(_FEWEST, int(len(logits) * share)))
    begin = logits[-count]
    excess = max(float(np.mean(logits[-count:] - begin)), 0.1)
    counted = _reaching(logits, levels)
    beyond = count * np.exp(-np.maximum(levels - begin, 0) / excess)
    return np.asarray(np.where(levels <= begin, counted, beyond) / hours)


def _reaching(
    logits: NDArray[np.float64], levels: NDArray[np.float64]
) -> NDArray[np.intp]:
    """(levels,): how many of sorted logits reach each level."""
    return np.asarray(len(logits) - np.searchsorted(logits, levels))


def _detected(scores: Array, levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(levels,): the share of clips (clips,) that reach each level."""
    above = (_logits(scores)[:, None] - levels) / _SOFTNESS  # (clips, levels)
    return np.asarray((1 / (1 + np.exp(-above))).mean(axis=0))


def _divide(
    detected: NDArray[np.float64], rates: NDArray[np.float64], budget: float
) -> NDArray[np.intp]:
    """(labels,): the level of each, at the lowest price that keeps the budget."""
    rows = np.arange(len(detected))
    for price in _PRICES:
        chosen = np.argmax(detected - price * rates, axis=1)
        if rates[rows, chosen].sum() <= budget:
            break
    return np.asarray(chosen)
