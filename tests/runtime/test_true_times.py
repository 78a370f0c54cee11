"""Times stay true and losses are told, whatever happens to clocks and the machine.

The world is simulated, the monitor is real.  What sounds is loud for two seconds of
every ten.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.clock import FakeClock
from tests.support.loud import SPEC, loud_pipeline
from tests.support.simulation import Incident, SimulatedCard, Simulation, TimedSink

RATE = SPEC.sample_rate
EVERY, BEGIN, END = 10.0, 3.0, 5.0
TRUE_SECONDS = 0.1
CUT_SECONDS = 48 * SPEC.hop_length / SPEC.sample_rate + TRUE_SECONDS
"""A hop: what does not fill a window is not analysed."""

HOUR = 3600.0
STALL_SECONDS = 2.25
"""Silence that is found out at once."""

FOUND_SECONDS = 8.0
"""What a source lost without a word is found by then."""

NOISE = np.random.default_rng(1).standard_normal(RATE).astype(np.float32)


def street(moments: NDArray[np.float64]) -> NDArray[np.float32]:
    into = moments % EVERY
    loudness = np.where((into >= BEGIN) & (into < END), 0.3, 0.001)
    return np.resize(NOISE, moments.size) * loudness.astype(np.float32)


@dataclass
class Heard:
    world: Simulation
    witness: TimedSink
    seconds: float

    @property
    def events(self) -> list[tuple[float, float, str]]:
        """Begin, end and why it ended, in seconds of the clock that never steps."""
        began = self.world.card.began
        return [(a - began, b - began, e.end_reason) for a, b, e in self.witness.events]

    @property
    def gaps(self) -> list[tuple[float, float, str]]:
        began = self.world.card.began
        return [(a - began, b - began, g.reason) for a, b, g in self.witness.gaps]

    def assert_true(self, *, but: Iterable[tuple[float, float]] = ()) -> None:
        """Each event is a sound that was, and begins and ends when it did.

        What a gap cuts ends with the last window before it, and begins with the first
        one behind it.  `but`: stretches that are not looked at.
        """
        gaps = [*self.gaps, (self.seconds, self.seconds + 1, "stopped")]
        for begin, end, reason in self.events:
            if any(first < end and begin < last for first, last in but):
                continue
            sound = round((begin - BEGIN) / EVERY) * EVERY
            is_cut = any(0 <= begin - gap[1] <= CUT_SECONDS for gap in gaps)
            assert is_cut or _is_near(begin, [sound + BEGIN]), (begin, self.gaps)
            is_cut = any(0 <= gap[0] - end <= CUT_SECONDS for gap in gaps)
            assert is_cut or _is_near(end, [sound + END]), (end, reason, self.gaps)

    def assert_nothing_missed(self, *, but: Iterable[tuple[float, float]] = ()) -> None:
        """Each sound that no gap touches, nor nearly, is an event.

        `but`: stretches that are not looked at.
        """
        apart = [*(gap[:2] for gap in self.gaps), *but]
        near = SPEC.seconds(SPEC.window_samples)
        for number in range(round(self.seconds // EVERY)):
            begin, end = number * EVERY + BEGIN, number * EVERY + END
            cut = any(a - near < end and begin - near < b for a, b in apart)
            if not cut:
                found = [each for each in self.events if _is_near(each[0], [begin])]
                assert len(found) == 1, (begin, self.gaps)


def _is_near(moment: float, true: Iterable[float]) -> bool:
    return any(abs(moment - each) <= TRUE_SECONDS for each in true)


def listen(
    seconds: float,
    incidents: Callable[[Simulation], Iterable[Incident]] = lambda _: (),
    *,
    drift: float = 0.0,
    block_seconds: float = 0.25,
    turn_seconds: float = 0.75,
    hop_frames: int = 48,
    cost: float = 0.0,
    sound: Callable[[NDArray[np.float64]], NDArray[np.float32]] = street,
) -> Heard:
    clock = FakeClock()
    card = SimulatedCard(clock, sound, RATE, drift, block_seconds)
    witness = TimedSink(clock)
    pipeline = loud_pipeline(hop_frames)
    world = Simulation(card, pipeline, [witness], turn_seconds=turn_seconds)
    world.cost = cost
    world.run(seconds, incidents(world))
    return Heard(world, witness, clock.monotonic() - card.began)


def test_without_trouble_every_sound_is_told_once_and_truly():
    heard = listen(120.0)
    assert len(heard.events) == 12
    assert heard.gaps == []
    heard.assert_true()
    heard.assert_nothing_missed()


@pytest.mark.parametrize("at", [57.0, 54.0])  # in silence, and while it is loud
def test_a_sleep_of_the_machine_is_a_gap_and_moves_nothing(at):
    heard = listen(
        8 * HOUR + 150.0, lambda world: [(at, lambda: world.card.sleep(8 * HOUR))]
    )
    assert sum(end - begin for begin, end, _ in heard.gaps) == pytest.approx(
        8 * HOUR, abs=1.0
    )
    assert {reason for _, _, reason in heard.gaps} == {"stalled"}
    heard.assert_true()
    heard.assert_nothing_missed()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_of_the_wall_clock_costs_and_moves_nothing(step):
    calm = listen(150.0)
    heard = listen(
        150.0,
        lambda world: [
            (at, lambda: world.step_wall_clock(step)) for at in (54.0, 57.0, 111.0)
        ],
    )
    assert heard.gaps == []
    heard.assert_true()
    assert [event for *_, event in heard.witness.events] == [
        event for *_, event in calm.witness.events
    ]


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
@pytest.mark.parametrize(
    "hours",
    [0.75, pytest.param(24, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_a_card_off_by_200_ppm_tells_true_times_all_day(hours, drift):
    first, last = 0.4 * hours * HOUR, 0.8 * hours * HOUR

    def street_with_works(moments: NDArray[np.float64]) -> NDArray[np.float32]:
        """Loud now and then, and once for long."""
        if first <= moments[0] < last:
            return np.resize(NOISE, moments.size) * np.float32(0.3)
        return street(moments)

    heard = listen(
        hours * HOUR,
        drift=drift,
        block_seconds=0.5,
        turn_seconds=20.0,
        sound=street_with_works,
    )
    assert heard.gaps == []
    (long,) = [each for each in heard.events if each[1] - each[0] > 60.0]
    assert long[:2] == pytest.approx((first, last), abs=0.5 + TRUE_SECONDS)
    heard.assert_true(but=[(long[0] - 10, long[1] + 10)])
    assert len(heard.events) > 0.6 * hours * HOUR / EVERY - 5


def test_a_worker_that_pauses_for_less_than_the_ring_loses_nothing():
    calm = listen(150.0)
    heard = listen(
        150.0,
        lambda world: [
            (20.0 + 33 * number, lambda: world.delay_worker(25.0))
            for number in range(3)
        ],
    )
    assert heard.gaps == []
    heard.assert_true()
    assert [event for *_, event in heard.witness.events] == [
        event for *_, event in calm.witness.events
    ]


def test_a_worker_that_pauses_for_longer_says_exactly_what_it_missed():
    heard = listen(200.0, lambda world: [(100.0, lambda: world.delay_worker(60.0))])
    (gap,) = heard.gaps
    assert gap == (
        pytest.approx(100.0, abs=0.3),
        pytest.approx(155.4, abs=0.3),
        "overrun",
    )
    heard.assert_true()
    heard.assert_nothing_missed()


def test_a_worker_three_times_slower_than_sound_hears_a_third_and_says_so():
    heard = listen(300.0, cost=3.0)
    lost = sum(end - begin for begin, end, _ in heard.gaps)
    assert {reason for *_, reason in heard.gaps} == {"overrun"}
    assert 0.5 < lost / heard.seconds < 0.75
    assert heard.events
    heard.assert_true()
    heard.assert_nothing_missed()


@pytest.mark.parametrize("seconds", [0.5, 1.9, 5.0, 20.0])
def test_a_monitor_that_is_held_up_loses_nothing(seconds):
    """Its samples wait in the pipe."""
    heard = listen(
        150.0,
        lambda world: [(at, lambda: world.card.hold(seconds)) for at in (30.0, 84.0)],
    )
    assert heard.gaps == []
    heard.assert_true()
    heard.assert_nothing_missed()


@pytest.mark.parametrize("lost", [0.5, 1.75])
def test_samples_that_vanish_without_a_word_are_a_gap_and_times_stay_true(lost):
    heard = listen(150.0, lambda world: [(101.0, lambda: world.card.lose(lost))])
    (gap,) = heard.gaps
    assert gap[2] == "stalled"
    assert gap[1] - gap[0] == pytest.approx(lost, abs=TRUE_SECONDS)
    assert 101.0 < gap[1] < 101.0 + lost + FOUND_SECONDS
    heard.assert_true(but=[(101.0, gap[1])])
    heard.assert_nothing_missed(but=[(101.0, gap[1])])


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_a_microphone_that_is_away_for_hours_comes_back_at_the_right_time(drift):
    heard = listen(
        6 * HOUR,
        lambda world: [(1254.0, lambda: world.card.end(5.5 * HOUR))],
        drift=drift,
        turn_seconds=5.0,
        block_seconds=0.5,
    )
    assert sum(end - begin for begin, end, _ in heard.gaps) == pytest.approx(
        5.5 * HOUR, abs=2.0
    )
    heard.assert_true()
    heard.assert_nothing_missed()


@settings(max_examples=6)
@given(
    troubles=st.lists(
        st.tuples(
            st.integers(3, 30),
            st.sampled_from(
                ["hold", "sleep", "overflow", "end", "hang", "garbage", "step", "delay"]
            ),
            st.sampled_from([0.25, 0.75, 1.5, 3.0, 20.0, 45.0]),
        ),
        max_size=4,
    )
)
def test_any_troubles_one_after_the_other_leave_times_true(troubles):
    def incidents(world: Simulation) -> list[Incident]:
        what = {
            "hold": world.card.hold,
            # A shorter silence is a loss without a word, which takes time to be found.
            "sleep": lambda seconds: world.card.sleep(max(seconds, STALL_SECONDS)),
            "overflow": world.card.overflow,
            "end": world.card.end,
            "hang": lambda seconds: world.card.hang(max(seconds, STALL_SECONDS)),
            "garbage": world.card.garbage,
            "step": lambda seconds: world.step_wall_clock((seconds - 2) * HOUR),
            "delay": world.delay_worker,
        }
        at, found = 0.0, []
        for after, trouble, seconds in troubles:
            at += after
            found.append((at, lambda t=trouble, s=seconds: what[t](s)))
            at += 0 if trouble in ("step", "delay") else max(seconds, STALL_SECONDS)
        return found

    heard = listen(180.0, incidents)
    heard.assert_true()
    heard.assert_nothing_missed()
    # Sound and gaps follow each other to the end, and that is now.
    assert heard.world.timeline.taken == heard.world.timeline.stop
    assert heard.world.timeline.stop / RATE == pytest.approx(
        heard.seconds, abs=TRUE_SECONDS
    )
    for (_, before, _), (after, _, _) in pairwise(heard.gaps):
        assert before <= after + 1e-3
