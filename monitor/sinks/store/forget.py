"""Deletion of records at the user's wish, so that they are gone from the file."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from monitor.errors import StoreDamagedError, StoreUnavailableError
from monitor.records import Event, Health, Onset, SourceState, Timed
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.frame_rows import MAX_ROW_MS
from monitor.sinks.store.records import from_ms, is_going_on, to_ms
from monitor.sinks.store.side_files import WriterLock
from monitor.sinks.store.writer import Backlog

T = TypeVar("T")
Range = tuple[int, int]
"""Milliseconds UTC, from the first and before the second."""

LATE_MS = 10_000
"""Records from before a deletion may still be on their way for so long."""

_ALWAYS = -(1 << 62)
_EVENTS = "at_ms >= :since OR end_ms > :since OR end_reason IS NULL"
_EVENT_IDS = f"SELECT id FROM events WHERE {_EVENTS}"
_CONDITIONS = {
    # First the alerts: which of them go depends on the events.
    "alerts": f"created_ms >= :since OR event_id IN ({_EVENT_IDS})",
    "events": _EVENTS,
    "gaps": "at_ms >= :since OR end_ms > :since",
    "health": "at_ms >= :since OR end_ms > :since OR state = 'raised'",
    "level_hours": "hour_ms + 3600000 > :since",
    "scores": "start_ms > :since - :row AND end_ms > :since",
    "embeddings": "start_ms > :since - :row AND end_ms > :since",
}
_COUNTS = {
    "alerts": "count(*), min(created_ms)",
    "level_hours": "count(*), max(min(hour_ms), :since)",
    "scores": "sum(frames), min(start_ms)",
    "embeddings": "sum(frames), min(start_ms)",
}
_DELETIONS_OF_ALL = (
    "DELETE FROM rule_state",
    # The newest session may be running.
    "DELETE FROM sessions WHERE id < (SELECT max(id) FROM sessions)",
)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The number of records that are deleted, or would be."""

    since: datetime | None = None
    """Beginning of the oldest of them, UTC; None: there are none."""

    events: int = 0
    gaps: int = 0
    health: int = 0
    score_frames: int = 0
    alerts: int = 0
    embeddings: int = 0
    level_hours: int = 0


def count(path: Path, since: datetime | None) -> Forgotten:
    """Count the records that `forget` would delete.

    Raises:
        StoreUnavailableError: The database cannot be read.
    """
    database = Database(path)

    def counted(connection: sqlite3.Connection) -> Forgotten:
        database.check_readable(connection)
        return _count(connection, _values(since))

    return _run(database, counted, read_only=True)


def newest_session_start(path: Path) -> datetime | None:
    """Return the start of the newest session, UTC; None: there is none.

    Raises:
        StoreUnavailableError: The database cannot be read.
    """

    def read(connection: sqlite3.Connection) -> datetime | None:
        query = "SELECT started_ms FROM sessions ORDER BY id DESC LIMIT 1"
        row = connection.execute(query).fetchone()
        return None if row is None else from_ms(row[0])

    return _run(Database(path), read, read_only=True)


def forget(path: Path, since: datetime | None, now: datetime) -> Forgotten:
    """Delete all records that reach beyond `since`; None: everything.

    Scores and embeddings are deleted by rows, so up to a minute before `since` goes
    with them, and levels by the hour.  The space is overwritten and given back.  A
    monitor that is running goes on.

    Raises:
        StoreUnavailableError: The database cannot be written; nothing was deleted, or
            the copy of it that waits in the write-ahead log could not be removed.
    """
    database = Database(path)
    _prepare(database)
    values = _values(since)

    def delete(connection: sqlite3.Connection) -> Forgotten:
        with transaction(connection):
            counted = _count(connection, values)
            for table, condition in _CONDITIONS.items():
                connection.execute(
                    f"DELETE FROM {table} WHERE {condition}",
                    values,
                )
            # Its place is published as deleted, and not what was there, or when.
            connection.execute(
                "DELETE FROM outgoing WHERE at_ms >= :since AND type != 'session'",
                values,
            )
            first = values["since"] if counted.since is None else to_ms(counted.since)
            # A running monitor must not write the rest of it that it has in memory.
            connection.execute(
                "INSERT INTO forgotten (session, since_ms, until_ms) "
                "SELECT coalesce(max(id), 0), ?, ? FROM sessions",
                (min(first, values["since"]), to_ms(now)),
            )
            if since is None:
                for deletion in _DELETIONS_OF_ALL:
                    connection.execute(deletion)
        _give_back(connection)
        return counted

    return _run(database, delete)


