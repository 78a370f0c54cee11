"""The timeline hands over every sample, or a gap for those that are lost."""

import threading
from collections.abc import Callable

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
    make_timeline,
    spans,
    write,
)

PAST_RATE = 100
PAST_CAPACITY = 500

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
def test_every_sample_is_in_a_block_or_in_a_gap_of_its_reason(
    steps: list[tuple[str, int]],
) -> None:
    timeline = make_timeline()
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
            items = timeline.take()
            tiles = spans(items)
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
            assert states == [p.detail for p in items if isinstance(p, SourceState)]
            states.clear()
        else:
            timeline.lose(count, step)
            fate += [step] * count


def test_states_are_in_order_with_the_samples_around_them() -> None:
    timeline = make_timeline()
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


def test_many_blocks_are_taken_as_one() -> None:
    timeline = make_timeline(channels=2)
    for count in (1, 7, 20, 0, 3):
        write(timeline, count, channels=2)

    assert spans(timeline.take()) == [(0, 31, "2 channels")]
    assert timeline.take() == []


def test_neighbouring_gaps_of_one_reason_are_one() -> None:
    timeline = make_timeline()
    timeline.lose(10, "stalled")
    timeline.lose(10, "stalled")
    timeline.lose(10, "ended")

    assert spans(timeline.take()) == [(0, 20, "stalled"), (20, 30, "ended")]


def test_a_lapped_worker_goes_on_with_what_the_ring_still_has() -> None:
    timeline = make_timeline()
    write(timeline, 20)
    timeline.take()
    for _ in range(9):
        write(timeline, 10)

    assert spans(timeline.take()) == [(20, 35, "overrun"), (35, 110, "1 channels")]


def test_a_gap_within_lost_samples_keeps_its_reason() -> None:
    timeline = make_timeline()
    write(timeline, 30)
    timeline.lose(5, "invalid")
    write(timeline, 85)

    assert spans(timeline.take()) == [
        (0, 30, "overrun"),
        (30, 35, "invalid"),
        (35, 45, "overrun"),
        (45, 120, "1 channels"),
    ]


def test_a_block_larger_than_the_ring_leaves_its_newest_part() -> None:
    timeline = make_timeline()
    write(timeline, 1000)

    assert spans(timeline.take()) == [(0, 925, "overrun"), (925, 1000, "1 channels")]


def test_blocks_of_other_channels_are_both_taken() -> None:
    timeline = make_timeline(channels=1)
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


def test_a_late_worker_may_take_the_newest_samples_only() -> None:
    timeline = make_timeline()
    write(timeline, 30)
    timeline.lose(5, "stalled")
    write(timeline, 40)
    assert timeline.pending_samples == 70

    assert spans(timeline.take(25)) == [
        (0, 30, "overrun"),
        (30, 35, "stalled"),
        (35, 50, "overrun"),
        (50, 75, "1 channels"),
    ]
    assert timeline.pending_samples == 0
    write(timeline, 20)
    assert spans(timeline.take(25)) == [(75, 95, "1 channels")]


def test_the_arrivals_that_wait_for_a_worker_that_hangs_are_bounded() -> None:
    timeline = make_timeline()
    for _ in range(20_000):
        write(timeline, 1)

    assert len(timeline.arrivals()) < 5000


def test_arrivals_are_returned_once() -> None:
    timeline = make_timeline()
    timeline.write(numbered(0, 10), now=5.0)
    timeline.lose(5, "stalled")
    timeline.write(numbered(15, 10), now=6.5)

    assert timeline.arrivals() == [(10, 5.0), (25, 6.5)]
    assert timeline.arrivals() == []


def test_every_item_wakes_the_worker() -> None:
    timeline = make_timeline()
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


def test_blocks_wake_the_worker_only_once_it_wants_them() -> None:
    timeline = make_timeline()
    timeline.wakeup = threading.Event()
    timeline.due_at = 10
    for _ in range(3):
        write(timeline, 3)
        assert not timeline.is_due
        assert not timeline.wakeup.is_set()
    write(timeline, 3)
    assert timeline.is_due
    assert timeline.wakeup.is_set()


def test_gaps_and_states_and_a_crowded_ring_are_urgent() -> None:
    timeline = make_timeline()
    write(timeline, 40)
    assert not timeline.is_urgent
    write(timeline, 1)
    assert timeline.is_urgent
    timeline.take()
    assert not timeline.is_urgent
    timeline.lose(1, "stalled")
    assert timeline.is_urgent
    timeline.take()
    timeline.state("listening", "")
    assert timeline.is_urgent
    timeline.take()
    assert not timeline.is_urgent


def test_a_block_before_the_source_opens_is_an_assertion_error() -> None:
    with pytest.raises(AssertionError):
        write(Timeline("street", RATE, 8), 1)


def test_a_timeline_may_go_on_counting_where_another_stopped() -> None:
    timeline = Timeline("street", RATE, CAPACITY / RATE, start=1000)
    timeline.open(1)
    write(timeline, 30)
    timeline.lose(5, "stalled")
    assert spans(timeline.take()) == [
        (1000, 1030, "1 channels"),
        (1030, 1035, "stalled"),
    ]
    assert (timeline.start, timeline.taken, timeline.stop) == (1000, 1035, 1035)


def written(*counts: int) -> Timeline:
    timeline = Timeline("street", PAST_RATE, PAST_CAPACITY / PAST_RATE)
    timeline.open(1)
    for count in counts:
        timeline.write(numbered(timeline.stop, count), 0.0)
    return timeline


@settings(max_examples=100)
@given(
    counts=st.lists(st.integers(1, 300), min_size=1, max_size=6),
    start=st.integers(0, 1500),
    count=st.integers(0, 700),
)
def test_past_audio_is_the_part_of_the_range_that_is_still_in_the_ring(
    counts: list[int], start: int, count: int
) -> None:
    timeline = written(*counts)
    first, samples = timeline.read(start, start + count)
    there = range(max(0, timeline.stop - PAST_CAPACITY), timeline.stop)
    wanted = [index for index in range(start, start + count) if index in there]
    assert samples[0].tolist() == wanted
    assert not wanted or first == wanted[0]


def test_past_audio_holds_taken_samples_too() -> None:
    timeline = written(200)
    timeline.take()
    assert timeline.read(0, 200)[1].shape == (1, 200)


def test_lost_samples_are_silence_in_past_audio() -> None:
    timeline = written(100)
    timeline.lose(50, "stalled")
    timeline.write(numbered(150, 50), 0.0)
    _, samples = timeline.read(90, 160)
    assert samples[0].tolist() == [*range(90, 100), *[0] * 50, *range(150, 160)]


def test_past_audio_begins_anew_with_another_number_of_channels() -> None:
    timeline = written(100)
    timeline.open(2)
    timeline.write(numbered(100, 50, channels=2), 0.0)
    first, samples = timeline.read(50, 150)
    assert first == 100
    assert samples.shape == (2, 50)


def test_there_is_no_past_audio_before_the_first_sample() -> None:
    timeline = Timeline("street", PAST_RATE, 5.0)
    assert timeline.read(0, 100)[1].shape == (1, 0)
