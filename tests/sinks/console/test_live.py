import io
import logging
import os
import pty
import sys
import threading
from collections.abc import Iterator
from typing import IO, cast

import pytest
from rich.console import Console, ConsoleRenderable, RenderHook

from monitor.sinks.console.live import LiveConsole, can_show
from tests.support.terminal import Screen
from tests.support.timed import LABELS, SAMPLE_RATE, event, frame, onset, statistics


class Stage:
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
        self.log = logging.Logger("of the stage")
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
def stage() -> Iterator[Stage]:
    built = Stage(Screen())
    yield built
    built.console.close()


def test_nothing_is_drawn_before_the_first_record(stage: Stage) -> None:
    assert stage.screen.writes == 0
    assert stage.screen.has_cursor


def test_each_picture_takes_the_place_of_the_one_before(stage: Stage) -> None:
    for percent in range(0, 100, 7):
        stage.show(percent / 100)
    assert stage.screen.text.count("sound-monitor") == 1
    assert stage.screen.text.count("siren") == 1
    assert "0.98" in stage.screen.text
    assert not stage.screen.has_cursor


def test_log_lines_stand_above_the_picture(stage: Stage) -> None:
    stage.log.warning("one [bold]before[/bold]")
    stage.show()
    stage.log.warning("two in between")
    stage.show(0.77)
    stage.log.warning("three after")
    text = stage.screen.text
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


def test_log_lines_of_other_threads_do_not_tear_the_picture(stage: Stage) -> None:
    def complain(name: str) -> None:
        for number in range(40):
            stage.log.warning("line %s-%d.", name, number)

    threads = [threading.Thread(target=complain, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for number in range(40):
        stage.show(number / 100)
        stage.console.write([event(number=number)])
    for thread in threads:
        thread.join()
    stage.show(0.88)
    text = stage.screen.text
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


def test_a_log_line_and_a_picture_wait_for_each_other(stage: Stage) -> None:
    """Else the line would go by where the picture before the last one stood."""
    stage.show()
    drawn = threading.Event()
    logging_thread = threading.Thread(target=stage.log.warning, args=("a line",))
    delay = Delay(logging_thread, drawn)
    stage.terminal.push_render_hook(delay)
    logging_thread.start()
    assert delay.began.wait(5)
    stage.console.write([event(number=number) for number in range(3)])
    stage.show()
    drawn.set()
    logging_thread.join()
    assert stage.screen.text.count("sound-monitor") == 1
    assert stage.screen.text.count("a line") == 1
    stage.terminal.pop_render_hook()


def test_close_gives_the_terminal_back_and_leaves_the_last_picture(
    stage: Stage,
) -> None:
    stage.show()
    stage.console.write([onset(), event()])  # not due yet
    before = sys.stdout, sys.stderr
    stage.console.close()
    stage.console.close()
    assert stage.screen.has_cursor
    assert (sys.stdout, sys.stderr) == before
    assert "6.7 s" in stage.screen.text
    stage.screen.write("next prompt")
    assert stage.screen.lines[-1] == "next prompt"
    assert stage.screen.text.count("sound-monitor") == 1


def test_stray_prints_stand_above_the_picture(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    stage = Stage(screen)
    stage.show()
    sys.stdout.write("a stray line\n")
    stage.show()
    text = screen.text
    assert text.index("a stray line") < text.index("sound-monitor")
    stage.console.close()
    assert sys.stdout is screen


def test_output_that_goes_elsewhere_is_left_alone(stage: Stage) -> None:
    """Standard output and error are no terminals here: they keep their files."""
    before = sys.stdout, sys.stderr
    stage.show()
    assert (sys.stdout, sys.stderr) == before


def test_it_draws_at_most_eight_times_a_second(stage: Stage) -> None:
    before = stage.screen.writes
    stage.show()
    writes_of_one = stage.screen.writes - before
    drawn = 0
    for _ in range(1000):  # ten seconds
        before = stage.screen.writes
        stage.seconds += 0.01
        stage.console.write([frame()])
        stage.console.report(statistics("street"))
        drawn += stage.screen.writes > before
    assert writes_of_one > 0
    assert 70 <= drawn <= 80


def test_on_a_slow_terminal_it_draws_less_often(stage: Stage) -> None:
    """20 ms for a picture: once a second, a fiftieth of the time."""
    stage.seconds_to_draw = 0.02
    drawn = 0
    start = stage.seconds
    while stage.seconds < start + 20:
        before = stage.screen.writes
        stage.seconds += 0.05
        stage.console.write([frame()])
        drawn += stage.screen.writes > before
    assert 8 <= drawn <= 21


def test_a_terminal_that_changes_its_size_is_cleared_and_drawn_anew(
    stage: Stage,
) -> None:
    stage.show()
    stage.screen.narrow(60)
    stage.terminal.size = (60, 20)
    stage.show(0.66)
    lines = stage.screen.lines
    assert lines[0].startswith(" sound-monitor")
    assert stage.screen.text.count("sound-monitor") == 1
    assert max(len(line) for line in lines) < 60


def test_a_terminal_that_is_gone_does_not_stop_the_monitor(
    caplog: pytest.LogCaptureFixture,
) -> None:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as file:
        terminal = Console(file=file, force_terminal=True, width=80, height=24)
        console = LiveConsole(
            terminal,
            sources=["street"],
            labels=LABELS,
            sample_rate=SAMPLE_RATE,
            now=iter(range(100)).__next__,
        )
        console.write([frame()])
        os.close(master)
        for _ in range(3):
            console.write([frame()])
        console.close()
    (said,) = caplog.records
    assert "terminal is gone" in said.getMessage()


def test_only_a_terminal_can_show_it() -> None:
    assert not can_show(Console(file=io.StringIO(), _environ={}))
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    assert not can_show(dumb)
    assert can_show(Stage(Screen()).terminal)


def test_a_terminal_without_unicode_gets_ascii() -> None:
    stage = Stage(Screen(encoding="latin-1"))
    stage.show()
    stage.console.close()
    assert stage.screen.text.isascii()
    assert "====" in stage.screen.text
