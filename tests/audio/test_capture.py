"""A source is kept open for ever, and every moment without it is a gap."""

import logging
import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.capture import Capture
from monitor.audio.timeline import Block, Item, Timeline
from monitor.errors import AudioFileError, EndOfSourceError, SourceError
from monitor.records import Gap, SourceState
from tests.support.captures import (
    RATE,
    RECORDING,
    SETTINGS,
    STALL_SECONDS,
    run_capture,
)
from tests.support.clock import FakeClock
from tests.support.scripted_source import (
    FOR_EVER,
    Burst,
    FakeStop,
    Overflow,
    ScriptedSource,
    Silence,
    Steady,
    Step,
    failing,
)

CRASH = SourceError("the recorder ended with exit code 1")


def test_a_source_that_works_is_captured_without_gap() -> None:
    captured = run_capture([[Steady(10.0)]])
    assert captured.gaps == []
    assert [block.start for block in captured.blocks] == [0]
    assert captured.blocks[0].stop == 10 * RATE
    assert [state for state, _ in captured.states] == ["opening", "listening"]
    assert captured.states[1][1] == "microphone 'scripted', 8000 Hz, 1 channel"


def test_the_time_until_the_first_samples_is_before_the_timeline() -> None:
    captured = run_capture([[Silence(3.0), Steady(2.0)]])
    assert captured.gaps == []
    assert captured.timeline.stop == 2 * RATE


@pytest.mark.parametrize(
    ("end", "reason", "sentence"),
    [
        (Silence(FOR_EVER), "stalled", "microphone 'scripted' delivered nothing"),
        (CRASH, "ended", "the recorder ended with exit code 1"),
        (EndOfSourceError("the command ended"), "ended", "the command ended"),
    ],
)
def test_a_source_that_stops_is_closed_and_opened_again(
    end: Step, reason: str, sentence: str
) -> None:
    captured = run_capture([[Steady(5.0), end], [Steady(5.0)]])
    assert captured.source.closed == 2
    assert [state for state, _ in captured.states] == [
        "opening",
        "listening",
        "waiting",
        "listening",
    ]
    assert captured.states[2][1].startswith(sentence)
    assert {gap.reason for gap in captured.gaps} == {reason}
    assert captured.gaps[0].start == 5 * RATE
    assert captured.blocks[1].start == captured.gaps[-1].stop
    kinds = [type(item) for item in captured.items]
    assert kinds[-3:] == [Gap, SourceState, Block]  # "listening" follows its end
    closed, opened = captured.source.opened_at
    silent = STALL_SECONDS if reason == "stalled" else 0.0
    lost_seconds = (captured.gaps[-1].stop - 5 * RATE) / RATE
    assert lost_seconds == pytest.approx(silent + 0.25, abs=0.01)
    assert opened - closed == pytest.approx(5.0 + silent + 0.25)


def test_a_short_outage_is_one_gap() -> None:
    captured = run_capture([[Steady(5.0), CRASH], [Silence(0.5), Steady(5.0)]])
    (gap,) = captured.gaps
    assert (gap.stop - gap.start) / RATE == pytest.approx(0.75, abs=0.001)


def test_a_source_that_does_not_come_back_counts_as_unplugged() -> None:
    captured = run_capture(
        [[Steady(5.0), Silence(FOR_EVER)], *failing(20), [Steady(5.0)]]
    )
    first, second = captured.gaps
    assert (first.reason, second.reason) == ("stalled", "unplugged")
    assert (first.stop - first.start) / RATE == pytest.approx(STALL_SECONDS, abs=0.01)
    assert second.start == first.stop
    assert second.stop == captured.blocks[1].start


def test_a_microphone_that_is_absent_at_the_start_is_waited_for() -> None:
    captured = run_capture([*failing(5), [Steady(3.0)]])
    assert captured.states == [
        ("opening", "microphone 'scripted'"),
        ("waiting", "there is no microphone"),
        ("listening", "microphone 'scripted', 8000 Hz, 1 channel"),
    ]
    assert {gap.reason for gap in captured.gaps} == {"unplugged"}
    assert captured.gaps[0].start == 0
    # 0.25 + 0.5 + 1 + 1 + 1 s of waiting
    assert captured.drawing == "uuuu---"
    assert captured.blocks[0].start / RATE == pytest.approx(3.75)


