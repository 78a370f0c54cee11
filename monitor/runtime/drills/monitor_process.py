"""A monitor in a process of its own, which drills and tests watch, break and stop."""

import contextlib
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from monitor.errors import SoundMonitorError

READY_SECONDS = 60.0
STOP_SECONDS = 20.0

_POLL_SECONDS = 0.02
_LAST_LINES = 3

# A monitor that is started from a systemd service must not act as that service.
_SERVICE_VARIABLES = (
    "SOUND_MONITOR_CONFIG",
    "STATE_DIRECTORY",
    "RUNTIME_DIRECTORY",
    "LOGS_DIRECTORY",
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
)

Say = Callable[[str], None]
"""Takes a sentence about the progress of a drill."""


class DrillError(SoundMonitorError):
    """A drill failed or could not be carried out; the message says why."""


@dataclass(frozen=True, slots=True)
class DrillResult:
    """The result of one drill."""

    drill: str
    passed: bool
    sentence: str
    """The observations, for people."""

    recovery_seconds: float | None = None
    """Time from the failure, or its end, to normal operation."""

    facts: dict[str, Any] = field(default_factory=dict)
    """The observations as numbers."""


def children(pid: int) -> list[int]:
    """Running child processes of `pid`."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has just ended
            found += [int(child) for child in listing.read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """Running child processes of `pid`, their children, and so on; nearest first."""
    nearest = children(pid)
    return nearest + [each for child in nearest for each in descendants(child)]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the monitor's output or log."""

    text: str
    at: float
    """Monotonic seconds of its arrival."""


class MonitorProcess:
    """One run of `sound-monitor run`.  A context manager: its end leaves no process.

    Output and log come through pipes, so that a full disk does not silence them.
    """

    def __init__(
        self,
        folder: Path,
        arguments: Sequence[str | Path],
        environment: Mapping[str, str] | None = None,
        terminal: int | None = None,
        module: Sequence[str | Path] = ("monitor",),
    ) -> None:
        """Start it with the options `arguments`; its state folder is `folder`/state.

        `terminal` is a descriptor for its output and its log, instead of the pipes;
        `module` is the Python module of the command line, and options of its own.
        """
        self.state_dir = folder / "state"
        self.printed: list[Line] = []
        self.logged: list[Line] = []
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.bind("")  # Linux chooses an abstract address
        notify = "@" + self._notices.getsockname()[1:].decode()
        inherited = {k: v for k, v in os.environ.items() if k not in _SERVICE_VARIABLES}
        self.began = time.monotonic()
        self.ready_seconds = 0.0
        """Time from its start until it was ready."""

        self.process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", *module, "run", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if terminal is None else terminal,
            stderr=subprocess.PIPE if terminal is None else terminal,
            env={
                **inherited,
                **({} if terminal is None else {"TERM": "xterm"}),
                "STATE_DIRECTORY": str(self.state_dir),
                "NOTIFY_SOCKET": notify,
                **(environment or {}),
            },
            # Ctrl-C reaches only the drill, which then stops the monitor.
            start_new_session=True,
        )
        self._is_ready = threading.Event()
        self._readers = [
            threading.Thread(target=target, args=args, name=target.__name__)
            for target, args in (
                (_read_lines, (self.process.stdout, self.printed)),
                (_read_lines, (self.process.stderr, self.logged)),
                (_read_notices, (self._notices, self._is_ready)),
            )
        ]
        for reader in self._readers:
            reader.start()

    def __enter__(self) -> Self:
        """Return itself: it runs already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Kill it and its children."""
        # Children have process groups of their own, and a child that a signal has
        # stopped would not notice the end of the monitor.
        for pid in [*descendants(self.process.pid), self.process.pid]:
            if self.process.poll() is None or pid != self.process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self._notices.shutdown(socket.SHUT_RD)
        for reader in self._readers:
            reader.join()
        self._notices.close()

    def wait_until_ready(self) -> None:
        """Wait for its READY=1; see `ready_seconds`.

        Raises:
            DrillError: It ended, or is not ready in time.
        """
        is_ready = self._is_ready.is_set
        at = self.wait(is_ready, READY_SECONDS, "become ready")
        self.ready_seconds = at - self.began

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> float:
        """Wait for `condition`; return when it held, in monotonic seconds.

        Raises:
            DrillError: It ended, or did not do `what` in time.
        """
        until = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise DrillError(f"the monitor ended{self._last_warnings()}")
            if time.monotonic() > until:
                raise self._late(what, seconds)
            time.sleep(_POLL_SECONDS)
        return time.monotonic()

    def wait_for_line(
        self, part: str, seconds: float, what: str, after: float = 0.0
    ) -> float:
        """Wait for an output line with `part` later than `after`; return its time."""
        found: list[float] = []

        def is_there() -> bool:
            lines = list(self.printed)
            found[:] = [ln.at for ln in lines if ln.at > after and part in ln.text]
            return bool(found)

        self.wait(is_there, seconds, what)
        return found[0]

    def records(self, kind: str | None = None) -> list[dict[str, Any]]:
        """Records of its event log, all or those of one type."""
        path = self.state_dir / "events.jsonl"
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError):  # the line is being written
                    found.append(json.loads(line))
        return [each for each in found if kind in (None, each.get("type"))]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Query its database; the result is empty while it cannot be read."""
        path = self.state_dir / "monitor.db"
        with contextlib.suppress(sqlite3.Error):
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
            with contextlib.closing(connection):
                return connection.execute(sql).fetchall()
        return []

    def column(self, sql: str) -> list[Any]:
        """Query a single column of its database, as `query` does."""
        return [row[0] for row in self.query(sql)]

    def kill(self) -> None:
        """Kill it, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit code and the seconds until its end.

        Raises:
            DrillError: It does not end.
        """
        began = time.monotonic()
        self.process.send_signal(number)
        try:
            code = self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise self._late("end", STOP_SECONDS) from None
        return code, time.monotonic() - began

    def _late(self, what: str, seconds: float) -> DrillError:
        warnings = self._last_warnings()
        return DrillError(f"the monitor did not {what} in {seconds:.0f} s{warnings}")

    def _last_warnings(self) -> str:
        lines = [line.text for line in self.logged if " INFO " not in line.text]
        return f": {'; '.join(lines[-_LAST_LINES:])}" if lines else ""


def _read_notices(notices: socket.socket, is_ready: threading.Event) -> None:
    # All of them: a full queue would delay the monitor.
    while notice := notices.recv(4096):
        if b"READY=1" in notice:
            is_ready.set()


def _read_lines(stream: Any, lines: list[Line]) -> None:
    if stream is None:  # a terminal
        return
    with stream:
        for line in stream:
            text = line.decode(errors="replace").rstrip()
            lines.append(Line(text, time.monotonic()))
