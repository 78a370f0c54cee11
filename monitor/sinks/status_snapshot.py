"""The status of the running monitor at one moment, in figures and in a sentence."""

import math
import os
import shutil
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from monitor.clock import Clock
from monitor.errors import StoreError
from monitor.records import EVERY_SOURCE
from monitor.sinks.store.database import Database
from monitor.sinks.store.records import from_ms
from monitor.statistics import (
    DEAFENING,
    FRESH_SECONDS,
    SourceStatistics,
    Statistics,
    Trouble,
)
from monitor.text import duration, without_secrets

CPU_MARK_SECONDS = 10.0
CPU_MARKS = 6
"""The share of the processor is that of the latest minute."""

BUSY_MS = 200
"""Longest wait for a database that is being written to."""


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The watchdog of the service manager."""

    limit_seconds: float
    """The service manager ends a monitor that is silent for so long."""

    put_off: float
    """When it was last put off, monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The latest reload of the configuration."""

    at: datetime
    """UTC."""

    is_taken: bool
    detail: str
    """The changes, or why it was rejected."""


@dataclass(slots=True)
class DaemonFacts:
    """Facts of the main thread; it replaces each as a whole, any thread reads them."""

    configuration: str = ""
    """Path of the file, or a remark that there is none."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    pid: int = field(default_factory=os.getpid)
    watchdog: Watchdog | None = None
    reload: Reload | None = None


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """The parts of a configuration that a snapshot needs."""

    state_dir: Path
    database: Path | None
    endpoints: Sequence[str]
    """Of the alerts: RULE/KIND."""

    compute_device: str
    """As configured: `auto`, `cpu`, `cuda` or `mps`."""


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """The alerts of one endpoint."""

    endpoint: str
    """RULE/KIND."""

    pending: int = 0
    dead: int = 0
    oldest_pending: datetime | None = None
    """When the oldest pending alert was made, UTC."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The status of the monitor at one moment; None stands for what is unknown."""

    settings: SnapshotSettings
    daemon: DaemonFacts
    utc: datetime
    monotonic: float
    statistics: Statistics | None
    """None before the first step of the worker."""

    age_seconds: float
    """Of the statistics; before them, of the process."""

    rss_bytes: int | None
    """Of this process; the programs that it starts are not counted, as below."""

    open_files: int | None
    threads: int
    cpu_share: float | None
    """Of one core, in the latest minute."""

    free_bytes: int | None
    """In the folder that the monitor writes to."""

    database_bytes: int | None
    outbox: tuple[EndpointFacts, ...] | None
    """None: there is no database, or it cannot be read now."""

    @property
    def not_listening(self) -> list[str]:
        """Names of the sources that are not listened to."""
        if self.statistics is None:
            return []
        listening = self.statistics.listening(self.age_seconds)
        return [source for source, is_heard in listening.items() if not is_heard]

    @property
    def is_listening(self) -> bool:
        """Whether all sources are listened to."""
        sources = () if self.statistics is None else self.statistics.sources
        return bool(sources) and not self.not_listening

    @property
    def sentence(self) -> str:
        """The status in one sentence."""
        age, statistics = duration(self.age_seconds), self.statistics
        if statistics is None:
            return f"nothing has been analysed yet, {age} after the start"
        if self.age_seconds >= FRESH_SECONDS:
            return f"the analysis hangs: it has not moved for {age}"
        sentence = self._sources(statistics)
        troubles = [
            _place(each)
            for each in statistics.troubles
            if each.kind not in DEAFENING and each.kind != "deaf"
        ]
        return f"{sentence}; trouble: {', '.join(troubles)}" if troubles else sentence

    def _sources(self, statistics: Statistics) -> str:
        missing, sources = self.not_listening, statistics.sources
        if missing:
            reasons = [
                f"{each.source} ({self._obstacle(each, statistics)})"
                for each in sources
                if each.source in missing
            ]
            return f"not listening to {', '.join(reasons)}"
        if len(sources) > 3:
            return f"listening to all {len(sources)} sources"
        return f"listening to {', '.join(each.source for each in sources)}"

    def _obstacle(self, source: SourceStatistics, statistics: Statistics) -> str:
        """Why the source is not listened to."""
        if source.state != "listening":
            detail = without_secrets(source.detail)
            return f"{source.state}: {detail}" if detail else source.state
        trouble = statistics.deafening(source.source)
        if trouble is not None:
            return without_secrets(trouble.detail) or trouble.kind
        if source.last_sample is None:
            return "no sound has come yet"
        silence = (self.utc - source.last_sample).total_seconds()
        if silence >= FRESH_SECONDS:
            return f"no sound has come for {duration(silence)}"
        if math.isnan(source.level.dbfs):
            return "its first seconds are not complete yet"
        return "its sound is not analysed"


