import numpy as np
import pytest

from training.evaluate.thresholds import Threshold, fit_temperature, thresholds_for


def test_the_temperature_makes_the_highest_score_right_as_often_as_it_states() -> None:
    r = np.random.default_rng(0)
    honest = r.normal(0, 2, (6000, 2)).astype(np.float32)
    present = r.random((6000, 2)) < 1 / (1 + np.exp(-honest))
    assert fit_temperature(honest * 3, present) == pytest.approx(3, rel=0.1)
    assert fit_temperature(honest, present) == pytest.approx(1, rel=0.1)


def test_the_budget_goes_to_the_labels_that_it_helps() -> None:
    """One label is often mistaken, the other never; an alarm an hour is allowed."""
    r = np.random.default_rng(0)
    hours = 10

    def scores(logits: np.ndarray) -> np.ndarray:
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    silent = scores(r.normal([-1.0, -5.0], 1.0, (hours * 720, 2)))
    own = [scores(r.normal(1.0, 1.0, 200)) for _ in range(2)]
    equal = thresholds_for(silent, hours, 1)
    divided = thresholds_for(silent, hours, 1, own)
    assert sum(each.false_alarms_per_hour for each in divided) <= 1

    def detected(found: list[Threshold]) -> float:
        pairs = zip(own, found, strict=True)
        return float(np.mean([(own >= each.onset).mean() for own, each in pairs]))

    assert detected(divided) > detected(equal)
    assert divided[0].onset < equal[0].onset


def test_no_threshold_exceeds_the_highest_onset() -> None:
    """The budget is exceeded instead, and the rate shows it."""
    r = np.random.default_rng(0)
    scores = (1 / (1 + np.exp(-r.logistic(0, 1, (3000, 1))))).astype(np.float32)
    (free,) = thresholds_for(scores, 3, 0.5)
    (held,) = thresholds_for(scores, 3, 0.5, highest_onset=0.8)
    assert free.onset > 0.9
    assert 0.79 < held.onset <= 0.8
    assert held.false_alarms_per_hour > 10


def test_without_clips_of_every_label_all_have_an_equal_share() -> None:
    r = np.random.default_rng(0)
    scores = (1 / (1 + np.exp(-r.normal(-3, 1, (7200, 2))))).astype(np.float32)
    some = [scores[:50, 0], scores[:0, 1]]
    assert thresholds_for(scores, 10, 1, some) == thresholds_for(scores, 10, 1)


def test_a_threshold_keeps_its_budget_on_new_material() -> None:
    """One alarm an hour for each of two labels, from 20 hours without them."""
    r = np.random.default_rng(0)

    def scores(hours: int) -> np.ndarray:
        logits = r.logistic(-6, 1, (hours * 900, 2))
        return (1 / (1 + np.exp(-logits))).astype(np.float32)

    found = thresholds_for(scores(20), hours=20, false_alarms_per_hour=2)
    new = scores(200)
    for label, threshold in enumerate(found):
        rate = (new[:, label] >= threshold.onset).sum() / 200
        assert 0.3 < rate < 1.5
        assert threshold.offset < threshold.onset


def test_a_rate_that_the_material_cannot_show_is_marked() -> None:
    r = np.random.default_rng(0)
    scores = (1 / (1 + np.exp(-r.normal(-4, 1, (300, 1))))).astype(np.float32)
    (found,) = thresholds_for(scores, hours=0.3, false_alarms_per_hour=0.5)
    assert found.extrapolated
    assert found.false_alarms_per_hour == pytest.approx(0.5, rel=0.05)


def test_a_stricter_budget_gives_higher_thresholds() -> None:
    r = np.random.default_rng(0)
    scores = (1 / (1 + np.exp(-r.logistic(-2, 1, (3000, 1))))).astype(np.float32)
    onsets = [thresholds_for(scores, 3, budget)[0].onset for budget in (50, 5, 0.5)]
    assert onsets == sorted(onsets)
    assert onsets[0] < onsets[-1]
