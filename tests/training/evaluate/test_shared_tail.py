"""Rates of false alarms that labels extrapolate alike."""

import numpy as np
import pytest

from training.evaluate.thresholds import thresholds_for

HOURS = 2.0


def places(count: int = 200, odd: float = 0.0) -> np.ndarray:
    """The highest scores of places; one odd place for the first of three labels."""
    r = np.random.default_rng(0)
    logits = -4 + r.exponential(1.0, (count, 3))
    logits[0, 0] += odd
    return (1 / (1 + np.exp(-logits))).astype(np.float32)


def logit(score: float) -> float:
    return float(np.log(score / (1 - score)))


def test_the_rate_at_a_threshold_is_that_of_the_tail():
    found = thresholds_for(places(), HOURS, 0.3, shared_tail=True)
    # exp(-(x + 4)) of 200 places in two hours, a tenth an hour: x = ln(1000) - 4.
    expected = np.log(200 / HOURS / 0.1) - 4
    for each in found:
        assert logit(each.onset) == pytest.approx(expected, abs=0.7)
        assert each.false_alarms_per_hour == pytest.approx(0.1, rel=0.05)


def test_one_odd_place_does_not_silence_its_label():
    plain = thresholds_for(places(), HOURS, 0.3, shared_tail=True)
    shared = thresholds_for(places(odd=8.0), HOURS, 0.3, shared_tail=True)
    alone = thresholds_for(places(odd=8.0), HOURS, 0.3)
    assert logit(shared[0].onset) - logit(plain[0].onset) < 2
    assert logit(alone[0].onset) > logit(shared[0].onset) + 1