class StatusTracker:
    """Keeps the newest statistics, and takes snapshots of the monitor."""

    def __init__(
        self, settings: SnapshotSettings, daemon: DaemonFacts, clock: Clock
    ) -> None:
        self._settings = settings
        self._daemon = daemon
        self._clock = clock
        self._began = clock.monotonic()
        # Replaced as a whole: the worker's thread writes, others read.
        self._latest: tuple[float, Statistics] | None = None
        self._cpu_marks = deque([(self._began, time.process_time())], CPU_MARKS)

    def report(self, statistics: Statistics) -> None:
        """Take the newest statistics.  Worker's thread."""
        now = self._clock.monotonic()
        self._latest = now, statistics
        if now - self._cpu_marks[-1][0] >= CPU_MARK_SECONDS:
            self._cpu_marks.append((now, time.process_time()))

    def snapshot(self) -> Snapshot:
        """Take a snapshot.  Any thread but the worker's: it reads from the disk."""
        now = self._clock.monotonic()
        reported, statistics = self._latest or (self._began, None)
        since, spent = self._cpu_marks[0]
        used = time.process_time() - spent
        return Snapshot(
            self._settings,
            self._daemon,
            self._clock.utc(),
            now,
            statistics,
            now - reported,
            _rss_bytes(),
            _open_files(),
            threading.active_count(),
            used / (now - since) if now > since else None,
            _free_bytes(self._settings.state_dir),
            _database_bytes(self._settings.database),
            _outbox(self._settings),
        )


def _place(trouble: Trouble) -> str:
    whole = trouble.source == EVERY_SOURCE
    return trouble.kind if whole else f"{trouble.kind} at {trouble.source}"


def _rss_bytes() -> int | None:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> int | None:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            # One of them is that of the listing itself.
            return sum(1 for _ in Path(folder).iterdir()) - 1
        except OSError:
            continue
    return None


def _free_bytes(folder: Path) -> int | None:
    """Room in `folder`, or where it would be made."""
    for existing in (folder, *folder.parents):
        try:
            return shutil.disk_usage(existing).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _database_bytes(database: Path | None) -> int | None:
    """Size of the database with its journal; None: there is none."""
    sizes = []
    for suffix in ("", "-wal", "-shm") if database is not None else ():
        try:
            sizes.append(Path(f"{database}{suffix}").stat().st_size)
        except OSError:
            continue
    return sum(sizes) if sizes else None


def _outbox(settings: SnapshotSettings) -> tuple[EndpointFacts, ...] | None:
    """Alerts by endpoint: those of the configuration, and others with alerts left."""
    if settings.database is None:
        return None
    try:
        with closing(Database(settings.database).connect(read_only=True)) as connection:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            # The counts come from the indices alone; only the oldest rows are read.
            pending = {
                endpoint: (count, from_ms(ms))
                for endpoint, count, ms in connection.execute(
                    "SELECT heads.endpoint, heads.count, alerts.created_ms FROM ("
                    "SELECT endpoint, count(*) AS count, min(sequence) AS head "
                    "FROM alerts WHERE state = 'pending' GROUP BY endpoint) AS heads "
                    "JOIN alerts ON alerts.sequence = heads.head"
                )
            }
            dead: dict[str, int] = dict(
                connection.execute(
                    "SELECT endpoint, count(*) FROM alerts WHERE state = 'dead' "
                    "GROUP BY endpoint"
                )
            )
    except (sqlite3.Error, StoreError):
        return None  # the threads that write to it report the fault
    return tuple(
        EndpointFacts(name, count, dead.get(name, 0), oldest)
        for name in dict.fromkeys([*settings.endpoints, *pending, *dead])
        for count, oldest in [pending.get(name, (0, None))]
    )
