"""The timeline hands over every sample or says in a gap that it is lost."""

import threading
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.timeline import Timeline
from monitor.records import GapReason, SourceState
from tests.support.signals import numbered
from tests.support.timelines import (
    CAPACITY,
    NEWEST,
    RATE,
    assert_tiled,
    make_feed,
    spans,
    write,
)

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
    timeline = make_feed()
    channels = 1
    fate: list[str] = []  # of each sample, as the capture thread knows it
    states: list[str] = []
    for step, count in [*steps, ("take", 0)]:
        if step == "write":
            write(timeline, count, channels)
            fate += [f"{channels} channels"] * count
        elif step == "open":
            channels = count
            timeline.open(channels)
        elif step == "state":
            states.append(f"state at {timeline.stop}")
            timeline.state("listening", states[-1])
        elif step == "take":
            start = timeline.taken
            pieces = timeline.take()
            tiles = spans(pieces)
            assert_tiled(tiles, start, timeline.stop)
            assert timeline.taken == timeline.stop == len(fate)
            for tile_start, tile_stop, kind in tiles:
                truth = set(fate[tile_start:tile_stop])
                if kind == "overrun":
                    assert timeline.stop - start > CAPACITY, "a loss without need"
                    assert truth <= {"1 channels", "2 channels"}
                    assert tile_stop <= max(start, timeline.stop - NEWEST)
                else:
                    assert truth == {kind}
            assert states == [p.detail for p in pieces if isinstance(p, SourceState)]
            states.clear()
        else:
            timeline.lose(count, step)  # type: ignore[arg-type]
            fate += [step] * count


def test_states_stand_between_the_samples_before_and_after_them() -> None:
    timeline = make_feed()
    write(timeline, 10)
    timeline.state("waiting", "unplugged")
    timeline.lose(5, "unplugged")
    timeline.state("listening", "back")
    write(timeline, 10)

    before, waiting, gap, listening, after = timeline.take()

    assert spans([before, gap, after]) == [
        (0, 10, "1 channels"),
        (10, 15, "unplugged"),
        (15, 25, "1 channels"),
    ]
    assert waiting == SourceState("street", "waiting", "unplugged")
    assert listening == SourceState("street", "listening", "back")
    assert timeline.state_name == "listening"


def test_what_came_in_many_blocks_is_taken_as_one() -> None:
    timeline = make_feed(channels=2)
    for count in (1, 7, 20, 0, 3):
        write(timeline, count, channels=2)

    assert spans(timeline.take()) == [(0, 31, "2 channels")]
    assert timeline.take() == []


def test_neighbouring_gaps_of_one_reason_are_one() -> None:
    timeline = make_feed()
    timeline.lose(10, "stalled")
    timeline.lose(10, "stalled")
    timeline.lose(10, "ended")

    assert spans(timeline.take()) == [(0, 20, "stalled"), (20, 30, "ended")]


def test_a_lapped_worker_goes_on_at_the_newest_part() -> None:
    timeline = make_feed()
    write(timeline, 20)
    timeline.take()
    for _ in range(9):
        write(timeline, 10)

    assert spans(timeline.take()) == [(20, 64, "overrun"), (64, 110, "1 channels")]


def test_a_gap_within_a_lost_stretch_keeps_its_reason() -> None:
    timeline = make_feed()
    write(timeline, 30)
    timeline.lose(5, "invalid")
    write(timeline, 85)

    assert spans(timeline.take()) == [
        (0, 30, "overrun"),
        (30, 35, "invalid"),
        (35, 74, "overrun"),
        (74, 120, "1 channels"),
    ]


def test_a_block_larger_than_the_ring_leaves_its_newest_part() -> None:
    timeline = make_feed()
    write(timeline, 1000)

    assert spans(timeline.take()) == [(0, 954, "overrun"), (954, 1000, "1 channels")]


def test_stretches_of_other_channels_are_both_taken() -> None:
    timeline = make_feed(channels=1)
    write(timeline, 30, channels=1)
    timeline.open(2)
    timeline.lose(20, "ended")
    write(timeline, 30, channels=2)

    assert spans(timeline.take()) == [
        (0, 30, "1 channels"),
        (30, 50, "ended"),
        (50, 80, "2 channels"),
    ]


def test_samples_can_be_lost_before_the_source_opens() -> None:
    timeline = Timeline("street", RATE, CAPACITY / RATE)
    timeline.lose(500, "unplugged")
    timeline.open(1)
    write(timeline, 10)

    assert spans(timeline.take()) == [(0, 500, "unplugged"), (500, 510, "1 channels")]


