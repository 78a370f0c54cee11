"""The command hook: runs a program for each alert."""

import contextlib
import json
import logging
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from typing import IO

from monitor import subreaper
from monitor.config.hooks import CommandSettings
from monitor.errors import ConfigError
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.body import facts
from monitor.sinks.alerts.hooks import Delivered, Outcome, Retry
from monitor.text import printable

logger = logging.getLogger(__name__)

MAX_OUTPUT = 4096
MAX_LAST_LINE = 200
MAX_AT_ONCE = 4
POLL_SECONDS = 0.02
END_SECONDS = subreaper.TERMINATE_SECONDS + subreaper.KILL_SECONDS + 0.6
"""Time in which a subreaper has ended a program."""

PREFIX = "SOUND_MONITOR_"

_slots = threading.BoundedSemaphore(MAX_AT_ONCE)
"""Slots of all command hooks together: many rules start few programs at once."""


class Command:
    """Runs a program without a shell, one at a time.

    The alert is on its stdin as JSON, and its facts in variables SOUND_MONITOR_LABEL
    and so on.  Exit code 0 is a delivery; anything else is tried again later, and the
    last line of its output is the reason.  Its output goes to the log.  What it leaves
    running when it ends goes on.
    """

    def __init__(
        self, settings: CommandSettings, place: str, environ: Mapping[str, str]
    ) -> None:
        """Find the program: see `build_hook`."""
        self.target = settings.argv[0]  # the arguments may hold secrets
        self.total_seconds = settings.total_seconds + END_SECONDS
        if shutil.which(self.target, path=environ.get("PATH")) is None:
            raise ConfigError(
                f"{place}.argv: {self.target!r} is not an executable program"
            )
        self._settings = settings
        self._cancelled = threading.Event()

    def deliver(self, alert: Alert) -> Outcome:
        """Run the program for one alert.  Blocks; `cancel` ends it."""
        deadline = time.monotonic() + self._settings.total_seconds
        try:
            while not _slots.acquire(timeout=POLL_SECONDS):
                if self._cancelled.is_set() or time.monotonic() >= deadline:
                    return Retry(f"{MAX_AT_ONCE} other commands ran all the time")
            try:
                return self._run(alert, deadline)
            finally:
                _slots.release()
        except OSError as error:
            return Retry(f"cannot be started: {error.strerror}")
        finally:
            # Not at the beginning: it may have been cancelled before it began.
            self._cancelled.clear()

    def cancel(self) -> None:
        """Kill the program, and everything that it started."""
        self._cancelled.set()

    def close(self) -> None:
        """Do nothing: between deliveries there is no program."""

    def _run(self, alert: Alert, deadline: float) -> Outcome:
        variables = {
            f"{PREFIX}{name.upper()}": value.replace("\0", "")
            for name, value in facts(alert.body).items()
        }
        if shutil.which(self.target) is None:
            return Retry("cannot be started: it is gone")
        process = subprocess.Popen(  # noqa: S603 - the user's own argument list
            subreaper.command_line(self._settings.argv, keep=True),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # Without the secrets: see `hide_secrets`.
            env={**os.environ, **variables},
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdout as stdout:
            os.set_blocking(stdout.fileno(), False)
            output = _Output(stdout)
            body = json.dumps(dict(alert.body)).encode()
            with contextlib.closing(_Input(process.stdin, body)) as given:
                ended = self._wait(process, given, output, deadline)
        self._log(alert, output)
        if not ended:
            reason = f"killed after {self._settings.total_seconds:g} s"
            return Retry(f"{reason}{output.last_words}")
        if process.returncode:
            return Retry(f"{_ending(process.returncode)}{output.last_words}")
        return Delivered("exit code 0")

    def _wait(
        self,
        process: "subprocess.Popen[bytes]",
        given: "_Input",
        output: "_Output",
        deadline: float,
    ) -> bool:
        """Wait for the end of the program; kill it if it is late or cancelled."""
        while process.poll() is None:
            given.write()
            output.read()
            if self._cancelled.wait(POLL_SECONDS) or time.monotonic() >= deadline:
                _end(process)
                return False
        output.read()
        return True

    def _log(self, alert: Alert, output: "_Output") -> None:
        for line in output.lines():
            logger.info("alert %s: %s: %s", alert.endpoint, self.target, line)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the program and everything that it started."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(END_SECONDS)
    # Where there is no subreaper, what it started is still there.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class _Input:
    """The body on its way to a program, which may read late or never.

    A long digest does not fit into the pipe.
    """

    def __init__(self, stream: IO[bytes], body: bytes) -> None:
        os.set_blocking(stream.fileno(), False)
        self._stream = stream
        self._left = memoryview(body)

    def write(self) -> None:
        try:
            while self._left:
                self._left = self._left[os.write(self._stream.fileno(), self._left) :]
        except BlockingIOError:
            return
        except OSError:  # it has closed its input
            self._left = self._left[:0]
        self.close()

    def close(self) -> None:
        if not self._stream.closed:
            with contextlib.suppress(OSError):
                self._stream.close()
            self._left = self._left[:0]


class _Output:
    """The output of a program: begin and end are kept, the rest is read and counted."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._beginning = self._end = b""
        self._left_out = 0

    def read(self) -> None:
        while chunk := self._stream.read(65_536):
            taken = chunk[: MAX_OUTPUT - len(self._beginning)]
            self._beginning += taken
            self._end = (self._end + chunk)[-MAX_OUTPUT:]
            self._left_out += len(chunk) - len(taken)
            if len(chunk) < 4096:
                return

    def lines(self) -> list[str]:
        lines = _lines(self._beginning)
        if self._left_out:
            lines.append(f"({self._left_out} bytes more)")
        return lines

    @property
    def last_words(self) -> str:
        """Its last line as the end of a sentence; empty: it said nothing."""
        lines = _lines(self._end)
        return f": {lines[-1].strip()[:MAX_LAST_LINE]}" if lines else ""


def _lines(text: bytes) -> list[str]:
    lines = text.decode("utf-8", "replace").splitlines()
    return [printable(line) for line in lines if line.strip()]


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:  # most real-time signals have no name
        return f"ended by signal {-code}"
