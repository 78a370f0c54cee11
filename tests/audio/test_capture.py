"""A source is kept open for ever, and every moment it was not heard is a gap."""

import logging
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.capture import Capture
from monitor.audio.timeline import Block, Timeline
from monitor.errors import EndOfSourceError, SourceError
from monitor.records import Gap, SourceState
from tests.support.clock import FakeClock
from tests.support.listening import RATE, SETTINGS, STALL_SECONDS, listen
from tests.support.scripted import (
    FOR_EVER,
    Burst,
    FakeStop,
    Overflow,
    ScriptedSource,
    Silence,
    Sound,
    Step,
    failing,
)

CRASH = SourceError("the recorder ended with exit code 1")


def test_a_source_that_works_is_heard_without_gap() -> None:
    heard = listen([[Sound(10.0)]])
    assert heard.gaps == []
    assert [block.start for block in heard.blocks] == [0]
    assert heard.blocks[0].stop == 10 * RATE
    assert [state for state, _ in heard.states] == ["opening", "listening"]
    assert heard.states[1][1] == "microphone 'scripted', 8000 Hz, 1 channel"


def test_the_time_until_the_first_samples_is_before_the_timeline() -> None:
    heard = listen([[Silence(3.0), Sound(2.0)]])
    assert heard.gaps == []
    assert heard.timeline.stop == 2 * RATE


@pytest.mark.parametrize(
    ("end", "reason", "sentence"),
    [
        (Silence(FOR_EVER), "stalled", "microphone 'scripted' delivered nothing for 2"),
        (CRASH, "ended", "the recorder ended with exit code 1"),
        (EndOfSourceError("the command ended"), "ended", "the command ended"),
    ],
)
def test_a_source_that_stops_is_closed_and_opened_again(
    end: Step, reason: str, sentence: str
) -> None:
    heard = listen([[Sound(5.0), end], [Sound(5.0)]])
    assert heard.source.closed == 2
    assert [state for state, _ in heard.states] == [
        "opening",
        "listening",
        "waiting",
        "listening",
    ]
    assert heard.states[2][1].startswith(sentence)
    assert {gap.reason for gap in heard.gaps} == {reason}
    assert heard.gaps[0].start == 5 * RATE
    assert heard.blocks[1].start == heard.gaps[-1].stop
    kinds = [type(piece) for piece in heard.pieces]
    assert kinds[-3:] == [Gap, SourceState, Block]  # "listening" is said at its end
    closed, opened = heard.source.opened_at
    silent = STALL_SECONDS if reason == "stalled" else 0.0
    lost_seconds = (heard.gaps[-1].stop - 5 * RATE) / RATE
    assert lost_seconds == pytest.approx(silent + 0.25, abs=0.01)
    assert opened - closed == pytest.approx(5.0 + silent + 0.25)


def test_a_short_outage_is_one_gap() -> None:
    heard = listen([[Sound(5.0), CRASH], [Silence(0.5), Sound(5.0)]])
    (gap,) = heard.gaps
    assert (gap.stop - gap.start) / RATE == pytest.approx(0.75, abs=0.001)


def test_a_source_that_does_not_come_back_counts_as_unplugged() -> None:
    heard = listen([[Sound(5.0), Silence(FOR_EVER)], *failing(20), [Sound(5.0)]])
    first, second = heard.gaps
    assert (first.reason, second.reason) == ("stalled", "unplugged")
    assert (first.stop - first.start) / RATE == pytest.approx(STALL_SECONDS, abs=0.01)
    assert second.start == first.stop
    assert second.stop == heard.blocks[1].start


def test_no_microphone_at_the_start_is_waited_for() -> None:
    heard = listen([*failing(5), [Sound(3.0)]])
    assert heard.states == [
        ("opening", "microphone 'scripted'"),
        ("waiting", "there is no microphone"),
        ("listening", "microphone 'scripted', 8000 Hz, 1 channel"),
    ]
    assert {gap.reason for gap in heard.gaps} == {"unplugged"}
    assert heard.gaps[0].start == 0
    # 0.25 + 0.5 + 1 + 1 + 1 s of waiting
    assert heard.drawing == "uuuu---"
    assert heard.blocks[0].start / RATE == pytest.approx(3.75)


