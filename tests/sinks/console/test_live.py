"""The live console, its thread and its terminal, driven turn by turn."""

import contextlib
import io
import logging
import os
import signal
import sys
import termios
import threading
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
from rich.color import ColorSystem

from monitor.output import HandOver
from monitor.sinks.console.live import LiveConsole
from monitor.sinks.console.paint import UNICODE
from monitor.sinks.console.state import Setup
from monitor.sinks.console.terminal import Terminal
from tests.support.clock import FakeClock
from tests.support.terminal import Screen
from tests.support.timed import LABELS, SAMPLE_RATE, event, frame, onset, statistics


class Columns:
    """Gives ten columns at a time."""

    calls = 0

    def read(self, _: int) -> tuple[int, np.ndarray]:
        self.calls += 1
        return 16_000, np.full((10, 48), 100, np.uint8)


class Display:
    """A live console on a pseudo terminal, and what it shows."""

    def __init__(self, counted: Mapping[str, int] | None = None) -> None:
        self.master, self.slave = os.openpty()
        termios.tcsetwinsize(self.slave, (24, 80))
        os.set_blocking(self.master, False)
        self.output = HandOver(self.slave, "the output", is_log=True)
        self.stream = io.TextIOWrapper(self.output, "utf-8", write_through=True)
        self.clock = FakeClock()
        self.columns = Columns()
        self.terminal = Terminal(self.stream, self.output, self.slave)
        self.console = LiveConsole(
            self.terminal,
            self.setup_of("street"),
            clock=self.clock,
            glyphs=UNICODE,
            colours=ColorSystem.TRUECOLOR,
            count_before=lambda _: counted,
        )
        self.screen = Screen(80, 24)
        self.stop = threading.Event()

    def setup_of(self, *sources: str) -> Setup:
        return Setup(
            "urban",
            LABELS,
            dict.fromkeys(sources, LABELS),
            SAMPLE_RATE,
            {"siren": 0.7},
            columns=dict.fromkeys(sources, self.columns),
            band_hz=tuple(50.0 + 300 * band for band in range(48)),
        )

    def turn(self, seconds: float = 1.0) -> bytes:
        """Let time pass, draw if it is due, and return what was printed."""
        self.clock.advance(seconds)
        self.console.turn(self.stop)
        return self.received()

    def received(self) -> bytes:
        """Read what was printed."""
        printed, is_all = b"", False
        while not is_all:
            is_all = self.output.drain(0.005)
            with contextlib.suppress(BlockingIOError):
                while data := os.read(self.master, 65_536):
                    printed += data
        self.screen.feed(printed)
        return printed

    def close(self) -> None:
        termios.tcflow(self.slave, termios.TCOON)
        self.console.end()
        self.received()
        self.output.close()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def display() -> Iterator[Display]:
    built = Display()
    yield built
    built.close()


def test_records_are_shown_and_only_changed_lines_are_written(display: Display) -> None:
    display.console._inbox.append([frame(scores={"siren": 0.93}), event()])
    whole = display.turn()
    assert display.screen.is_alternate
    for words in ("0.93", "siren", "63.3", "sound-monitor", "▀"):
        assert words in display.screen.text
    display.columns.read = lambda _: (0, np.zeros((0, 48), np.uint8))
    changed = display.turn()
    assert 0 < len(changed) < len(whole) / 10
    assert b"sound-monitor" in changed  # the clock


def test_it_draws_at_most_five_times_a_second(display: Display) -> None:
    drawn = 0
    for number in range(100):  # two seconds
        display.console._inbox.append([frame(scores={"siren": number / 100})])
        drawn += bool(display.turn(0.02))
    assert 9 <= drawn <= 11


def test_a_terminal_that_is_not_read_gets_one_picture_and_the_newest_later(
    display: Display,
) -> None:
    display.turn()
    termios.tcflow(display.slave, termios.TCOOFF)  # as Ctrl-S does
    inbox, calls = display.console._inbox, []
    for score in (0.71, 0.72, 0.73):
        inbox.append([frame(scores={"siren": score})])
        display.clock.advance(1.0)
        display.console.turn(display.stop)
        calls.append(display.columns.calls)
    assert display.output.is_behind
    assert calls == [calls[0]] * 3  # nothing is computed for nobody
    termios.tcflow(display.slave, termios.TCOON)
    printed = display.received()
    assert b"0.71" in printed
    assert b"0.72" not in printed
    inbox.append([frame(scores={"siren": 0.74})])
    assert b"latest events" in display.turn()  # all lines, whatever went lost
    assert "0.74" in display.screen.text
    assert display.output.dropped == 0


