"""The web page as a child process of the monitor, whose end costs it nothing."""

import contextlib
import logging
import re
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from time import monotonic
from typing import IO

from monitor import subreaper
from monitor.own_command import own_command
from monitor.text import printable

logger = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 60.0
"""Pause after an end; it doubles with each, and begins anew after a long life."""

LONG_LIFE_SECONDS = 60.0
STOP_SECONDS = 4.0
LONGEST_LINE = 1000

_ADDRESS = re.compile(r"the page is at (http://\S+)")
_LEVELS = {"ERROR": logging.ERROR, "WARNING": logging.WARNING, "INFO": logging.INFO}


class PageProcess:
    """Runs the page, and starts it again when it ends."""

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        found: Callable[[str, str], None] = lambda *_: None,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:
        """Prepare `sound-monitor ARGUMENTS`, with these variables besides.

        `found` gets the address of the page once it serves, and an empty one and the
        reason at its end, on the thread of `run`.
        """
        argv, environment = own_command(*arguments)
        self._command = argv, {**environment, **environ}
        self._found = found
        self._first_pause_seconds = first_pause_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.starts = 0
        """How often it was started."""

        self._reason = ""
        """The last line of its end, a sentence; empty: it gave none."""

    def run(self) -> None:
        """Run the page until `stop`.  On a thread of its own."""
        pause = self._first_pause_seconds
        while not self._stop.is_set():
            seconds = self._run_once()
            if self._stop.is_set():
                return
            if seconds >= LONG_LIFE_SECONDS:
                pause = self._first_pause_seconds
            reason = self._reason or "it has ended"
            logger.warning("no web page: %s; it starts again in %g s", reason, pause)
            self._stop.wait(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def stop(self) -> None:
        """End the page.  Any thread."""
        with self._lock:
            self._stop.set()
            if self._process is not None:
                self._process.terminate()

    def _run_once(self) -> float:
        """Run the page until its end; return for how many seconds it ran."""
        began = monotonic()
        argv, environment = self._command
        self._reason = ""
        with self._lock:
            if self._stop.is_set():
                return 0.0
            try:
                # A group of its own: Ctrl-C is for the monitor, which ends it itself.
                self._process = subprocess.Popen(  # noqa: S603 - our own program
                    subreaper.command_line(argv),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=environment,
                    start_new_session=True,
                )
            except OSError as error:
                self._reason = f"it cannot be started: {error}"
                self._found("", self._reason)
                return 0.0
            self.starts += 1
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            self._log(lines)
        self._found("", self._reason or "it has ended")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_SECONDS)
        return monotonic() - began

    def _log(self, lines: IO[bytes]) -> None:
        """Log what the page logs, until it closes its stderr."""
        while line := lines.readline(LONGEST_LINE):
            text = printable(line.decode(errors="replace").rstrip())
            _, level, sentence = (*text.split(" ", 2), "", "")[:3]
            if address := _ADDRESS.fullmatch(sentence):
                self._found(address[1], "")
            if level in _LEVELS:
                logger.log(_LEVELS[level], "%s", sentence)
                continue
            if self._reason:
                logger.warning("web page: %s", self._reason)
            # On a narrow terminal they would take the place of the reason.
            self._reason = text.removeprefix("sound-monitor: ")
            self._reason = self._reason.removeprefix("web.listen: ")


@contextmanager
def web_page(
    arguments: Sequence[str],
    environ: Mapping[str, str],
    found: Callable[[str, str], None] = lambda *_: None,
) -> Iterator[PageProcess]:
    """Run `sound-monitor ARGUMENTS` beside the block, and end it with the block."""
    child = PageProcess(arguments, environ, found)
    thread = threading.Thread(target=child.run, name="web page", daemon=True)
    thread.start()
    try:
        yield child
    finally:
        child.stop()
        thread.join(STOP_SECONDS)
