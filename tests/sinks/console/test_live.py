import io
import logging
import os
import pty
import sys
import termios
import threading
from collections.abc import Iterator
from itertools import count
from typing import IO, cast

import pytest
from rich.cells import cell_len
from rich.console import Console, ConsoleRenderable, RenderHook

from monitor.output import HandOver
from monitor.sinks.console.live import LiveConsole, can_show
from tests.support.terminal import Screen
from tests.support.timed import (
    LABELS,
    SAMPLE_RATE,
    event,
    frame,
    gap,
    onset,
    statistics,
)

DEADLINE_SECONDS = 20.0


class Display:
    """A live console on a screen, its clock, and a logger that prints through it."""

    def __init__(self, screen: Screen, width: int = 80, height: int = 24) -> None:
        self.screen = screen
        self.seconds = 0.0
        self.seconds_to_draw = 0.0
        self.terminal = Console(
            file=cast("IO[str]", screen),
            force_terminal=True,
            width=width,
            height=height,
            _environ={"TERM": "xterm-256color"},
        )
        self.console = LiveConsole(
            self.terminal,
            sources=["street"],
            labels=LABELS,
            sample_rate=SAMPLE_RATE,
            now=self.now,
            title="urban",
        )
        self.log = logging.Logger("test")
        self.log.addHandler(self.console.log_handler)

    def now(self) -> float:
        self.seconds += self.seconds_to_draw
        return self.seconds

    def show(self, score: float = 0.5) -> int:
        """Let half a second pass, show a frame; return how often it was drawn."""
        self.seconds += 0.5
        before = self.screen.writes
        self.console.write([frame(scores={"siren": score})])
        return self.screen.writes - before


@pytest.fixture
def display() -> Iterator[Display]:
    built = Display(Screen())
    yield built
    built.console.close()


def test_nothing_is_drawn_before_the_first_record(display: Display) -> None:
    assert display.screen.writes == 0
    assert display.screen.has_cursor


def test_each_display_replaces_the_one_before(display: Display) -> None:
    for percent in range(0, 100, 7):
        display.show(percent / 100)
    assert display.screen.text.count("sound-monitor") == 1
    assert display.screen.text.count("siren") == 1
    assert "0.98" in display.screen.text
    assert not display.screen.has_cursor


def test_log_lines_are_shown_above_the_display(display: Display) -> None:
    display.log.warning("one [bold]before[/bold]")
    display.show()
    display.log.warning("two in between")
    display.show(0.77)
    display.log.warning("three after")
    text = display.screen.text
    places = [
        text.index(part)
        for part in (
            "one [bold]before[/bold]",
            "two in between",
            "three after",
            "sound-monitor",
            "0.77",
        )
    ]
    assert places == sorted(places)
    assert text.count("sound-monitor") == 1


