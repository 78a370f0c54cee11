"""The live console: a display on a terminal that redraws itself."""

import atexit
import logging
import sys
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.highlighter import NullHighlighter
from rich.live import Live
from rich.logging import RichHandler

from monitor.output import HandOver
from monitor.records import Timed
from monitor.sinks.console.layout import ASCII, UNICODE, Canvas, draw
from monitor.sinks.console.state import ConsoleState
from monitor.sinks.sink import Sink
from monitor.statistics import Statistics

SHORTEST_INTERVAL_SECONDS = 1 / 8
LONGEST_INTERVAL_SECONDS = 2.0
SHARE_OF_TIME = 0.04
"""Drawing takes at most about this share of the time, on a slow terminal too.

3 ms on a desktop computer, and some 15 ms on a Raspberry Pi, so there twice a second.
"""

LINES_FOR_LOGS = 3


class LiveConsole(Sink):
    """Shows levels, scores and the latest events at the bottom of a terminal.

    Log lines that go through `log_handler` stand above.  The display begins with the
    first record or report, and ends with `close`, which leaves it as it was last drawn.
    While the terminal has not taken the picture before, no other one is drawn.
    """

    def __init__(
        self,
        console: Console,
        *,
        sources: Sequence[str],
        labels: Sequence[str],
        sample_rate: int,
        now: Callable[[], float],
        onset_thresholds: Mapping[str, float] | None = None,
        title: str = "",
        output: HandOver | None = None,
    ) -> None:
        """Prepare a display on a terminal, with marks at `onset_thresholds`.

        `output` is the way of what `console` prints; None: it is printed at once.
        """
        self._console = console
        self._output = output
        self._title = title
        self._now = now
        self._state = ConsoleState(sources, labels, sample_rate, onset_thresholds or {})
        self._live: Live | None = None
        self._size = console.size
        self._next_draw = float("-inf")
        self._handler = RichHandler(
            console=console,
            show_path=False,
            omit_repeated_times=False,
            log_time_format="%H:%M:%S",
            highlighter=NullHighlighter(),
        )

    @property
    def log_handler(self) -> logging.Handler:
        """Prints log records above the display.  Any thread."""
        return self._handler

    def write(self, batch: Sequence[Timed]) -> None:
        """Show the records of `batch`, now or with the next ones."""
        for timed in batch:
            self._state.take(timed)
        self._draw_if_due()

    def report(self, statistics: Statistics) -> None:
        """Show the newest statistics."""
        self._state.report(statistics)
        self._draw_if_due()

    def close(self) -> None:
        """Draw a last time, and release the terminal."""
        if self._live is not None:
            self._draw()
        self._stop()

    def _draw_if_due(self) -> None:
        began = self._now()
        if began < self._next_draw:
            return
        self._draw()
        pause = (self._now() - began) / SHARE_OF_TIME
        self._next_draw = began + min(
            LONGEST_INTERVAL_SECONDS, max(SHORTEST_INTERVAL_SECONDS, pause)
        )

    def _draw(self) -> None:
        output = self._output
        if output is not None and (output.is_behind or output.failure is not None):
            return
        # The lock of the handler: log lines come from other threads.
        self._handler.acquire()
        try:
            live = self._live_on_this_size()
            picture = draw(self._state, self._title, self._canvas())
            live.update(picture, refresh=True)
        finally:
            self._handler.release()

    def _canvas(self) -> Canvas:
        width, height = self._size
        height -= LINES_FOR_LOGS if height >= 20 else 1
        is_ascii = self._console.options.ascii_only
        return Canvas(width, max(1, height), ASCII if is_ascii else UNICODE)

    def _live_on_this_size(self) -> Live:
        """Begin again on a clear screen when the size of the terminal has changed.

        The terminal has wrapped the lines of the old picture by then, so the place
        where they begin is unknown.
        """
        size = self._console.size
        if self._live is not None and size != self._size:
            self._live.update("")
            self._stop()
            self._console.clear()
        self._size = size
        if self._live is None:
            self._live = self._start()
        return self._live

    def _start(self) -> Live:
        live = Live(
            console=self._console,
            auto_refresh=False,
            vertical_overflow="crop",
            # Output that the user has sent elsewhere stays there.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        live.start()
        # The cursor comes back even if the process ends without close().
        atexit.register(self._stop)
        return live

    def _stop(self) -> None:
        self._handler.acquire()
        try:
            if self._live is not None:
                self._live.stop()
        finally:
            self._live = None
            atexit.unregister(self._stop)
            self._handler.release()


def can_show(console: Console) -> bool:
    """Return True if the console is a terminal that can move its cursor."""
    return console.is_terminal and not console.is_dumb_terminal
