"""The shift that makes scores true."""

import numpy as np
import pytest

from training.evaluate.thresholds import fit_shift, fit_temperature


def test_the_shift_of_logits_that_are_too_low_is_found():
    r = np.random.default_rng(0)
    true = r.normal(1.5, 2.0, 4000)
    present = r.random(4000) < 1 / (1 + np.exp(-true))
    # Of two labels the second one never is the highest.
    logits = np.stack([true - 2.0, np.full(4000, -50.0)], axis=1).astype(np.float32)
    truth = np.stack([present, ~present], axis=1)
    shift = fit_shift(logits, truth)
    assert shift == pytest.approx(2.0, abs=0.3)
    assert fit_temperature(logits + np.float32(shift), truth) == pytest.approx(1, 0.15)


def test_without_clips_nothing_is_shifted():
    assert fit_shift(np.zeros((0, 2), np.float32), np.zeros((0, 2), bool)) == 0


@pytest.mark.parametrize("count", [6, 15, 60])
def test_a_few_clips_that_are_all_right_do_not_make_scores_of_one(count: int):
    r = np.random.default_rng(1)
    logits = r.normal(2, 1, (count, 1)).astype(np.float32)
    right = np.ones((count, 1), bool)
    shift = fit_shift(logits, right)
    shifted = logits + np.float32(shift)
    scores = 1 / (1 + np.exp(-shifted / fit_temperature(shifted, right)))
    assert scores.mean() == pytest.approx((count + 1) / (count + 2), abs=0.02)
    assert scores.max() < 0.999
