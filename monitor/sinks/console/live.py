"""The live console: what a person at a terminal sees."""

import atexit
import logging
import sys
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.highlighter import NullHighlighter
from rich.live import Live
from rich.logging import RichHandler
from rich.segment import Segment

from monitor.records import Timed
from monitor.sinks.console.layout import ASCII, UNICODE, Canvas, Line, draw
from monitor.sinks.console.state import Board
from monitor.sinks.sink import Sink
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)


SHORTEST_INTERVAL_SECONDS = 1 / 8
LONGEST_INTERVAL_SECONDS = 2.0
SHARE_OF_TIME = 0.02
"""Drawing takes at most about this share of the time, on a slow terminal too."""

LINES_FOR_LOGS = 3


class LiveConsole(Sink):
    """Shows levels, scores and the latest events at the bottom of a terminal.

    Log lines that go through `log_handler` stand above.  The terminal is taken over
    with the first record or report and given back by `close`, which leaves the last
    picture standing.
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
    ) -> None:
        """Prepare the display.

        Args:
            console: On a terminal; see `can_show`.
            sources: Their names, in the order in which they are shown.
            labels: Of the model, in the order of its scores.
            sample_rate: Of the model.
            now: Monotonic seconds.
            onset_thresholds: By label, where its bar carries a mark.
            title: Stands in the first line, like the name of the model.
        """
        self._console = console
        self._title = title
        self._now = now
        self._board = Board(sources, labels, sample_rate, onset_thresholds or {})
        self._live: Live | None = None
        self._size = console.size
        self._next_draw = float("-inf")
        self._is_gone = False
        self._handler = RichHandler(
            console=console,
            show_path=False,
            omit_repeated_times=False,
            log_time_format="%H:%M:%S",
            highlighter=NullHighlighter(),
        )

    def change(
        self,
        *,
        sources: Sequence[str],
        labels: Sequence[str],
        sample_rate: int,
        onset_thresholds: Mapping[str, float],
        title: str,
    ) -> None:
        """Show other sources or another model; what stays is not forgotten."""
        self._title = title
        self._board.change(sources, labels, sample_rate, onset_thresholds)

    @property
    def log_handler(self) -> logging.Handler:
        """Prints log records above the display.  Any thread."""
        return self._handler

    def write(self, batch: Sequence[Timed]) -> None:
        """Show the records of `batch`, at once or with the next ones."""
        for timed in batch:
            self._board.take(timed)
        self._draw_if_due()

    def report(self, statistics: Statistics) -> None:
        """Show how the monitor is doing."""
        self._board.report(statistics)
        self._draw_if_due()

    def close(self) -> None:
        """Draw a last time, and give the terminal back."""
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
        if self._is_gone:
            return
        # The lock of the handler: log lines come from other threads.
        self._handler.acquire()
        try:
            live = self._live_on_this_size()
            picture = _Picture(draw(self._board, self._title, self._canvas()))
            live.update(picture, refresh=True)
        except OSError as error:
            self._is_gone = True
            logger.warning("the terminal is gone (%s); showing nothing", error.strerror)
        finally:
            self._handler.release()

    def _canvas(self) -> Canvas:
        width, height = self._size
        height -= LINES_FOR_LOGS if height >= 20 else 1
        utf = self._console.encoding.lower().startswith("utf")
        return Canvas(width, max(1, height), UNICODE if utf else ASCII)

    def _live_on_this_size(self) -> Live:
        """Begin anew on a clear screen when the size of the terminal has changed.

        The terminal has wrapped the lines of the old picture by then, and nobody knows
        where they begin.
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
            # What does not go to the terminal anyway stays where the user sent it.
            redirect_stdout=sys.stdout.isatty(),
            redirect_stderr=sys.stderr.isatty(),
        )
        live.start()
        # A process that ends without close() leaves no terminal without a cursor.
        atexit.register(self._stop)
        return live

    def _stop(self) -> None:
        self._handler.acquire()
        try:
            if self._live is not None:
                self._live.stop()
        except OSError:
            self._is_gone = True
        finally:
            self._live = None
            atexit.unregister(self._stop)
            self._handler.release()


class _Picture:
    """Lines that rich prints as they are."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        for line in self._lines:
            yield from line
            yield Segment.line()


def can_show(console: Console) -> bool:
    """Whether the console is a terminal that can move its cursor."""
    return console.is_terminal and not console.is_dumb_terminal
