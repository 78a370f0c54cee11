"""The vital signs of the monitor: gathered as it works, read when somebody asks.

What only the main thread of the daemon knows, for those who tell it.

What the process takes from its machine.

How many alerts wait in the outbox, and for how long.

Whether the monitor truly listens: sound comes in, and is analysed.

Whether all is well with the monitor, in a sentence.
"""

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
from typing import Protocol

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


@dataclass(frozen=True, slots=True)
class Watchdog:
    """How the watchdog of the service manager is doing."""

    limit_seconds: float
    """Without a word for so long, the monitor is ended."""

    put_off: float
    """When it was put off, monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The latest time that the configuration was read anew."""

    at: datetime
    """UTC."""

    is_taken: bool
    detail: str
    """What was changed, or why it was refused."""


@dataclass(slots=True)
class DaemonFacts:
    """Written by the main thread, read by any: each value is replaced as a whole."""

    configuration: str = ""
    """The file, or that there is none."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    pid: int = field(default_factory=os.getpid)
    watchdog: Watchdog | None = None
    reload: Reload | None = None


EVERY_SECONDS = 10.0
RECENT_SECONDS = 60.0

_MEMORY = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd"), Path("/dev/fd")


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Of the daemon alone, without the programs that it has started."""

    rss_bytes: int | None
    """Memory in use; None, as below: this system does not tell."""

    open_files: int | None
    threads: int
    cpu_share: float | None
    """Of one core, in the latest minute."""


class Process:
    """Looks at this process.  Any thread."""

    def __init__(self, now: float) -> None:
        """Begin to count at `now`, monotonic seconds."""
        self._spent: deque[tuple[float, float]] = deque([(now, time.process_time())])

    def mark(self, now: float) -> None:
        """Remember what has been spent up to now.  Call often."""
        spent = self._spent
        if now - spent[-1][0] >= EVERY_SECONDS:
            spent.append((now, time.process_time()))
        while len(spent) > 1 and spent[1][0] <= now - RECENT_SECONDS:
            spent.popleft()

    def facts(self, now: float) -> ProcessFacts:
        """How it is at this moment."""
        since, spent = self._spent[0]
        passed = now - since
        used = time.process_time() - spent
        return ProcessFacts(
            _rss_bytes(),
            _open_files(),
            threading.active_count(),
            used / passed if passed > 0 else None,
        )


