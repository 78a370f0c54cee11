"""The live console: a full-screen display on a thread of its own."""

import copy
import io
import logging
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TextIO

from rich.color import ColorSystem

from monitor import __version__
from monitor.clock import Clock
from monitor.records import Timed
from monitor.sinks.console.layout import draw
from monitor.sinks.console.paint import Canvas, Glyphs, encoded
from monitor.sinks.console.sources import ViewState
from monitor.sinks.console.state import ConsoleState, LogLine, Setup
from monitor.sinks.console.strip import Strip
from monitor.sinks.console.terminal import Terminal
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.statistics import Statistics

SHORTEST_INTERVAL_SECONDS = 1 / 5
LONGEST_INTERVAL_SECONDS = 2.0
SHARE_OF_TIME = 0.04
"""Drawing takes at most about this share of the time, on a slow machine too."""

REPAINT_SECONDS = 10.0
"""Interval at which all lines are written: libraries may have printed over them."""

READ_SECONDS = 2 * LONGEST_INTERVAL_SECONDS
"""Most sound of a source that becomes columns at once: the rest comes later."""

MOST_WAITING = 20_000
"""Batches and statistics that wait for the display; the oldest go."""

END_SECONDS = 1.0


class LiveConsole(Sink):
    """Shows sources, scores, events and counts on a terminal.

    Records are only put into a queue; all else is done by a thread of the display.
    While the terminal has not taken a drawing, no other one is drawn.  The
    display goes on with another configuration; `end` ends it.
    """

    def __init__(
        self,
        terminal: Terminal,
        setup: Setup,
        *,
        clock: Clock,
        glyphs: Glyphs,
        colours: ColorSystem | None,
        count_before: Callable[[datetime], Mapping[str, int] | None],
        page: Callable[[], str] = str,
        page_fault: Callable[[], str] = str,
    ) -> None:
        """Prepare; the thread starts with the first report.

        Args:
            terminal: Shows the display.
            setup: The facts of the configuration.
            clock: Clock of the monitor.
            glyphs: Characters that the terminal has.
            colours: Colours of the terminal.
            count_before: Counts the events of the day before a time, on the thread of
                the display; None: they are unknown.
            page: Returns the address of the web page; empty: there is none.
            page_fault: Returns why it has ended; empty: it has not.
        """
        self._terminal = terminal
        self._clock = clock
        self._glyphs = glyphs
        self._colours = colours
        self._count_before = count_before
        self._page, self._page_fault = page, page_fault
        self._inbox: deque[Sequence[Timed] | Statistics | Setup | LogLine] = deque(
            maxlen=MOST_WAITING
        )
        self._log = DisplayLog(terminal, self._inbox.append)
        self._state = ConsoleState(setup, clock.utc())
        self._strips = {name: Strip() for name in setup.columns}
        self._focus: str | None = None
        self._is_help = False
        self._paused: tuple[datetime, ConsoleState, dict[str, Strip]] | None = None
        self._shown: list[str] = []
        self._size = (0, 0)
        self._reported = clock.monotonic()
        self._repaint_at = self._draw_at = float("-inf")
        self._thread = BackgroundThread("console", self._run)

    def renew(self, setup: Setup) -> None:
        """Go on with another configuration.  Any thread."""
        self._inbox.append(setup)

    def write(self, batch: Sequence[Timed]) -> None:
        """Have the records shown."""
        self._inbox.append(batch)
        self._thread.keep_running()

    def report(self, statistics: Statistics) -> None:
        """Have the newest statistics shown."""
        self._inbox.append(statistics)
        self._thread.keep_running()

    def end(self) -> None:
        """End the display, and print the log lines that it had.  Any thread."""
        self._thread.finish(END_SECONDS)
        self._terminal.leave()
        self._log.give_back()

    def _run(self, stop: threading.Event) -> None:
        # Setting the modes of a terminal in the background, or reading from it, would
        # stop the process.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU, signal.SIGTTIN})
        self._log.take()
        self._count_day()
        while not stop.is_set():
            self.turn(stop)

    def turn(self, stop: threading.Event) -> None:
        """Take keys and what has come, and draw if it is due.  The display's thread."""
        pause = self._draw_at - self._clock.monotonic()
        pressed = self._terminal.keys(min(max(0.0, pause), 0.2), stop)
        if pressed:
            self._press(pressed)
        self._take_all()
        if pressed or self._clock.monotonic() >= self._draw_at:
            began = self._clock.monotonic()
            self._draw()
            spent = (self._clock.monotonic() - began) / SHARE_OF_TIME
            self._draw_at = began + min(
                LONGEST_INTERVAL_SECONDS, max(SHORTEST_INTERVAL_SECONDS, spent)
            )

    def _count_day(self) -> None:
        counted = self._count_before(self._state.began)
        if counted is None:
            self._state.counted_from = self._state.began
        else:
            self._state.counts.update(counted)

    def _take_all(self) -> None:
        self._state.begin_day(self._clock.utc())
        for _ in range(len(self._inbox)):
            match self._inbox.popleft():
                case Statistics() as statistics:
                    self._state.report(statistics)
                    self._reported = self._clock.monotonic()
                case Setup() as setup:
                    self._state.renew(setup)
                    self._strips = {name: Strip() for name in setup.columns}
                case LogLine() as line:
                    self._state.log.append(line)
                case batch:
                    for timed in batch:
                        self._state.take(timed)

    def _press(self, pressed: bytes) -> None:
        for key in _keys(pressed):
            if self._is_help and key != "q":
                self._is_help = False
            elif key == "q":
                # As Ctrl-C does.
                os.kill(os.getpid(), signal.SIGINT)
            elif key == "p":
                self._pause()
            elif key == "\t":
                names: list[str | None] = [None, *self._state.sources]
                known = self._focus if self._focus in names else None
                self._focus = names[(names.index(known) + 1) % len(names)]
            elif key in ("?", "h"):
                self._is_help = True

    def _pause(self) -> None:
        """Keep what is shown, or show the newest again."""
        if self._paused is not None:
            self._paused = None
        else:
            # All but the setup, which has readers of what is captured.
            setup = self._state.setup
            kept = copy.deepcopy((self._state, self._strips), {id(setup): setup})
            self._paused = (self._clock.utc(), *kept)

    def _draw(self) -> None:
        terminal = self._terminal
        is_ours = terminal.is_in_foreground
        if not is_ours:
            terminal.leave()
        if not is_ours or not terminal.is_free:
            self._shown = []
            return
        setup = self._state.setup
        most = round(READ_SECONDS * setup.sample_rate)
        for name, reader in setup.columns.items():
            self._strips[name].push(reader.read(most)[1])
        if not terminal.is_entered:
            terminal.enter()
            self._shown = []
        size, now = terminal.size, self._clock.monotonic()
        start = ""
        if size != self._size or not self._shown or now >= self._repaint_at:
            start = "\x1b[2J" if size != self._size else ""
            self._size, self._shown = size, []
            self._repaint_at = now + REPAINT_SECONDS
        lines = self._lines()
        changes = "".join(
            f"\x1b[{row + 1};1H{line}"
            for row, line in enumerate(lines)
            if row >= len(self._shown) or line != self._shown[row]
        )
        if start or changes:
            terminal.show(start + changes)
        self._shown = lines

    def _lines(self) -> list[str]:
        state, strips, now = self._state, self._strips, self._clock.utc()
        paused = None
        if self._paused is not None:
            paused, state, strips = self._paused
            now = paused
        view = ViewState(
            now=now,
            strips=strips,
            focus=self._focus if self._focus in state.sources else None,
            paused=paused,
            age_seconds=0.0 if paused else self._clock.monotonic() - self._reported,
            has_keys=self._terminal.has_keys,
            is_help=self._is_help,
            version=__version__,
            page=self._page(),
            page_fault=self._page_fault(),
        )
        canvas = Canvas(*self._size, self._glyphs, self._colours)
        return [encoded(line, self._colours) for line in draw(state, view, canvas)]


