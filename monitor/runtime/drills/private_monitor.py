"""A private monitor: the real command in a process of its own, to be broken.

The processes that a process has started, and theirs.

What a drill found out.
"""

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
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.errors import SoundMonitorError


def children(pid: int) -> list[int]:
    """Processes that `pid` has started and that have not ended."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has just ended
            found += [int(child) for child in listing.read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """The same, and theirs, and so on; the nearest first."""
    nearest = children(pid)
    return nearest + [each for child in nearest for each in descendants(child)]


Say = Callable[[str], None]
"""Takes a sentence about what a drill is doing now."""


class DrillError(SoundMonitorError):
    """A drill failed, or could not be held: the sentence says what was missing."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one drill ended."""

    drill: str
    passed: bool
    sentence: str
    """What was seen, for people."""

    recovery_seconds: float | None = None
    """From when the trouble was over, or began, to when all was well again."""

    facts: dict[str, Any] = field(default_factory=dict)
    """The same in numbers."""


READY_SECONDS = 60.0
STOP_SECONDS = 10.0

_POLL_SECONDS = 0.02
_LAST_LINES = 3

# What tells a service of systemd who it is: the private one is another.
_FOREIGN = (
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


@dataclass(frozen=True, slots=True)
class Line:
    """A line that the monitor printed, or logged."""

    text: str
    at: float
    """Monotonic seconds at which it came."""


class PrivateMonitor:
    """One run of `sound-monitor run`, from its start to its end.

    Its words come through pipes, so that a full disk does not silence it.
    """

    def __init__(self, folder: Path, config: str, name: str) -> None:
        """Start it.

        Args:
            folder: Of the drill; `state` in it is the state folder.
            config: Text of its configuration.
            name: Of this run, no other has it.
        """
        self.state_dir = folder / "state"
        self.lines: list[Line] = []
        """Printed so far, each about a record."""

        self.log: list[Line] = []
        """Logged so far."""

        path = folder / f"{name}.yaml"
        path.write_text(config)
        self._notices = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify = folder / f"{name}.sock"
        self._notices.bind(str(notify))
        environment = {k: v for k, v in os.environ.items() if k not in _FOREIGN}
        self.began = time.monotonic()
        self.process = subprocess.Popen(  # noqa: S603 - this very program
            [sys.executable, "-m", "monitor.commands.app", "run", "--config", path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**environment, "NOTIFY_SOCKET": str(notify)},
            # Ctrl-C is for the drill, which then ends it.
            start_new_session=True,
        )
        self._readers = [
            threading.Thread(target=_read, args=pair, name=f"drill-{name}")
            for pair in (
                (self.process.stdout, self.lines),
                (self.process.stderr, self.log),
            )
        ]
        for reader in self._readers:
            reader.start()

    def wait_until_ready(self) -> float:
        """Wait until it has said that it is ready; return the seconds it took.

        Raises:
            DrillError: It ended instead, or does not become ready.
        """
        self._notices.settimeout(_POLL_SECONDS)

        def is_ready() -> bool:
            with contextlib.suppress(TimeoutError):
                return b"READY=1" in self._notices.recv(4096)
            return False

        return self.wait(is_ready, READY_SECONDS, "become ready") - self.began

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> float:
        """Wait for `condition`; return when it was first seen, monotonic seconds.

        Raises:
            DrillError: It ended, or did not do `what` in time.
        """
        until = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                raise DrillError(f"the private monitor ended{self.last_words()}")
            if time.monotonic() > until:
                raise DrillError(
                    f"the private monitor did not {what} in {seconds:.0f} s"
                    f"{self.last_words()}"
                )
            time.sleep(_POLL_SECONDS)
        return time.monotonic()

    def wait_for_line(
        self, part: str, after: float, seconds: float, what: str
    ) -> float:
        """Wait for a line printed later than `after` that has `part`; return when."""
        found: list[float] = []

        def is_there() -> bool:
            found[:] = [
                line.at
                for line in list(self.lines)
                if line.at > after and part in line.text
            ]
            return bool(found)

        self.wait(is_there, seconds, what)
        return found[0]

    def last_words(self) -> str:
        """What it logged last, for the end of a sentence."""
        said = [line.text for line in self.log if " INFO " not in line.text]
        words = said[-_LAST_LINES:]
        return f": {'; '.join(words)}" if words else ""

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What stands in its event log of one type."""
        path = self.state_dir / "events.jsonl"
        found = []
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_text().splitlines():
                with contextlib.suppress(ValueError):  # it is being written
                    found.append(json.loads(line))
        return [each for each in found if each.get("type") == kind]

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Ask its database; nothing, if it cannot be read now."""
        path = self.state_dir / "monitor.db"
        with contextlib.suppress(sqlite3.Error):
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=5)
            with contextlib.closing(connection):
                return connection.execute(sql).fetchall()
        return []

    def kill(self) -> None:
        """End it as a crash does: no last words."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to end; return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise DrillError(
                f"the private monitor did not end in {STOP_SECONDS:.0f} s"
                f"{self.last_words()}"
            ) from None

    def close(self) -> None:
        """Leave nothing of it behind."""
        # Its children have groups of their own, and one that is stopped by a signal
        # would not notice that the monitor has gone.
        for pid in [*descendants(self.process.pid), self.process.pid]:
            if self.process.poll() is None or pid != self.process.pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.process.wait()
        for reader in self._readers:
            reader.join()
        self._notices.close()


@contextlib.contextmanager
def private_monitor(
    folder: Path, config: str, name: str = "run"
) -> Iterator[PrivateMonitor]:
    """A private monitor that is gone when the block ends, whatever happens."""
    monitor = PrivateMonitor(folder, config, name)
    try:
        yield monitor
    finally:
        monitor.close()


def _read(stream: Any, lines: list[Line]) -> None:
    """Take lines with their times, until the stream ends."""
    with stream:
        for line in stream:
            text = line.decode(errors="replace").rstrip()
            lines.append(Line(text, time.monotonic()))
