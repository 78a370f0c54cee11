"""The level of an event is that of its hops."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detection.event_level import EventLevel, Hop, newest_hop
from monitor.records import HopLevels, ScoreFrame
from tests.support.scores import SimulatedNetwork, Sound

HOP = 10


def hops(*levels: float) -> list[Hop]:
    return [
        newest_hop(ScoreFrame("a", k * HOP, (k + 1) * HOP, (), (), v, v, v), k * HOP)
        for k, v in enumerate(levels)
    ]


def test_every_hop_with_a_sample_in_the_interval_counts_whole():
    level = EventLevel(hops(0, -40, -20, -20, 0))
    assert level.measure(19, 31)[:2] == pytest.approx(
        (-20, 10 * math.log10((1e-4 + 1e-2 + 1e-2) / 3))
    )
    assert level.measure(20, 30)[:2] == pytest.approx((-20, -20))


@given(
    st.lists(st.floats(-90, 0), min_size=4, max_size=30),
    st.integers(0, 300),
    st.integers(1, 300),
)
def test_early_sums_do_not_change_the_level(
    levels: list[float], start: int, length: int
):
    start = min(start, len(levels) * HOP - 1)
    stop = min(start + length, len(levels) * HOP)
    all_at_once = EventLevel(hops(*levels))
    step_by_step = EventLevel([])
    for hop in hops(*levels):
        step_by_step.add(hop)
        step_by_step.settle(start, before=min(hop.stop, stop) - 2 * HOP)
    assert step_by_step.measure(start, stop) == pytest.approx(
        all_at_once.measure(start, stop)
    )


def test_summed_hops_are_dropped_from_memory():
    level = EventLevel([])
    for hop in hops(*[-30.0] * 1000):
        level.add(hop)
        level.settle(0, hop.stop - 5 * HOP)
        assert len(level._hops) <= 5


def test_digital_silence_has_a_finite_level():
    assert math.isfinite(EventLevel(hops(-math.inf)).measure(0, 1)[1])


def test_a_window_adds_only_its_new_hops():
    frame = SimulatedNetwork(("a",)).frame([Sound("a", 0, 1000)], 0)
    hop = newest_hop(frame, frame.stop - 7)
    assert (hop.start, hop.stop) == (frame.stop - 7, frame.stop)
    assert hop.level_dbfs == frame.level_dbfs == -50


def test_the_first_window_counts_whole_with_its_loudest_hop():
    frame = SimulatedNetwork(("a",)).frame([Sound("a", 0, 1000)], 0)
    hop = newest_hop(frame, frame.start)
    assert (hop.start, hop.stop) == (0, frame.stop)
    assert hop.level_dbfs == frame.peak_level_dbfs == -20


def test_an_interval_without_a_hop_has_the_level_of_the_first_one():
    """As where an event lies before a reload."""
    level = EventLevel(hops(-40, -30, -20)[1:])
    assert level.measure(0, 9)[:2] == pytest.approx((-30, -30))


def test_the_highest_fast_level_is_that_of_the_hops_in_the_interval():
    """Hops without one, as of a database, leave it unknown."""
    level = EventLevel(hops(-10, -40, -20, -30, -10))
    assert level.measure(10, 40)[2] is None
    fast = [
        replace(hop, window=replace(hop.window, hop_levels=HopLevels(1, 0.0, v, ())))
        for hop, v in zip(hops(*[-40.0] * 5), (-3, -40, -20, -30, -5), strict=True)
    ]
    assert EventLevel(fast).measure(10, 40)[2] == -20


def test_a_highest_level_of_0_db_stays_the_highest():
    levels = [
        replace(hop, window=replace(hop.window, hop_levels=HopLevels(1, 94.0, v, ())))
        for hop, v in zip(hops(-40.0, -40.0), (0.0, -10.0), strict=True)
    ]
    assert EventLevel(levels).measure(0, 20)[2:] == (0.0, 94.0)