def test_the_wait_doubles_up_to_a_second_and_to_two_after_a_minute_for_ever() -> None:
    """So that it is captured within three seconds of being back."""
    captured = run_capture(failing(90))
    waits = [later - sooner for sooner, later in pairwise(captured.source.opened_at)]
    assert waits == pytest.approx([0.25, 0.5] + [1.0] * 60 + [2.0] * 28)


def test_a_source_that_worked_is_opened_without_much_delay() -> None:
    captured = run_capture([*failing(5), [Steady(5.0), CRASH], [Steady(1.0)]])
    last_life, reopened = captured.source.opened_at[-2:]
    assert reopened - last_life - 5.0 == pytest.approx(0.25)


def test_a_source_that_breaks_at_once_is_not_opened_in_a_hurry() -> None:
    flapping: list[list[Step]] = [[Steady(0.1), CRASH] for _ in range(20)]
    captured = run_capture(flapping)
    assert captured.source.opened_at[-1] - captured.source.opened_at[0] > 17.0


def test_a_source_that_opens_but_never_delivers_is_closed_after_its_time() -> None:
    captured = run_capture([[Silence(FOR_EVER)], [Steady(1.0)]])
    first, second = captured.source.opened_at
    assert second - first == pytest.approx(6.25, abs=0.21)
    assert captured.states[1] == (
        "waiting",
        "microphone 'scripted' delivered nothing",
    )


def test_a_pause_shorter_than_a_stall_is_no_gap() -> None:
    captured = run_capture([[Steady(2.0), Silence(1.7), Burst(1.7), Steady(2.0)]])
    assert captured.gaps == []
    assert captured.timeline.stop == round(5.7 * RATE)


def test_samples_that_a_pause_lost_without_a_report_are_a_gap() -> None:
    captured = run_capture([[Steady(20.0), Silence(1.7), Steady(20.0)]])
    (gap,) = captured.gaps
    assert gap.reason == "stalled"
    assert (gap.stop - gap.start) / RATE == pytest.approx(1.7, abs=0.05)
    assert 20 < gap.start / RATE < 28
    assert captured.timeline.stop / RATE == pytest.approx(41.7, abs=0.05)


def test_a_reader_that_was_late_at_the_end_counts_no_gap_too_short() -> None:
    """The samples that it read last were captured a second before."""
    late: list[Step] = [Steady(20.0), Silence(1.5), Burst(0.5), CRASH]
    captured = run_capture([late, [Steady(5.0)]])
    lost = sum(gap.stop - gap.start for gap in captured.gaps)
    assert lost / RATE == pytest.approx(1.25, abs=0.05)
    assert captured.gaps[0].start == 20.5 * RATE


def test_the_wait_of_a_command_that_is_held_back_is_no_dropout() -> None:
    captured = run_capture([[Burst(30.0), Steady(20.0)]], ring_seconds=40.0)
    assert {gap.reason for gap in captured.gaps} == {"overrun"}  # nothing takes them


def test_a_loss_that_portaudio_reports_is_a_gap_in_its_place() -> None:
    captured = run_capture([[Steady(2.0), Overflow(3.0), Steady(2.0)]])
    assert captured.drawing == "--ooo--"


def test_samples_of_another_rate_fill_the_same_time() -> None:
    captured = run_capture([[Steady(5.0), CRASH], [Steady(5.0)]], rate=48_000)
    assert captured.blocks[0].stop == 5 * RATE
    assert captured.timeline.stop / RATE == pytest.approx(10.25, abs=0.001)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.builds(Steady, st.floats(0.1, 20.0)),
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
    """Whatever happens, its end is now, less the time of pauses and of the start."""
    captured = run_capture([[Steady(1.0)], *lives, [CRASH]])
    position = 0
    for item in captured.items:
        if not isinstance(item, SourceState):
            assert item.start == position
            position = item.stop
    assert position == captured.timeline.stop
    elapsed = captured.source.clock.monotonic() - captured.began
    pauses = [
        step.seconds
        for life in lives
        for step in life
        if isinstance(step, Silence) and step.seconds <= STALL_SECONDS
    ]
    assert captured.timeline.stop / RATE <= elapsed + 0.01
    assert captured.timeline.stop / RATE >= elapsed - sum(pauses) - 0.01


