"""The vital signs of the monitor: gathered as it works, read when somebody asks."""

import shutil
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from monitor.errors import StoreError
from monitor.records import Statistics
from monitor.sinks.listening import FRESH_SECONDS, Listening
from monitor.sinks.status.daemon import DaemonFacts
from monitor.sinks.status.judgement import judge
from monitor.sinks.status.outbox import EndpointFacts, read_outbox
from monitor.sinks.status.process import Process, ProcessFacts


class Clock(Protocol):
    """What the vital signs need of time."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never steps."""

    def utc(self) -> datetime:
        """What the clock on the wall says; may step."""


@dataclass(frozen=True, slots=True)
class Premises:
    """What a configuration says about the daemon that runs with it."""

    state_dir: Path
    database: Path | None
    endpoints: Sequence[str]
    """Of the alerts: RULE/KIND."""

    compute_device: str
    """What was asked for: `auto`, `cpu`, `cuda` or `mps`."""


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """Where the monitor writes."""

    state_dir: Path
    free_bytes: int | None
    """None, as below: unknown, or not there."""

    database_bytes: int | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How the monitor is doing at one moment."""

    premises: Premises
    daemon: DaemonFacts
    utc: datetime
    monotonic: float
    is_listening: bool
    deaf: tuple[str, ...]
    """Names of the sources that are not listened to."""

    sentence: str
    """All this, for people."""

    statistics: Statistics | None
    """None: nothing was analysed yet."""

    age_seconds: float
    """Of the statistics; of the process, where there are none."""

    process: ProcessFacts
    disk: DiskFacts
    outbox: tuple[EndpointFacts, ...] | None
    """None: there is no database, or it cannot be read now."""


class Vitals:
    """Learns from the worker how the monitor is doing, and tells any thread."""

    def __init__(self, premises: Premises, daemon: DaemonFacts, clock: Clock) -> None:
        self._premises = premises
        self._daemon = daemon
        self._clock = clock
        self._lock = threading.Lock()
        self._listening = Listening()
        self._began = clock.monotonic()
        self._latest: tuple[float, Statistics] | None = None
        self._process = Process(self._began)

    def report(self, statistics: Statistics) -> None:
        """Learn how the monitor is doing.  Worker's thread."""
        now = self._clock.monotonic()
        with self._lock:
            self._listening.report(statistics, now)
            self._latest = now, statistics
        self._process.mark(now)

    def snapshot(self) -> Snapshot:
        """How it is doing now.  Any thread but the worker's: it reads from the disk."""
        now = self._clock.monotonic()
        with self._lock:
            at, statistics = self._latest or (self._began, None)
            deaf = tuple(self._listening.deaf(now))
            listens = self._listening.is_enough(now, "all")
        age = now - at
        is_listening = statistics is not None and listens and age < FRESH_SECONDS
        return Snapshot(
            self._premises,
            self._daemon,
            self._clock.utc(),
            now,
            is_listening,
            deaf,
            judge(statistics, age, deaf, self._clock.utc()),
            statistics,
            age,
            self._process.facts(now),
            self._disk(),
            self._outbox(),
        )

    def _disk(self) -> DiskFacts:
        folder, database = self._premises.state_dir, self._premises.database
        size = None if database is None else _size(database)
        return DiskFacts(folder, _free(folder), size)

    def _outbox(self) -> tuple[EndpointFacts, ...] | None:
        if self._premises.database is None:
            return None
        try:
            return read_outbox(self._premises.database, self._premises.endpoints)
        except StoreError:
            return None  # Whoever writes to it says so.


def _free(folder: Path) -> int | None:
    """Room in `folder`, or where it would be made."""
    for existing in (folder, *folder.parents):
        try:
            return shutil.disk_usage(existing).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _size(database: Path) -> int | None:
    """Of the database and what belongs to it."""
    sizes = []
    for companion in ("", "-wal", "-shm"):
        try:
            sizes.append(Path(f"{database}{companion}").stat().st_size)
        except OSError:
            continue
    return sum(sizes) if sizes else None
