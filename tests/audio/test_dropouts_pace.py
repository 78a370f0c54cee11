"""Samples that a source lost without a word are found, and none besides."""

from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.dropouts import Pace

RATE = 8_000
BLOCK = 400  # 50 ms
STALL_SECONDS = 2.0

Delivery = Iterable[tuple[int, float]]
"""Samples of each block, and when it came."""


def found(delivery: Delivery, rate: int = RATE) -> list[tuple[float, float]]:
    """When something was found missing, and how many seconds of it."""
    pace = Pace(rate, STALL_SECONDS)
    told = [(now, pace.missing(count, now) / rate) for count, now in delivery]
    return [(now, missing) for now, missing in told if missing]


def steady(seconds: float, start: float = 0.0, speed: float = 1.0) -> Iterator:
    """Blocks that come when they have been sound, from a card of such a speed."""
    for number in range(1, round(seconds * RATE / BLOCK * speed) + 1):
        yield BLOCK, start + number * BLOCK / RATE / speed


def held_up(delivery: Delivery, pauses: list[tuple[float, float]]) -> Iterator:
    """The same blocks; what would come in a pause comes at once at its end."""
    for count, now in delivery:
        ends = [start + length for start, length in pauses if 0 <= now - start < length]
        yield count, max([now, *ends])


def test_a_loss_without_a_word_is_found_within_eight_seconds() -> None:
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
def test_what_only_comes_late_is_never_missing(
    pauses: list[tuple[float, float]], jitter: list[float], speed: float
) -> None:
    """Here a pause comes some time after the one before: its sound has come by then."""
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


def test_the_end_of_what_was_heard_is_before_what_was_held_up_came() -> None:
    pace = Pace(RATE, STALL_SECONDS)
    for count, now in steady(10.0):
        pace.missing(count, now)
    pace.missing(2 * BLOCK, 13.0)  # three seconds later, of 0.1 s
    assert pace.heard_until(13.0) == pytest.approx(10.1, abs=0.03)
    assert Pace(RATE, STALL_SECONDS).heard_until(5.0) == 5.0
