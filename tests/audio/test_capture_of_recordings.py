"""A recording is handed over whole, however slow the worker is, and then is over."""

import threading

from monitor.audio.capture import Capture
from monitor.audio.timeline import Block, Timeline
from monitor.errors import AudioFileError, EndOfSourceError
from monitor.records import Gap, SourceState
from tests.support.clock import FakeClock
from tests.support.listening import RATE, SETTINGS, listen
from tests.support.scripted import (
    Burst,
    ScriptedSource,
    Sound,
    Step,
)


def test_a_recording_is_over_when_all_of_it_was_handed_over() -> None:
    lives: list[list[Step]] = [[Sound(5.0), EndOfSourceError("over")]]
    heard = listen(lives, live=False, rate=48_000)
    assert heard.capture.finished.is_set()
    assert heard.capture.failure is None
    assert heard.timeline.stop == 5 * RATE
    assert heard.states[-1] == ("ended", "microphone 'scripted' is over")
    assert isinstance(heard.pieces[-1], SourceState)


def test_a_recording_that_breaks_off_is_heard_as_far_as_it_goes() -> None:
    error = AudioFileError("street.wav: the recording stops before its end")
    heard = listen([[Sound(5.0), error]], live=False)
    assert heard.timeline.stop == 5 * RATE
    assert heard.capture.failure is error
    assert heard.capture.finished.is_set()
    assert heard.states[-1] == ("ended", str(error))


def test_a_recording_that_cannot_be_opened_is_over() -> None:
    error = AudioFileError("street.wav: it is gone")
    heard = listen([[error]], live=False)
    assert heard.capture.failure is error
    assert heard.states[-1] == ("ended", str(error))


def test_a_recording_waits_for_the_worker_and_loses_nothing() -> None:
    clock = FakeClock()
    stop = threading.Event()
    lives: list[list[Step]] = [
        [*[Burst(1.0) for _ in range(60)], EndOfSourceError("over")]
    ]
    source = ScriptedSource(clock, stop, lives, live=False)
    timeline = Timeline("street", RATE, 5.0)
    timeline.wakeup = threading.Event()
    capture = Capture(source, timeline, SETTINGS, clock.monotonic)
    thread = threading.Thread(target=capture.run, args=(stop,))
    thread.start()
    pieces: list[Block | Gap | SourceState] = []
    while not any(
        isinstance(piece, SourceState) and piece.state == "ended" for piece in pieces
    ):
        assert timeline.wakeup.wait(10.0)
        timeline.wakeup.clear()
        if timeline.has_marks:
            pieces += timeline.take()
    thread.join(10.0)
    assert not thread.is_alive()
    assert not [piece for piece in pieces if isinstance(piece, Gap)]
    assert timeline.stop == 60 * RATE


def test_a_recording_that_waits_for_the_worker_can_be_stopped() -> None:
    clock = FakeClock()
    stop = threading.Event()
    source = ScriptedSource(clock, stop, [[Burst(1.0) for _ in range(60)]], live=False)
    timeline = Timeline("street", RATE, 5.0)
    capture = Capture(source, timeline, SETTINGS, clock.monotonic)
    thread = threading.Thread(target=capture.run, args=(stop,))
    thread.start()
    stop.set()
    thread.join(10.0)
    assert not thread.is_alive()
    assert not capture.finished.is_set()
    assert not [piece for piece in timeline.take() if isinstance(piece, Gap)]
