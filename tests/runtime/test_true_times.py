"""Times stay true and losses are reported, whatever happens to clocks and the machine.

The machine is simulated, the monitor is real.  The sound is loud for two seconds of
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
from tests.support.loudness_classifier import SPEC, loudness_pipeline
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
    simulation: Simulation
    sink: TimedSink
    seconds: float

    @property
    def events(self) -> list[tuple[float, float, str]]:
        """Begin, end and why it ended, in seconds of the clock that never steps."""
        began = self.simulation.card.began
        return [(a - began, b - began, e.end_reason) for a, b, e in self.sink.events]

    @property
    def gaps(self) -> list[tuple[float, float, str]]:
        began = self.simulation.card.began
        return [(a - began, b - began, g.reason) for a, b, g in self.sink.gaps]

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
    sink = TimedSink(clock)
    pipeline = loudness_pipeline(hop_frames)
    simulation = Simulation(card, pipeline, [sink], turn_seconds=turn_seconds)
    simulation.cost = cost
    simulation.run(seconds, incidents(simulation))
    return Heard(simulation, sink, clock.monotonic() - card.began)


def test_without_trouble_every_sound_is_reported_once_and_truly():
    result = listen(120.0)
    assert len(result.events) == 12
    assert result.gaps == []
    result.assert_true()
    result.assert_nothing_missed()


@pytest.mark.parametrize("at", [57.0, 54.0])  # in silence, and while it is loud
def test_a_sleep_of_the_machine_is_a_gap_and_moves_nothing(at):
    result = listen(
        8 * HOUR + 150.0,
        lambda it: [(at, lambda: it.card.sleep(8 * HOUR))],
    )
    assert sum(end - begin for begin, end, _ in result.gaps) == pytest.approx(
        8 * HOUR, abs=1.0
    )
    assert {reason for _, _, reason in result.gaps} == {"stalled"}
    result.assert_true()
    result.assert_nothing_missed()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_step_of_the_wall_clock_costs_and_moves_nothing(step):
    calm = listen(150.0)
    result = listen(
        150.0,
        lambda it: [
            (at, lambda: it.step_wall_clock(step)) for at in (54.0, 57.0, 111.0)
        ],
    )
    assert result.gaps == []
    result.assert_true()
    assert [event for *_, event in result.sink.events] == [
        event for *_, event in calm.sink.events
    ]


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
@pytest.mark.parametrize(
    "hours",
    [0.75, pytest.param(24, marks=[pytest.mark.soak, pytest.mark.timeout(1800)])],
)
def test_a_card_off_by_200_ppm_keeps_true_times_all_day(hours, drift):
    first, last = 0.4 * hours * HOUR, 0.8 * hours * HOUR

    def street_with_works(moments: NDArray[np.float64]) -> NDArray[np.float32]:
        """Loud now and then, and once for long."""
        if first <= moments[0] < last:
            return np.resize(NOISE, moments.size) * np.float32(0.3)
        return street(moments)

    result = listen(
        hours * HOUR,
        drift=drift,
        block_seconds=0.5,
        turn_seconds=20.0,
        sound=street_with_works,
    )
    assert result.gaps == []
    (long,) = [each for each in result.events if each[1] - each[0] > 60.0]
    assert long[:2] == pytest.approx((first, last), abs=0.5 + TRUE_SECONDS)
    result.assert_true(but=[(long[0] - 10, long[1] + 10)])
    assert len(result.events) > 0.6 * hours * HOUR / EVERY - 5


def test_a_worker_that_pauses_for_less_than_the_ring_loses_nothing():
    calm = listen(150.0)
    result = listen(
        150.0,
        lambda it: [
            (20.0 + 33 * number, lambda: it.delay_worker(25.0)) for number in range(3)
        ],
    )
    assert result.gaps == []
    result.assert_true()
    assert [event for *_, event in result.sink.events] == [
        event for *_, event in calm.sink.events
    ]


def test_a_worker_that_pauses_for_longer_says_exactly_what_it_missed():
    result = listen(200.0, lambda it: [(100.0, lambda: it.delay_worker(60.0))])
    (gap,) = result.gaps
    assert gap == (
        pytest.approx(100.0, abs=0.3),
        pytest.approx(131.9, abs=0.3),
        "overrun",
    )
    result.assert_true()
    result.assert_nothing_missed()


def test_a_worker_three_times_too_slow_analyses_a_third_and_reports_the_rest():
    result = listen(300.0, cost=3.0)
    lost = sum(end - begin for begin, end, _ in result.gaps)
    assert {reason for *_, reason in result.gaps} == {"overrun"}
    assert 0.5 < lost / result.seconds < 0.75
    assert result.events
    result.assert_true()
    result.assert_nothing_missed()


@pytest.mark.parametrize("seconds", [0.5, 1.9, 5.0, 20.0])
def test_a_monitor_that_is_held_up_loses_nothing(seconds):
    """Its samples wait in the pipe."""
    result = listen(
        150.0,
        lambda it: [(at, lambda: it.card.hold(seconds)) for at in (30.0, 84.0)],
    )
    assert result.gaps == []
    result.assert_true()
    result.assert_nothing_missed()


@pytest.mark.parametrize("lost", [0.5, 1.75])
def test_samples_that_vanish_without_a_word_are_a_gap_and_times_stay_true(lost):
    result = listen(150.0, lambda it: [(101.0, lambda: it.card.lose(lost))])
    (gap,) = result.gaps
    assert gap[2] == "stalled"
    assert gap[1] - gap[0] == pytest.approx(lost, abs=TRUE_SECONDS)
    assert 101.0 < gap[1] < 101.0 + lost + FOUND_SECONDS
    result.assert_true(but=[(101.0, gap[1])])
    result.assert_nothing_missed(but=[(101.0, gap[1])])


@pytest.mark.parametrize("drift", [200e-6, -200e-6])
def test_a_microphone_that_is_away_for_hours_comes_back_at_the_right_time(drift):
    result = listen(
        6 * HOUR,
        lambda it: [(1254.0, lambda: it.card.end(5.5 * HOUR))],
        drift=drift,
        turn_seconds=5.0,
        block_seconds=0.5,
    )
    assert sum(end - begin for begin, end, _ in result.gaps) == pytest.approx(
        5.5 * HOUR, abs=2.0
    )
    result.assert_true()
    result.assert_nothing_missed()


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
    def incidents(it: Simulation) -> list[Incident]:
        what = {
            "hold": it.card.hold,
            # A shorter silence is a loss without a word, which takes time to be found.
            "sleep": lambda seconds: it.card.sleep(max(seconds, STALL_SECONDS)),
            "overflow": it.card.overflow,
            "end": it.card.end,
            "hang": lambda seconds: it.card.hang(max(seconds, STALL_SECONDS)),
            "garbage": it.card.garbage,
            "step": lambda seconds: it.step_wall_clock((seconds - 2) * HOUR),
            "delay": it.delay_worker,
        }
        at, found = 0.0, []
        for after, trouble, seconds in troubles:
            at += after
            found.append((at, lambda t=trouble, s=seconds: what[t](s)))
            at += 0 if trouble in ("step", "delay") else max(seconds, STALL_SECONDS)
        return found

    # At the stop, samples that still wait in the pipe are not analysed.
    trouble_seconds = sum(after + seconds for after, _, seconds in troubles)
    result = listen(max(180.0, trouble_seconds + 30.0), incidents)
    result.assert_true()
    result.assert_nothing_missed()
    # Sound and gaps follow each other to the end, and that is now.
    assert result.simulation.timeline.taken == result.simulation.timeline.stop
    assert result.simulation.timeline.stop / RATE == pytest.approx(
        result.seconds, abs=TRUE_SECONDS
    )
    for (_, before, _), (after, _, _) in pairwise(result.gaps):
        assert before <= after + 1e-3