def test_log_lines_of_other_threads_do_not_tear_the_display(display: Display) -> None:
    def complain(name: str) -> None:
        for number in range(40):
            display.log.warning("line %s-%d.", name, number)

    threads = [threading.Thread(target=complain, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for number in range(40):
        display.show(number / 100)
        display.console.write([event(number=number)])
    for thread in threads:
        thread.join()
    display.show(0.88)
    text = display.screen.text
    assert text.count("sound-monitor") == 1
    for name in "ab":
        assert all(text.count(f"line {name}-{number}.") == 1 for number in range(40))


class Delay(RenderHook):
    """Holds back what one thread prints, until another has drawn or must wait."""

    def __init__(self, thread: threading.Thread, others: threading.Event) -> None:
        self._thread = thread
        self._others = others
        self.began = threading.Event()

    def process_renderables(
        self, renderables: list[ConsoleRenderable]
    ) -> list[ConsoleRenderable]:
        if threading.current_thread() is self._thread:
            self.began.set()
            self._others.wait(0.2)
        return renderables


def test_a_log_line_and_a_display_wait_for_each_other(display: Display) -> None:
    """Else the line would go by where the picture before the last one stood."""
    display.show()
    drawn = threading.Event()
    logging_thread = threading.Thread(target=display.log.warning, args=("a line",))
    delay = Delay(logging_thread, drawn)
    display.terminal.push_render_hook(delay)
    logging_thread.start()
    assert delay.began.wait(5)
    display.console.write([event(number=number) for number in range(3)])
    display.show()
    drawn.set()
    logging_thread.join()
    assert display.screen.text.count("sound-monitor") == 1
    assert display.screen.text.count("a line") == 1
    display.terminal.pop_render_hook()


def test_close_restores_the_terminal_and_leaves_the_last_display(
    display: Display,
) -> None:
    display.show()
    display.console.write([onset(), event()])  # not due yet
    before = sys.stdout, sys.stderr
    display.console.close()
    display.console.close()
    assert display.screen.has_cursor
    assert (sys.stdout, sys.stderr) == before
    assert "6.7 s" in display.screen.text
    display.screen.write("next prompt")
    assert display.screen.lines[-1] == "next prompt"
    assert display.screen.text.count("sound-monitor") == 1


def test_other_prints_are_shown_above_the_display(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    display = Display(screen)
    display.show()
    sys.stdout.write("a stray line\n")
    display.show()
    text = screen.text
    assert text.index("a stray line") < text.index("sound-monitor")
    display.console.close()
    assert sys.stdout is screen


def test_output_that_goes_elsewhere_is_left_alone(display: Display) -> None:
    """Standard output and error are no terminals here: they keep their files."""
    before = sys.stdout, sys.stderr
    display.show()
    assert (sys.stdout, sys.stderr) == before


def test_it_draws_at_most_eight_times_a_second(display: Display) -> None:
    before = display.screen.writes
    display.show()
    writes_of_one = display.screen.writes - before
    drawn = 0
    for _ in range(1000):  # ten seconds
        before = display.screen.writes
        display.seconds += 0.01
        display.console.write([frame()])
        display.console.report(statistics("street"))
        drawn += display.screen.writes > before
    assert writes_of_one > 0
    assert 70 <= drawn <= 80


def test_on_a_slow_terminal_it_draws_less_often(display: Display) -> None:
    """40 ms for a picture: once a second, a twenty-fifth of the time."""
    display.seconds_to_draw = 0.04
    drawn = 0
    start = display.seconds
    while display.seconds < start + 20:
        before = display.screen.writes
        display.seconds += 0.05
        display.console.write([frame()])
        drawn += display.screen.writes > before
    assert 8 <= drawn <= 21


def test_a_terminal_that_changes_its_size_is_cleared_and_drawn_anew(
    display: Display,
) -> None:
    display.show()
    display.screen.narrow(60)
    display.terminal.size = (60, 20)
    display.show(0.66)
    lines = display.screen.lines
    assert lines[0].startswith(" sound-monitor")
    assert display.screen.text.count("sound-monitor") == 1
    assert max(len(line) for line in lines) < 60


def test_no_line_is_wider_than_a_narrow_terminal() -> None:
    for width in (20, 40):
        display = Display(Screen(), width, 15)
        display.show()
        display.console.write([onset(label="犬" * 40), gap()])
        display.console.close()
        assert len(display.screen.lines) <= 15
        assert max(map(cell_len, display.screen.lines)) <= width


def test_a_terminal_that_is_not_read_gets_one_picture_and_the_newest_later() -> None:
    master, slave = pty.openpty()
    output = HandOver(slave, "the output", is_log=True)
    stream = io.TextIOWrapper(output, "utf-8", write_through=True)
    terminal = Console(file=stream, force_terminal=True, width=80, height=24)
    console = LiveConsole(
        terminal,
        sources=["street"],
        labels=LABELS,
        sample_rate=SAMPLE_RATE,
        now=count().__next__,
        output=output,
    )
    termios.tcflow(slave, termios.TCOOFF)  # as Ctrl-S does
    for score in (0.25, 0.5, 0.75):
        console.write([frame(scores={"siren": score})])
    assert output.is_behind
    termios.tcflow(slave, termios.TCOON)
    screen = os.read(master, 4096)
    while b"0.25" not in screen:
        screen += os.read(master, 4096)
    assert output.drain(DEADLINE_SECONDS)
    console.write([frame(scores={"siren": 0.8})])
    while b"0.80" not in screen:
        screen += os.read(master, 4096)
    assert b"0.50" not in screen
    assert b"0.75" not in screen
    os.close(master)
    output.drain(DEADLINE_SECONDS)
    console.write([frame()])
    console.close()
    output.close()
    os.close(slave)


def test_only_a_terminal_can_show_it() -> None:
    assert not can_show(Console(file=io.StringIO(), _environ={}))
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert not can_show(dumb)
    assert can_show(Display(Screen()).terminal)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    display = Display(Screen(encoding="latin-1"))
    display.show()
    display.console.close()
    assert display.screen.text.isascii()
    assert "====" in display.screen.text