def _rss_bytes() -> int | None:
    try:
        pages = int(_MEMORY.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> int | None:
    for folder in _FILES:
        try:
            # One of them is that of the listing itself.
            return sum(1 for _ in folder.iterdir()) - 1
        except OSError:
            continue
    return None


_BUSY_MS = 200
"""Who asks how the monitor is doing does not wait for its database."""


@dataclass(frozen=True, slots=True)
class EndpointFacts:
    """The alerts of one endpoint."""

    endpoint: str
    """RULE/KIND."""

    pending: int = 0
    dead: int = 0
    oldest_pending: datetime | None = None
    """When the oldest that waits was made, UTC."""


def read_outbox(path: Path, endpoints: Sequence[str]) -> tuple[EndpointFacts, ...]:
    """Look at the outbox in the database at `path`.

    Args:
        path: The file.
        endpoints: Those of the configuration; others are told if alerts are left.

    Raises:
        StoreError: It cannot be read now.
    """
    try:
        with closing(Database(path).connect_to_read()) as connection:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
            pending = _pending(connection)
            dead: dict[str, int] = dict(
                connection.execute(
                    "SELECT endpoint, count(*) FROM alerts WHERE state = 'dead' "
                    "GROUP BY endpoint"
                )
            )
    except sqlite3.Error as error:
        raise StoreError(f"database {path} cannot be read: {error}") from None
    names = dict.fromkeys([*endpoints, *pending, *dead])
    return tuple(
        EndpointFacts(
            name,
            pending.get(name, (0, None))[0],
            dead.get(name, 0),
            pending.get(name, (0, None))[1],
        )
        for name in names
    )


def _pending(connection: sqlite3.Connection) -> dict[str, tuple[int, datetime | None]]:
    # The counts come from the index alone; only the oldest rows are read.
    rows = connection.execute(
        "SELECT heads.endpoint, heads.count, alerts.created_ms FROM ("
        "SELECT endpoint, count(*) AS count, min(sequence) AS head FROM alerts "
        "WHERE state = 'pending' GROUP BY endpoint) AS heads "
        "JOIN alerts ON alerts.sequence = heads.head"
    )
    return {endpoint: (count, from_ms(ms)) for endpoint, count, ms in rows}


def judge(
    statistics: Statistics | None,
    age_seconds: float,
    deaf: Sequence[str],
    utc: datetime,
) -> str:
    """Say how the monitor is doing.

    Args:
        statistics: The newest; None: there are none yet.
        age_seconds: Of the statistics; of the process, if there are none.
        deaf: Sources that are not listened to.
        utc: Now.
    """
    if statistics is None:
        return f"nothing has been analysed yet, {duration(age_seconds)} after the start"
    if age_seconds >= FRESH_SECONDS:
        return f"the analysis hangs: it has not moved for {duration(age_seconds)}"
    parts = [_sources(statistics, deaf, utc)]
    troubles = [
        _trouble(each)
        for each in statistics.troubles
        if each.kind not in DEAFENING and each.kind != "deaf"
    ]
    if troubles:
        parts.append(f"trouble: {', '.join(troubles)}")
    return "; ".join(parts)


def _sources(statistics: Statistics, deaf: Sequence[str], utc: datetime) -> str:
    sources = {each.source: each for each in statistics.sources}
    count = len(sources)
    if not deaf:
        names = ", ".join(sources) if count <= 3 else f"all {count} sources"
        return f"listening to {names}"
    reasons = [
        f"{name} ({_why_deaf(sources[name], statistics.deafening(name), utc)})"
        for name in deaf
        if name in sources
    ]
    return f"not listening to {', '.join(reasons)}"


def _why_deaf(source: SourceStatistics, trouble: Trouble | None, utc: datetime) -> str:
    if source.state != "listening":
        detail = without_secrets(source.detail)
        return f"{source.state}: {detail}" if detail else source.state
    if trouble is not None:
        return without_secrets(trouble.detail) or trouble.kind
    if source.last_sample is None:
        return "no sound has come yet"
    silence = (utc - source.last_sample).total_seconds()
    if silence >= FRESH_SECONDS:
        return f"no sound has come for {duration(silence)}"
    if math.isnan(source.level.dbfs):
        return "its first seconds are not complete yet"
    return "its sound is not analysed"


def _trouble(trouble: Trouble) -> str:
    place = "" if trouble.source == EVERY_SOURCE else f" at {trouble.source}"
    return f"{trouble.kind}{place}"


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
        self._began = clock.monotonic()
        self._latest: tuple[float, Statistics] | None = None
        self._process = Process(self._began)

    def report(self, statistics: Statistics) -> None:
        """Learn how the monitor is doing.  Worker's thread."""
        now = self._clock.monotonic()
        with self._lock:
            self._latest = now, statistics
        self._process.mark(now)

    def snapshot(self) -> Snapshot:
        """How it is doing now.  Any thread but the worker's: it reads from the disk."""
        now = self._clock.monotonic()
        with self._lock:
            at, statistics = self._latest or (self._began, None)
        age = now - at
        listening = {} if statistics is None else statistics.listening(age)
        deaf = tuple(name for name, is_heard in listening.items() if not is_heard)
        is_listening = bool(listening) and not deaf
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
    for suffix in ("", "-wal", "-shm"):
        try:
            sizes.append(Path(f"{database}{suffix}").stat().st_size)
        except OSError:
            continue
    return sum(sizes) if sizes else None
