"""Windows and hops lie on one grid that nothing moves."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.runtime.windowing import WindowGrid
from monitor.spec import ModelSpec

GRID = WindowGrid.of(ModelSpec(), 48)


def test_the_default_grid_is_four_seconds_every_half():
    assert GRID.window(0) == (0, 176_640)
    assert GRID.window(3) == (73_728, 250_368)
    assert ModelSpec().seconds(GRID.window_samples) == pytest.approx(4.005, abs=1e-3)


@given(st.integers(0, 10**12))
def test_the_first_window_from_a_sample_is_the_first(sample):
    index = GRID.first_from(sample)
    assert GRID.window(index)[0] >= sample
    assert index == 0 or GRID.window(index - 1)[0] < sample


@given(st.integers(0, 10**12))
def test_the_next_hop_end_is_an_end_of_a_window_at_most_a_hop_away(sample):
    end = GRID.hop_end_after(sample)
    assert sample < end <= sample + GRID.hop_samples
    assert (end - GRID.window_samples) % GRID.hop_samples == 0
