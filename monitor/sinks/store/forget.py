"""Deletion of records at the user's wish, so that they are gone from the file."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from monitor.errors import StoreDamagedError, StoreUnavailableError
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.queries import MAX_ROW_MS
from monitor.sinks.store.records import from_ms, to_ms
from monitor.sinks.store.writer_lock import WriterLock

T = TypeVar("T")

_ALWAYS = -(1 << 62)
_EVENTS = "at_ms >= :since OR end_ms > :since OR end_reason IS NULL"
_EVENT_IDS = f"SELECT id FROM events WHERE {_EVENTS}"  # noqa: S608 - constants
_CONDITIONS = {
    # First the alerts: which of them go depends on the events.
    "alerts": f"created_ms >= :since OR event_id IN ({_EVENT_IDS})",
    "events": _EVENTS,
    "gaps": "at_ms >= :since OR end_ms > :since",
    "health": "at_ms >= :since OR end_ms > :since OR state = 'raised'",
    "scores": "start_ms > :since - :row AND end_ms > :since",
}
_COUNTS = {
    "alerts": "count(*), min(created_ms)",
    "scores": "sum(frames), min(start_ms)",
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


def forget(path: Path, since: datetime | None, now: datetime) -> Forgotten:
    """Delete all records that reach beyond `since`; None: everything.

    Scores are deleted by rows, so up to a minute before `since` goes with them.  The
    space is overwritten and given back.  A monitor that is running goes on.

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
                    f"DELETE FROM {table} WHERE {condition}",  # noqa: S608 - constants
                    values,
                )
            first = values["since"] if counted.since is None else to_ms(counted.since)
            # A running monitor must not write the rest of it that it has in memory.
            connection.execute(
                "INSERT INTO forgotten (session, since_ms, until_ms) "
                "SELECT max(id), ?, ? FROM sessions HAVING max(id) IS NOT NULL",
                (min(first, values["since"]), to_ms(now)),
            )
            if since is None:
                for deletion in _DELETIONS_OF_ALL:
                    connection.execute(deletion)
        _give_back(connection)
        return counted

    return _run(database, delete)


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
            f"SELECT {columns} FROM {table} WHERE {condition}",  # noqa: S608 - constants
            values,
        ).fetchone()
        counts["score_frames" if table == "scores" else table] = int(number or 0)
        if first is not None:
            firsts.append(first)
    return Forgotten(from_ms(min(firsts)) if firsts else None, **counts)


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