def test_the_wait_doubles_up_to_a_second_and_to_two_after_a_minute_for_ever() -> None:
    """So that it is heard within three seconds of being back, however long it was."""
    heard = listen(failing(90))
    waits = [later - sooner for sooner, later in pairwise(heard.source.opened_at)]
    assert waits == pytest.approx([0.25, 0.5] + [1.0] * 60 + [2.0] * 28)


def test_a_source_that_worked_is_opened_without_much_delay() -> None:
    heard = listen([*failing(5), [Sound(5.0), CRASH], [Sound(1.0)]])
    last_life, reopened = heard.source.opened_at[-2:]
    assert reopened - last_life - 5.0 == pytest.approx(0.25)


def test_a_source_that_breaks_at_once_is_not_opened_in_a_hurry() -> None:
    flapping: list[list[Step]] = [[Sound(0.1), CRASH] for _ in range(20)]
    heard = listen(flapping)
    assert heard.source.opened_at[-1] - heard.source.opened_at[0] > 17.0


def test_a_source_that_opens_but_never_delivers_is_given_up_after_its_time() -> None:
    heard = listen([[Silence(FOR_EVER)], [Sound(1.0)]])
    first, second = heard.source.opened_at
    assert second - first == pytest.approx(6.25, abs=0.21)
    assert heard.states[1] == (
        "waiting",
        "microphone 'scripted' delivered nothing for 6.0 s",
    )


def test_a_pause_shorter_than_a_stall_is_no_gap() -> None:
    heard = listen([[Sound(2.0), Silence(1.7), Burst(1.7), Sound(2.0)]])
    assert heard.gaps == []
    assert heard.timeline.stop == round(5.7 * RATE)


def test_what_a_pause_without_a_word_has_eaten_is_a_gap() -> None:
    heard = listen([[Sound(20.0), Silence(1.7), Sound(20.0)]])
    (gap,) = heard.gaps
    assert gap.reason == "stalled"
    assert (gap.stop - gap.start) / RATE == pytest.approx(1.7, abs=0.05)
    assert 20 < gap.start / RATE < 28
    assert heard.timeline.stop / RATE == pytest.approx(41.7, abs=0.05)


def test_a_reader_that_was_late_at_the_end_counts_no_gap_too_short() -> None:
    """What it read last had been sound a second before."""
    late: list[Step] = [Sound(20.0), Silence(1.5), Burst(0.5), CRASH]
    heard = listen([late, [Sound(5.0)]])
    lost = sum(gap.stop - gap.start for gap in heard.gaps)
    assert lost / RATE == pytest.approx(1.25, abs=0.05)
    assert heard.gaps[0].start == 20.5 * RATE


def test_a_command_that_is_held_back_loses_nothing() -> None:
    bursts: list[Step] = [Burst(10.0) for _ in range(30)]
    heard = listen([bursts], ring_seconds=20.0)
    assert {gap.reason for gap in heard.gaps} <= {"overrun"}


def test_what_portaudio_lost_is_a_gap_in_its_place() -> None:
    heard = listen([[Sound(2.0), Overflow(3.0), Sound(2.0)]])
    assert heard.drawing == "--ooo--"


def test_samples_of_another_rate_fill_the_same_time() -> None:
    heard = listen([[Sound(5.0), CRASH], [Sound(5.0)]], rate=48_000)
    assert heard.blocks[0].stop == 5 * RATE
    assert heard.timeline.stop / RATE == pytest.approx(10.25, abs=0.001)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.builds(Sound, st.floats(0.1, 20.0)),
                st.builds(Silence, st.sampled_from([0.5, 3.0, FOR_EVER])),
                st.builds(Overflow, st.floats(0.1, 3.0)),
                st.just(CRASH),
            ),
            max_size=4,
        ),
        min_size=1,
        max_size=6,
    )
)
def test_the_timeline_keeps_up_with_the_clock(lives: list[list[Step]]) -> None:
    """Whatever happens, its end is now: less what a pause or the start has eaten."""
    heard = listen([[Sound(1.0)], *lives, [CRASH]])
    position = 0
    for piece in heard.pieces:
        if not isinstance(piece, SourceState):
            assert piece.start == position
            position = piece.stop
    assert position == heard.timeline.stop
    elapsed = heard.source.clock.monotonic() - heard.began
    pauses = [
        step.seconds
        for life in lives
        for step in life
        if isinstance(step, Silence) and step.seconds <= STALL_SECONDS
    ]
    assert heard.timeline.stop / RATE <= elapsed + 0.01
    assert heard.timeline.stop / RATE >= elapsed - sum(pauses) - 0.01