def _keys(pressed: bytes) -> Sequence[str]:
    """The keys without those that send a sequence, such as the arrows."""
    if pressed.startswith(b"\x1b"):
        return ["escape"]
    return pressed.decode(errors="replace")


class DisplayLog(logging.Handler):
    """Log and stray output of this process, while a display has the terminal.

    Log lines are shown in the display, and printed once the terminal is free.
    """

    def __init__(self, terminal: Terminal, show: Callable[[LogLine], None]) -> None:
        super().__init__()
        self._terminal = terminal
        self._show = show
        self._others: list[logging.Handler] = []
        self._is_same = sys.stderr.isatty()
        self._kept: deque[logging.LogRecord] = deque(maxlen=1000)
        self._stderr: TextIO | None = None
        terminal.left = self._print_kept

    def take(self) -> None:
        """Take the log of the process."""
        root = logging.getLogger()
        self._others, root.handlers = root.handlers, [self]
        if self._is_same:
            self._stderr, sys.stderr = sys.stderr, _Stray(self)

    def give_back(self) -> None:
        """Give the log back, and print what was kept."""
        self._print_kept()
        root = logging.getLogger()
        if root.handlers == [self]:
            root.handlers = self._others
        if self._stderr is not None:
            sys.stderr, self._stderr = self._stderr, None

    def emit(self, record: logging.LogRecord) -> None:
        """Show a line, and keep it; or print it while there is no display."""
        at = datetime.fromtimestamp(record.created, UTC)
        message = record.getMessage().splitlines()
        self._show(LogLine(at, record.levelno, message[0] if message else ""))
        if self._is_same and self._terminal.is_entered:
            self._kept.append(record)
        else:
            self._pass_on(record)

    def _print_kept(self) -> None:
        while self._kept:
            self._pass_on(self._kept.popleft())

    def _pass_on(self, record: logging.LogRecord) -> None:
        for handler in self._others:
            handler.handle(record)


class _Stray(io.TextIOBase):
    """Text that something prints on the terminal; it becomes lines of the log."""

    def __init__(self, log: logging.Handler) -> None:
        super().__init__()
        self._log = log

    def write(self, text: str) -> int:
        for line in filter(None, text.splitlines()):
            number = logging.WARNING
            self._log.handle(
                logging.LogRecord("stderr", number, "", 0, "%s", (line,), None)
            )
        return len(text)
