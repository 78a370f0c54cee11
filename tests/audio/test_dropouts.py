"""Losses that a source does not report are found, and joined into few gaps."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.dropouts import DropoutDetector, GapJoiner
from monitor.records import Gap, GapReason
from tests.support.timelines import RATE as TIMELINE_RATE
from tests.support.timelines import make_timeline

RATE = 8_000
BLOCK = 400  # 50 ms
STALL_SECONDS = 2.0

REASONS: list[GapReason] = ["stalled", "unplugged", "invalid"]

Delivery = Iterable[tuple[int, float]]
"""Samples of each block, and when it came."""


def found(delivery: Delivery, rate: int = RATE) -> list[tuple[float, float]]:
    """Return when samples were found missing, and how many seconds of them."""
    detector = DropoutDetector(rate, STALL_SECONDS)
    answers = [(now, detector.missing(count, now) / rate) for count, now in delivery]
    return [(now, missing) for now, missing in answers if missing]


def steady(seconds: float, start: float = 0.0, speed: float = 1.0) -> Iterator:
    """Yield blocks in real time, from a card of such a speed."""
    for number in range(1, round(seconds * RATE / BLOCK * speed) + 1):
        yield BLOCK, start + number * BLOCK / RATE / speed


def held_up(delivery: Delivery, pauses: list[tuple[float, float]]) -> Iterator:
    """Yield the same blocks; those of a pause come at once at its end."""
    for count, now in delivery:
        ends = [start + length for start, length in pauses if 0 <= now - start < length]
        yield count, max([now, *ends])


def test_a_loss_without_a_report_is_found_within_eight_seconds() -> None:
    for lost in (0.3, 1.0, 1.9):
        (when, missing), *more = found([*steady(20.0), *steady(30.0, 20.0 + lost)])
        assert missing == pytest.approx(lost, abs=0.03)
        assert when - 20.0 - lost < 8.0
        assert not more


@pytest.mark.parametrize("speed", [1 - 200e-6, 1 + 200e-6, 0.999, 1.001, 0.995])
def test_a_clock_that_is_off_is_no_loss(speed: float) -> None:
    assert found(steady(1200.0, speed=speed)) == []


def test_a_loss_is_found_on_a_card_that_is_slow() -> None:
    slow = 1 - 200e-6
    losing = [*steady(300.0, speed=slow), *steady(60.0, 301.0, speed=slow)]
    assert [missing for _, missing in found(losing)] == [pytest.approx(1.0, abs=0.03)]


def test_losses_that_never_stop_are_found_all_the_same() -> None:
    losing: list[tuple[int, float]] = []
    for number in range(100):
        losing += steady(2.0, 3.0 * number)  # a second of every three
    missing = [seconds for _, seconds in found(losing)]
    assert sum(missing) == pytest.approx(100.0, abs=12.0)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5])
def test_a_source_that_delivers_a_part_of_the_samples_loses_the_rest(
    share: float,
) -> None:
    """A device at half its rate, and one that delivers next to nothing."""
    count = round(share * BLOCK)
    losing = [
        *steady(10.0),
        *((count, 10.0 + n * BLOCK / RATE) for n in range(1, 6001)),
    ]
    missing = sum(seconds for _, seconds in found(losing))
    assert missing == pytest.approx(300 * (1 - share), abs=8.0)


def test_a_network_that_catches_up_slowly_lost_nothing() -> None:
    """After an outage of a connection that is little faster than the sound."""
    outage, spare = 1.9, 1.05
    late = [
        (count, max(now, 60.0 + outage + (now - 60.0) / spare) if now > 60.0 else now)
        for count, now in steady(300.0)
    ]
    assert found(late) == []


@settings(max_examples=60)
@given(
    pauses=st.lists(st.tuples(st.floats(0.1, 10.0), st.floats(0.01, 30.0)), max_size=8),
    jitter=st.lists(st.floats(0.0, 0.15), min_size=1, max_size=8),
    speed=st.sampled_from([1 - 200e-6, 1.0, 1 + 200e-6]),
)
def test_late_samples_are_not_counted_as_lost(
    pauses: list[tuple[float, float]], jitter: list[float], speed: float
) -> None:
    """Each pause comes after the samples of the one before have come."""
    begin, placed = 0.0, []
    for run, length in pauses:
        placed.append((begin + run, length))
        begin += run + length
    late = 0.0
    shaken = []
    blocks = held_up(steady(60.0, speed=speed), placed)
    for number, (count, now) in enumerate(blocks):
        late = max(late, now + jitter[number % len(jitter)])  # blocks keep their order
        shaken.append((count, late))
    assert found(shaken) == []


@settings(max_examples=40)
@given(sizes=st.lists(st.floats(0.005, 2.0), min_size=1, max_size=20))
def test_blocks_may_be_of_any_size(sizes: list[float]) -> None:
    edges, position = [0.0], 0
    while edges[-1] < 60.0:
        edges.append(edges[-1] + sizes[position % len(sizes)])
        position += 1
    blocks = [(round((b - a) * RATE), b) for a, b in pairwise(edges)]
    assert found(blocks) == []


def test_samples_that_were_held_up_were_captured_before_they_came() -> None:
    detector = DropoutDetector(RATE, STALL_SECONDS)
    for count, now in steady(10.0):
        detector.missing(count, now)
    detector.missing(2 * BLOCK, 13.0)  # three seconds later, of 0.1 s
    assert detector.captured_at(13.0) == pytest.approx(10.1, abs=0.03)
    assert DropoutDetector(RATE, STALL_SECONDS).captured_at(5.0) == 5.0


def test_a_short_loss_is_one_gap_when_samples_follow() -> None:
    timeline = make_timeline()
    gaps = GapJoiner(timeline)
    for _ in range(TIMELINE_RATE - 1):
        gaps.add(1, "invalid")
    assert timeline.take() == []
    gaps.flush()
    assert timeline.take() == [Gap("street", 0, TIMELINE_RATE - 1, "invalid")]


def test_of_a_loss_that_goes_on_less_than_a_second_is_not_passed_on() -> None:
    timeline = make_timeline()
    gaps = GapJoiner(timeline)
    for tenth in range(1, 36_000):
        gaps.add(TIMELINE_RATE // 10, "unplugged")
        assert tenth * TIMELINE_RATE // 10 - timeline.stop < TIMELINE_RATE


def test_after_samples_the_next_loss_is_a_gap_soon_again() -> None:
    timeline = make_timeline()
    gaps = GapJoiner(timeline)
    gaps.add(5 * TIMELINE_RATE, "ended")
    gaps.flush()
    timeline.take()
    gaps.add(TIMELINE_RATE, "ended")
    assert timeline.take() == [
        Gap("street", 5 * TIMELINE_RATE, 6 * TIMELINE_RATE, "ended")
    ]


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(REASONS))))
def test_every_lost_sample_is_in_a_gap_of_its_reason(
    additions: list[tuple[int, GapReason]],
) -> None:
    timeline = make_timeline()
    gaps = GapJoiner(timeline)
    for count, reason in additions:
        gaps.add(count, reason)
    gaps.flush()
    expected = [reason for count, reason in additions for _ in range(count)]
    found = [
        gap.reason
        for gap in timeline.take()
        if isinstance(gap, Gap)
        for _ in range(gap.start, gap.stop)
    ]
    assert found == expected