def test_a_repeated_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        run_capture([*failing(40), *failing(40, "it is busy"), [Steady(5.0)]])
    assert [record.levelname for record in caplog.records] == [
        "WARNING",
        "WARNING",
        "INFO",
    ]
    assert "'street': there is no microphone" in caplog.messages[0]
    assert "'street': it is busy" in caplog.messages[1]
    assert caplog.messages[2].startswith("source 'street' delivers again after 96.8 s")
    assert "attempt 80" in caplog.messages[2]


@pytest.mark.parametrize(("seconds", "warnings"), [(10.0, 1), (61.0, 2)])
def test_the_failure_of_a_source_that_worked_for_a_minute_is_logged_again(
    caplog: pytest.LogCaptureFixture, seconds: float, warnings: int
) -> None:
    run_capture([[Steady(seconds), CRASH], [Steady(seconds), CRASH], [Steady(1.0)]])
    assert [it.levelname for it in caplog.records].count("WARNING") == warnings


def test_an_outage_of_hours_is_few_gaps_and_one_state() -> None:
    captured = run_capture([[Steady(5.0), CRASH], *failing(3 * 1800), [Steady(5.0)]])
    assert len(captured.gaps) < 25
    assert [state for state, _ in captured.states].count("waiting") == 2
    lost = sum(gap.stop - gap.start for gap in captured.gaps)
    assert lost / RATE == pytest.approx(3 * 3600, rel=0.01)


def test_an_outage_up_to_the_end_is_a_gap_too() -> None:
    class StopSoon(FakeStop):
        def wait(self, timeout: float | None = None) -> bool:
            super().wait(timeout)
            self.set()
            return True

    captured = run_capture([[Steady(5.0), CRASH], *failing(10)], stop_type=StopSoon)
    assert captured.source.clock.monotonic() - captured.began == pytest.approx(5.25)
    assert captured.timeline.stop == 5.25 * RATE