def test_lost_samples_and_gaps_are_counted() -> None:
    timeline = make_feed()
    timeline.lose(10, "stalled")
    timeline.take()
    timeline.lose(10, "stalled")  # the same gap, going on
    timeline.take()
    assert (timeline.lost_samples, timeline.gaps) == (20, 1)

    write(timeline, 100)
    timeline.take()
    assert (timeline.lost_samples, timeline.gaps) == (74, 2)


def test_what_waits_for_a_worker_that_hangs_is_bounded() -> None:
    timeline = make_feed()
    for index in range(20_000):
        write(timeline, 1)
        timeline.lose(1, "invalid")
        timeline.state("listening", f"state {index}")
    pieces = timeline.take()

    assert len(pieces) < 2000
    tiles = spans(pieces)
    assert_tiled(tiles, 0, 40_000)
    assert tiles[0][2] == "overrun"
    assert tiles[-1][2] == "invalid"
    assert pieces[-1] == SourceState("street", "listening", "state 19999")
    assert len(timeline.arrivals()) < 5000


def test_the_newest_state_is_told_however_much_has_been_given_up() -> None:
    timeline = make_feed()
    timeline.state("opening", "first")
    timeline.state("listening", "second")
    for _ in range(5000):
        write(timeline, 1)
        timeline.lose(1, "invalid")

    states = [piece for piece in timeline.take() if isinstance(piece, SourceState)]
    assert states == [SourceState("street", "listening", "second")]


def test_a_source_that_only_tells_its_state_fills_nothing_either() -> None:
    timeline = make_feed()
    for index in range(5000):
        timeline.state("waiting", f"attempt {index}")

    assert len(timeline.take()) < 2000


def test_arrivals_are_told_once() -> None:
    timeline = make_feed()
    timeline.write(numbered(0, 10), now=5.0)
    timeline.lose(5, "stalled")
    timeline.write(numbered(15, 10), now=6.5)

    assert timeline.arrivals() == [(10, 5.0), (25, 6.5)]
    assert timeline.arrivals() == []


def test_the_worker_is_woken_by_all_that_can_be_taken() -> None:
    timeline = make_feed()
    timeline.wakeup = threading.Event()
    deliveries: list[Callable[[], None]] = [
        lambda: write(timeline, 1),
        lambda: timeline.lose(1, "stalled"),
        lambda: timeline.state("waiting", "unplugged"),
    ]
    for deliver in deliveries:
        deliver()
        assert timeline.wakeup.is_set()
        timeline.wakeup.clear()
        assert len(timeline.take()) == 1


def test_gaps_and_states_and_a_crowded_ring_are_not_to_wait_for_more_sound() -> None:
    timeline = make_feed()
    write(timeline, 40)
    assert not timeline.has_marks
    write(timeline, 1)
    assert timeline.has_marks
    timeline.take()
    assert not timeline.has_marks
    timeline.lose(1, "stalled")
    assert timeline.has_marks
    timeline.take()
    timeline.state("listening", "")
    assert timeline.has_marks
    timeline.take()
    assert not timeline.has_marks


def test_a_block_before_the_source_opens_is_our_own_mistake() -> None:
    with pytest.raises(AssertionError):
        write(Timeline("street", RATE, 8), 1)


def test_a_feed_may_go_on_counting_where_another_stopped() -> None:
    timeline = Timeline("street", RATE, CAPACITY / RATE, start=1000)
    timeline.open(1)
    write(timeline, 30)
    timeline.lose(5, "stalled")
    assert spans(timeline.take()) == [
        (1000, 1030, "1 channels"),
        (1030, 1035, "stalled"),
    ]
    assert (timeline.start, timeline.taken, timeline.stop) == (1000, 1035, 1035)


@pytest.mark.parametrize("capacity", [50, 300])
def test_another_capacity_loses_nothing_that_waits(capacity: int) -> None:
    timeline = make_feed()
    write(timeline, 60)
    timeline.keep(capacity / RATE)
    write(timeline, 20)
    write(timeline, 10)
    assert_tiled(spans(timeline.take()), 0, 90)
    assert timeline.lost_samples == 0
    first, samples = timeline.past(0, 90)
    assert first == max(0, 90 - capacity)
    np.testing.assert_array_equal(samples, numbered(first, 90 - first))


def test_with_another_capacity_so_much_can_wait() -> None:
    timeline = make_feed()
    timeline.keep(300 / RATE)
    write(timeline, 280)
    assert spans(timeline.take()) == [(0, 280, "1 channels")]