class Forgetting:
    """The deletions while this monitor runs: what was before is not written any more.

    Times matter only for what is in memory when a deletion is noticed, not afterwards:
    the wall clock may jump.
    """

    def __init__(self) -> None:
        """Begin with the first `look`: nothing before is in memory."""
        self._newest: int | None = None
        self._going_on: dict[str, int] = {}
        self._ids: set[str] = set()
        self._until_ms = 0

    def covers(self, timed: Timed) -> bool:
        """Return True for what began before a deletion, and ends or is found now."""
        record = timed.record
        key = record.id if isinstance(record, Onset | Event | Health) else ""
        if key in self._ids:
            return True
        if isinstance(record, SourceState) or timed.start_utc is None:
            return False
        end_ms = to_ms(timed.end_utc or timed.start_utc)
        is_late = to_ms(timed.start_utc) < self._until_ms < end_ms + LATE_MS
        if is_late and key:
            self._ids.add(key)
        return is_late

    def follow(self, timed: Timed, at_ms: int) -> None:
        """Take a record that is written: `at_ms` is its start, or when it came."""
        if is_going_on(timed.record):
            assert isinstance(timed.record, Onset | Health)
            self._going_on[timed.record.id] = at_ms
        elif isinstance(timed.record, Event | Health):
            self._going_on.pop(timed.record.id, None)

    def look(self, connection: sqlite3.Connection) -> list[Range]:
        """Return the ranges deleted since the last call, inside a transaction."""
        query = "SELECT coalesce(max(id), 0) FROM forgotten"
        (newest,) = connection.execute(query).fetchone()
        before, self._newest = self._newest, newest
        if before is None or newest <= before:
            return []
        query = "SELECT since_ms, until_ms FROM forgotten WHERE id > ?"
        ranges: list[Range] = connection.execute(query, (before,)).fetchall()
        self._until_ms = until_ms = max(until_ms for _, until_ms in ranges)
        # Whatever goes on was deleted, whenever it began.
        self._ids |= {key for key, at in self._going_on.items() if at < until_ms}
        return ranges

    def take_out(self, backlog: Backlog, deleted: Range) -> None:
        """Take what was before a deletion out of the records and alerts in memory."""
        since_ms, until_ms = deleted
        records, alerts = list(backlog.records), list(backlog.alerts)
        backlog.records.clear()
        for timed, received_ms in records:
            if _overlaps(timed, received_ms, deleted):
                if isinstance(timed.record, Onset | Event | Health):
                    self._ids.add(timed.record.id)
            else:
                backlog.records.append((timed, received_ms))
        backlog.alerts.clear()
        backlog.alerts.extend(
            alert
            for alert in alerts
            if alert.event_id not in self._ids
            and not since_ms <= to_ms(alert.created) < until_ms
        )


def _overlaps(timed: Timed, received_ms: int, deleted: Range) -> bool:
    since_ms, until_ms = deleted
    at_ms = received_ms if timed.start_utc is None else to_ms(timed.start_utc)
    if at_ms >= until_ms:
        return False
    end_ms = at_ms if timed.end_utc is None else to_ms(timed.end_utc)
    return is_going_on(timed.record) or at_ms >= since_ms or end_ms > since_ms


def _values(since: datetime | None) -> dict[str, int]:
    return {"since": _ALWAYS if since is None else to_ms(since), "row": MAX_ROW_MS}


def _prepare(database: Database) -> None:
    """Prepare it; where it is damaged, set it aside as a monitor would."""
    try:
        database.prepare(mends=False)
    except StoreDamagedError:
        lock = WriterLock(database.path)
        lock.acquire()
        try:
            database.prepare()
        finally:
            lock.release()


def _run(
    database: Database,
    work: Callable[[sqlite3.Connection], T],
    *,
    read_only: bool = False,
) -> T:
    try:
        with closing(database.connect(read_only=read_only)) as connection:
            return work(connection)
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise database.failure(error) from None


def _count(connection: sqlite3.Connection, values: dict[str, int]) -> Forgotten:
    counts: dict[str, int] = {}
    firsts: list[int] = []
    for table, condition in _CONDITIONS.items():
        columns = _COUNTS.get(table, "count(*), min(at_ms)")
        number, first = connection.execute(
            f"SELECT {columns} FROM {table} WHERE {condition}",
            values,
        ).fetchone()
        counts["score_frames" if table == "scores" else table] = int(number or 0)
        if first is not None:
            firsts.append(first)
    # A damaged time may lie before every calendar.
    return Forgotten(from_ms(max(0, min(firsts))) if firsts else None, **counts)


def _give_back(connection: sqlite3.Connection) -> None:
    """Remove the free pages, which secure_delete has overwritten, and the log."""
    # Only a script is stepped to its end: `execute` would give back a single page.
    connection.executescript("PRAGMA incremental_vacuum")
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if busy:
        raise StoreUnavailableError(
            "the events are deleted, but another program is reading the database, and "
            "the write-ahead log still holds them: run this again"
        )
