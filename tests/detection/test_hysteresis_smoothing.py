"""The moving average."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detection.hysteresis import MovingAverage


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(1, 12))
def test_it_is_the_mean_of_the_newest_scores_however_many_there_are(
    scores: list[float], hops: int
):
    average = MovingAverage(hops)
    means = [average.push(score) for score in scores]
    wanted = [np.mean(scores[max(0, n - hops + 1) : n + 1]) for n in range(len(scores))]
    assert means == pytest.approx(wanted)


def test_after_a_restart_it_knows_nothing_of_before():
    average = MovingAverage(3)
    average.push(1.0)
    average.restart()
    assert average.push(0.2) == 0.2


def test_what_is_silenced_counts_as_zeros():
    average = MovingAverage(3)
    average.push(1.0)
    average.push(1.0)
    average.silence()
    assert average.push(0.9) == pytest.approx(0.3)