def test_a_worker_hands_over_and_does_not_draw(display: Display) -> None:
    display.console._thread = _NoThread()
    for number in range(50_000):
        display.console.write([frame(stop_seconds=number)])
    display.console.report(statistics("street"))
    assert len(display.console._inbox) == 20_000
    assert not display.terminal.is_entered


class _NoThread:
    def keep_running(self) -> None: ...

    def finish(self, _seconds: float) -> bool:
        return True


def test_log_lines_are_shown_and_printed_when_the_terminal_is_free(
    display: Display, monkeypatch: pytest.MonkeyPatch
) -> None:
    printed = io.StringIO()
    root = logging.Logger("root")
    root.handlers = [logging.StreamHandler(printed)]
    monkeypatch.setattr(logging, "getLogger", lambda *_: root)
    monkeypatch.setattr(sys, "stderr", display.stream)
    display.console._log._is_same = True
    display.console._log.take()
    display.turn()
    root.warning("the source is gone")
    sys.stderr.write("a stray line\n")
    termios.tcsetwinsize(display.slave, (40, 80))
    display.screen = Screen(80, 40)
    display.turn()
    assert "the source is gone" in display.screen.text
    assert "a stray line" in display.screen.text
    assert printed.getvalue() == ""
    display.console.end()
    assert printed.getvalue() == "the source is gone\na stray line\n"
    assert sys.stderr is display.stream
    assert root.handlers != [display.console._log]


def test_events_of_earlier_today_are_counted() -> None:
    display = Display({"siren": 5})
    display.console._count_day()
    began = display.clock.utc()
    display.console._inbox.append([event(opened=began)])
    display.turn()
    (line,) = [row for row in display.screen.display if "today" in row]
    assert line.rstrip().endswith(" 6")
    display.close()


def test_a_pause_holds_the_display_and_not_the_counts(display: Display) -> None:
    display.turn()
    display.console._press(b"p")
    began = display.clock.utc()
    display.console._inbox.append([event(opened=began), onset(number=2)])
    display.turn(300.0)
    assert "63.3" not in display.screen.text
    assert "go on" in display.screen.text
    display.console._press(b"p")
    display.turn()
    assert "63.3" in display.screen.text
    assert display.console._state.counts == {"siren": 2}


def test_it_goes_on_with_another_configuration(display: Display) -> None:
    display.console._inbox.append([event()])
    display.turn()
    display.console.renew(display.setup_of("street", "yard"))
    display.turn()
    assert "yard" in display.screen.text
    assert "63.3" in display.screen.text
    display.console._press(b"\t\t")
    display.turn()
    assert "source: yard" in display.screen.text
    display.console.renew(display.setup_of("street"))
    display.turn()
    assert "yard" not in display.screen.text


def test_an_analysis_that_hangs_is_said(display: Display) -> None:
    display.console._inbox.append(statistics("street"))
    display.turn()
    assert "listening to street" in display.screen.text
    display.turn(20.0)
    assert "the analysis hangs" in display.screen.text


def test_keys_that_send_a_sequence_do_nothing(display: Display) -> None:
    display.turn()
    os.write(display.master, b"\x1b[15~p")
    display.turn()
    assert "go on" not in display.screen.text
    os.write(display.master, b"?")
    display.turn()
    assert "any key closes it" in display.screen.text


def test_q_does_what_ctrl_c_does(display: Display) -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        display.console._press(b"q")
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [signal.SIGINT]


def test_the_modes_of_the_keyboard_come_back(display: Display) -> None:
    before = termios.tcgetattr(display.slave)
    display.turn()
    assert termios.tcgetattr(display.slave) != before
    display.console.end()
    assert termios.tcgetattr(display.slave) == before
    display.turn()
