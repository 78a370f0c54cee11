"""The feed hands over every sample or says in a gap that it is lost."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.feed import Feed
from monitor.records import GapReason, SourceState
from tests.support.feeds import (
    CAPACITY,
    NEWEST,
    RATE,
    assert_tiled,
    make_feed,
    spans,
    write,
)
from tests.support.signals import numbered

REASONS: list[GapReason] = ["stalled", "ended", "unplugged", "invalid"]
WRITE = st.tuples(st.just("write"), st.integers(0, 100))
STEPS = st.one_of(
    WRITE,
    WRITE,
    st.tuples(st.sampled_from(REASONS), st.integers(0, 100)),
    st.tuples(st.just("open"), st.integers(1, 2)),
    st.tuples(st.just("state"), st.just(0)),
    st.tuples(st.just("take"), st.just(0)),
)


@settings(max_examples=150)
@given(steps=st.lists(STEPS, max_size=40))
def test_blocks_and_gaps_tell_what_became_of_every_sample(
    steps: list[tuple[str, int]],
) -> None:
    feed = make_feed()
    channels = 1
    fate: list[str] = []  # of each sample, as the capture thread knows it
    states: list[str] = []
    for step, count in [*steps, ("take", 0)]:
        if step == "write":
            write(feed, count, channels)
            fate += [f"{channels} channels"] * count
        elif step == "open":
            channels = count
            feed.open(channels)
        elif step == "state":
            states.append(f"state at {feed.stop}")
            feed.state("listening", states[-1])
        elif step == "take":
            start = feed.taken
            pieces = feed.take()
            tiles = spans(pieces)
            assert_tiled(tiles, start, feed.stop)
            assert feed.taken == feed.stop == len(fate)
            for tile_start, tile_stop, kind in tiles:
                truth = set(fate[tile_start:tile_stop])
                if kind == "overrun":
                    assert feed.stop - start > CAPACITY, "a loss without need"
                    assert truth <= {"1 channels", "2 channels"}
                    assert tile_stop <= max(start, feed.stop - NEWEST)
                else:
                    assert truth == {kind}
            assert states == [p.detail for p in pieces if isinstance(p, SourceState)]
            states.clear()
        else:
            feed.lose(count, step)  # type: ignore[arg-type]
            fate += [step] * count


def test_states_stand_between_the_samples_before_and_after_them() -> None:
    feed = make_feed()
    write(feed, 10)
    feed.state("waiting", "unplugged")
    feed.lose(5, "unplugged")
    feed.state("listening", "back")
    write(feed, 10)

    before, waiting, gap, listening, after = feed.take()

    assert spans([before, gap, after]) == [
        (0, 10, "1 channels"),
        (10, 15, "unplugged"),
        (15, 25, "1 channels"),
    ]
    assert waiting == SourceState("street", "waiting", "unplugged")
    assert listening == SourceState("street", "listening", "back")
    assert feed.state_name == "listening"


def test_what_came_in_many_blocks_is_taken_as_one() -> None:
    feed = make_feed(channels=2)
    for count in (1, 7, 20, 0, 3):
        write(feed, count, channels=2)

    assert spans(feed.take()) == [(0, 31, "2 channels")]
    assert feed.take() == []


def test_neighbouring_gaps_of_one_reason_are_one() -> None:
    feed = make_feed()
    feed.lose(10, "stalled")
    feed.lose(10, "stalled")
    feed.lose(10, "ended")

    assert spans(feed.take()) == [(0, 20, "stalled"), (20, 30, "ended")]


def test_a_lapped_worker_goes_on_at_the_newest_part() -> None:
    feed = make_feed()
    write(feed, 20)
    feed.take()
    for _ in range(9):
        write(feed, 10)

    assert spans(feed.take()) == [(20, 64, "overrun"), (64, 110, "1 channels")]


def test_a_gap_within_a_lost_stretch_keeps_its_reason() -> None:
    feed = make_feed()
    write(feed, 30)
    feed.lose(5, "invalid")
    write(feed, 85)

    assert spans(feed.take()) == [
        (0, 30, "overrun"),
        (30, 35, "invalid"),
        (35, 74, "overrun"),
        (74, 120, "1 channels"),
    ]


def test_a_block_larger_than_the_ring_leaves_its_newest_part() -> None:
    feed = make_feed()
    write(feed, 1000)

    assert spans(feed.take()) == [(0, 954, "overrun"), (954, 1000, "1 channels")]


def test_stretches_of_other_channels_are_both_taken() -> None:
    feed = make_feed(channels=1)
    write(feed, 30, channels=1)
    feed.open(2)
    feed.lose(20, "ended")
    write(feed, 30, channels=2)

    assert spans(feed.take()) == [
        (0, 30, "1 channels"),
        (30, 50, "ended"),
        (50, 80, "2 channels"),
    ]


def test_samples_can_be_lost_before_the_source_opens() -> None:
    feed = Feed("street", RATE, CAPACITY / RATE)
    feed.lose(500, "unplugged")
    feed.open(1)
    write(feed, 10)

    assert spans(feed.take()) == [(0, 500, "unplugged"), (500, 510, "1 channels")]


def test_lost_samples_and_gaps_are_counted() -> None:
    feed = make_feed()
    feed.lose(10, "stalled")
    feed.take()
    feed.lose(10, "stalled")  # the same gap, going on
    feed.take()
    assert (feed.lost_samples, feed.gaps) == (20, 1)

    write(feed, 100)
    feed.take()
    assert (feed.lost_samples, feed.gaps) == (74, 2)


def test_what_waits_for_a_worker_that_hangs_is_bounded() -> None:
    feed = make_feed()
    for index in range(20_000):
        write(feed, 1)
        feed.lose(1, "invalid")
        feed.state("listening", f"state {index}")
    pieces = feed.take()

    assert len(pieces) < 2000
    tiles = spans(pieces)
    assert_tiled(tiles, 0, 40_000)
    assert tiles[0][2] == "overrun"
    assert tiles[-1][2] == "invalid"
    assert pieces[-1] == SourceState("street", "listening", "state 19999")
    assert len(feed.arrivals()) < 5000


def test_the_newest_state_is_told_however_much_has_been_given_up() -> None:
    feed = make_feed()
    feed.state("opening", "first")
    feed.state("listening", "second")
    for _ in range(5000):
        write(feed, 1)
        feed.lose(1, "invalid")

    states = [piece for piece in feed.take() if isinstance(piece, SourceState)]
    assert states == [SourceState("street", "listening", "second")]


def test_a_source_that_only_tells_its_state_fills_nothing_either() -> None:
    feed = make_feed()
    for index in range(5000):
        feed.state("waiting", f"attempt {index}")

    assert len(feed.take()) < 2000


def test_arrivals_are_told_once() -> None:
    feed = make_feed()
    feed.write(numbered(0, 10), now=5.0)
    feed.lose(5, "stalled")
    feed.write(numbered(15, 10), now=6.5)

    assert feed.arrivals() == [(10, 5.0), (25, 6.5)]
    assert feed.arrivals() == []


def test_the_worker_is_woken_by_all_that_can_be_taken() -> None:
    feed = make_feed()
    feed.wakeup = threading.Event()
    deliveries: list[Callable[[], None]] = [
        lambda: write(feed, 1),
        lambda: feed.lose(1, "stalled"),
        lambda: feed.state("waiting", "unplugged"),
    ]
    for deliver in deliveries:
        deliver()
        assert feed.wakeup.is_set()
        feed.wakeup.clear()
        assert len(feed.take()) == 1


def test_gaps_and_states_and_a_crowded_ring_are_not_to_wait_for_more_sound() -> None:
    feed = make_feed()
    write(feed, 40)
    assert not feed.has_marks
    write(feed, 1)
    assert feed.has_marks
    feed.take()
    assert not feed.has_marks
    feed.lose(1, "stalled")
    assert feed.has_marks
    feed.take()
    feed.state("listening", "")
    assert feed.has_marks
    feed.take()
    assert not feed.has_marks


def test_a_block_before_the_source_opens_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        write(Feed("street", RATE, 8), 1)


def test_a_feed_may_go_on_counting_where_another_stopped() -> None:
    feed = Feed("street", RATE, CAPACITY / RATE, start=1000)
    feed.open(1)
    write(feed, 30)
    feed.lose(5, "stalled")
    assert spans(feed.take()) == [(1000, 1030, "1 channels"), (1030, 1035, "stalled")]
    assert (feed.start, feed.taken, feed.stop) == (1000, 1035, 1035)


@pytest.mark.parametrize("capacity", [50, 300])
def test_another_capacity_loses_nothing_that_waits(capacity: int) -> None:
    feed = make_feed()
    write(feed, 60)
    feed.keep(capacity / RATE)
    write(feed, 20)
    write(feed, 10)
    assert_tiled(spans(feed.take()), 0, 90)
    assert feed.lost_samples == 0
    first, samples = feed.past(0, 90)
    assert first == max(0, 90 - capacity)
    np.testing.assert_array_equal(samples, numbered(first, 90 - first))


def test_with_another_capacity_so_much_can_wait() -> None:
    feed = make_feed()
    feed.keep(300 / RATE)
    write(feed, 280)
    assert spans(feed.take()) == [(0, 280, "1 channels")]