def test_a_repeated_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        listen([*failing(40), *failing(40, "it is busy"), [Sound(5.0)]])
    assert [record.levelname for record in caplog.records] == [
        "WARNING",
        "WARNING",
        "INFO",
    ]
    assert "'street': there is no microphone" in caplog.messages[0]
    assert "'street': it is busy" in caplog.messages[1]
    assert caplog.messages[2].startswith("source 'street' is heard again after 96.8 s")
    assert "attempt 80" in caplog.messages[2]


def test_an_outage_of_hours_is_few_gaps_and_one_state() -> None:
    heard = listen([[Sound(5.0), CRASH], *failing(3 * 1800), [Sound(5.0)]])
    assert len(heard.gaps) < 25
    assert [state for state, _ in heard.states].count("waiting") == 2
    assert heard.timeline.lost_samples / RATE == pytest.approx(3 * 3600, rel=0.01)


def test_an_outage_up_to_the_end_is_lost_audio_too() -> None:
    class StopSoon(FakeStop):
        def wait(self, timeout: float | None = None) -> bool:
            super().wait(timeout)
            self.set()
            return True

    heard = listen([[Sound(5.0), CRASH], *failing(10)], stop_type=StopSoon)
    assert heard.source.clock.monotonic() - heard.began == pytest.approx(5.25)
    assert heard.timeline.stop == 5.25 * RATE


def test_a_command_that_does_not_keep_to_real_time_is_held_back() -> None:
    """It is left in its pipe, instead of washing through the ring."""
    ring_seconds = 60.0
    heard = listen([[Burst(10.0) for _ in range(30)]], ring_seconds=ring_seconds)
    elapsed = heard.source.clock.monotonic() - heard.began
    assert heard.timeline.stop / RATE == pytest.approx(300.0)
    assert 300.0 - elapsed <= ring_seconds / 2 + 10.0 + 1.0


def test_an_unexpected_error_ends_the_thread_and_closes_the_stream() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    lives: list[list[Step]] = [[Sound(1.0), ZeroDivisionError()]]
    source = ScriptedSource(clock, stop, lives)
    timeline = Timeline("street", RATE, 30.0)
    with pytest.raises(ZeroDivisionError):
        Capture(source, timeline, SETTINGS, clock.monotonic).run(stop)
    assert source.closed == 1


def test_a_live_source_never_waits_for_the_worker() -> None:
    """Nobody takes anything; the newest samples are kept, the rest is an overrun."""
    heard = listen([[Sound(100.0)]], ring_seconds=5.0)
    assert heard.timeline.stop == 100 * RATE
    (gap,) = heard.gaps
    assert gap.reason == "overrun"
    np.testing.assert_array_equal(heard.blocks[-1].samples, np.float32(0.5))


def test_a_source_that_is_opened_anew_has_a_gap_up_to_its_first_sound() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    source = ScriptedSource(clock, stop, [[Silence(1.5), Sound(3.0)]])
    timeline = Timeline("street", RATE, 60.0, start=100 * RATE)
    missing_since = clock.monotonic() - 2.0
    capture = Capture(
        source, timeline, SETTINGS, clock.monotonic, missing_since=missing_since
    )
    capture.run(stop)
    pieces = [piece for piece in timeline.take() if not isinstance(piece, SourceState)]
    assert isinstance(pieces[0], Gap)
    assert {p.reason for p in pieces if isinstance(p, Gap)} == {"reloaded"}
    assert pieces[0].start == 100 * RATE
    block = pieces[-1]
    assert isinstance(block, Block)
    assert block.start == pytest.approx(103.5 * RATE, abs=1)
    assert block.stop - block.start == 3 * RATE


def test_the_time_without_sound_may_change_while_a_source_is_heard() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    lives: list[list[Step]] = [[Sound(1.0), Silence(FOR_EVER)], [Sound(1.0)]]
    source = ScriptedSource(clock, stop, lives)
    timeline = Timeline("street", RATE, 60.0)
    capture = Capture(source, timeline, SETTINGS, clock.monotonic)
    capture.stall_seconds = 10.0
    capture.run(stop)
    first, second = source.opened_at
    assert second - first == pytest.approx(1.0 + 10.0 + 0.25, abs=0.25)