def test_a_command_that_does_not_keep_to_real_time_is_held_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It waits in its pipe, instead of overrunning the ring; that is logged once."""
    ring_seconds = 60.0
    captured = run_capture(
        [[Burst(10.0) for _ in range(30)]], ring_seconds=ring_seconds
    )
    elapsed = captured.source.clock.monotonic() - captured.began
    assert captured.timeline.stop / RATE == pytest.approx(300.0)
    assert 300.0 - elapsed <= ring_seconds / 2 + 10.0 + 1.0
    assert [it.levelname for it in caplog.records] == ["WARNING"]
    assert "its sample_rate or format is wrong" in caplog.text


def test_an_unexpected_error_ends_the_thread_and_closes_the_stream() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    lives: list[list[Step]] = [[Steady(1.0), ZeroDivisionError()]]
    source = ScriptedSource(clock, stop, lives)
    timeline = Timeline("street", RATE, 30.0)
    with pytest.raises(ZeroDivisionError):
        Capture(source, timeline, SETTINGS, clock.monotonic).run(stop)
    assert source.closed == 1


def test_a_live_source_never_waits_for_the_worker() -> None:
    """No worker takes samples: the newest are kept, the rest is an overrun."""
    captured = run_capture([[Steady(100.0)]], ring_seconds=5.0)
    assert captured.timeline.stop == 100 * RATE
    (gap,) = captured.gaps
    assert gap.reason == "overrun"
    np.testing.assert_array_equal(captured.blocks[-1].samples, np.float32(0.5))


def test_a_source_that_is_opened_anew_has_a_gap_up_to_its_first_sample() -> None:
    clock = FakeClock()
    stop = FakeStop(clock)
    source = ScriptedSource(clock, stop, [[Silence(1.5), Steady(3.0)]])
    timeline = Timeline("street", RATE, 60.0, start=100 * RATE)
    missing_since = clock.monotonic() - 2.0
    capture = Capture(
        source, timeline, SETTINGS, clock.monotonic, missing_since=missing_since
    )
    capture.run(stop)
    items = [item for item in timeline.take() if not isinstance(item, SourceState)]
    assert isinstance(items[0], Gap)
    assert {p.reason for p in items if isinstance(p, Gap)} == {"reloaded"}
    assert items[0].start == 100 * RATE
    block = items[-1]
    assert isinstance(block, Block)
    assert block.start == pytest.approx(103.5 * RATE, abs=1)
    assert block.stop - block.start == 3 * RATE


def test_a_recording_ends_when_all_of_it_was_handed_over() -> None:
    lives: list[list[Step]] = [[Steady(5.0), EndOfSourceError("over")]]
    captured = run_capture(lives, settings=RECORDING, rate=48_000)
    assert captured.capture.finished.is_set()
    assert captured.capture.failure is None
    assert captured.timeline.stop == 5 * RATE
    assert captured.states[-1] == ("ended", "microphone 'scripted' is over")
    assert isinstance(captured.items[-1], SourceState)


def test_a_recording_that_breaks_off_is_captured_as_far_as_it_goes() -> None:
    error = AudioFileError("street.wav: the recording stops before its end")
    captured = run_capture([[Steady(5.0), error]], settings=RECORDING)
    assert captured.timeline.stop == 5 * RATE
    assert captured.capture.failure is error
    assert captured.capture.finished.is_set()
    assert captured.states[-1] == ("ended", str(error))


def test_a_recording_that_cannot_be_opened_ends() -> None:
    error = AudioFileError("street.wav: it is gone")
    captured = run_capture([[error]], settings=RECORDING)
    assert captured.capture.failure is error
    assert captured.states[-1] == ("ended", str(error))


def test_a_recording_waits_for_the_worker_and_loses_nothing() -> None:
    clock = FakeClock()
    stop = threading.Event()
    lives: list[list[Step]] = [
        [*[Burst(1.0) for _ in range(60)], EndOfSourceError("over")]
    ]
    source = ScriptedSource(clock, stop, lives)
    timeline = Timeline("street", RATE, 5.0)
    timeline.wakeup = threading.Event()
    capture = Capture(source, timeline, RECORDING, clock.monotonic)
    thread = threading.Thread(target=capture.run, args=(stop,))
    thread.start()
    items: list[Item] = []
    while not any(
        isinstance(item, SourceState) and item.state == "ended" for item in items
    ):
        assert timeline.wakeup.wait(10.0)
        timeline.wakeup.clear()
        if timeline.is_urgent:
            items += timeline.take()
    thread.join(10.0)
    assert not thread.is_alive()
    assert not [item for item in items if isinstance(item, Gap)]
    assert timeline.stop == 60 * RATE


def test_a_recording_that_waits_for_the_worker_can_be_stopped() -> None:
    clock = FakeClock()
    stop = threading.Event()
    source = ScriptedSource(clock, stop, [[Burst(1.0) for _ in range(60)]])
    timeline = Timeline("street", RATE, 5.0)
    capture = Capture(source, timeline, RECORDING, clock.monotonic)
    thread = threading.Thread(target=capture.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(10.0)
    assert not thread.is_alive()
    assert not capture.finished.is_set()
    assert not [item for item in timeline.take() if isinstance(item, Gap)]


class BriefStop(FakeStop):
    """A watchdog would take a longer wait for a standstill."""

    def wait(self, timeout: float | None = None) -> bool:
        assert (timeout or 0.0) <= 2.0
        return super().wait(timeout)


def test_a_source_may_ask_for_a_longer_pause() -> None:
    refusal = SourceError("the password is wrong", retry_seconds=60.0)
    lives: list[list[Step]] = [[Steady(3), refusal], [Steady(2)]]
    captured = run_capture(lives, stop_type=BriefStop)
    first, second, *_ = captured.source.opened_at
    assert second - first == pytest.approx(63)
    assert captured.drawing.startswith("---" + "e" * 60 + "--")
