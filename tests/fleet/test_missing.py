"""Requests for missing numbers: few ranges, of which each is worth its bytes."""

from monitor.fleet.collect.missing import Wanted
from monitor.sinks.publish.record import (
    MOST_RANGES,
    MOST_SEQUENCES,
    decode_wanted,
    encode_wanted,
)


def test_near_holes_become_one_range() -> None:
    wanted = Wanted("yard", "0f0f0f0f")
    assert all(wanted.add(number, number) for number in range(1, 1000, 2))
    assert wanted.add(2000, 2010)
    assert wanted.ranges == [(1, 999), (2000, 2010)]


def test_a_request_has_no_more_than_a_monitor_sends_at_once() -> None:
    wanted = Wanted("yard", "0f0f0f0f")
    assert wanted.add(100, 10**9)
    assert wanted.ranges == [(100, 99 + MOST_SEQUENCES)]
    assert not wanted.add(2 * 10**9, 2 * 10**9)
    assert wanted.ranges == [(100, 99 + MOST_SEQUENCES)]


def test_a_hole_that_is_too_far_waits_for_the_next_request() -> None:
    wanted = Wanted("yard", "0f0f0f0f")
    for number in range(MOST_RANGES):
        assert wanted.add(1000 * number + 1, 1000 * number + 5)
    assert not wanted.add(10**6, 10**6)
    assert wanted.add(1000 * MOST_RANGES - 990, 1000 * MOST_RANGES - 990)
    payload = encode_wanted("f" * 32, wanted.ranges)
    assert decode_wanted(payload) == ("f" * 32, wanted.ranges)
