"""Deleting what was heard, at the wish of the user, so that it is gone."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from monitor.errors import StoreUnavailableError
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.queries import LONGEST_ROW_MS
from monitor.sinks.store.records import from_ms, to_ms

T = TypeVar("T")

_ALWAYS = -(1 << 62)
_COUNTS = {
    "events": "SELECT count(*), min(at_ms) FROM events "
    "WHERE at_ms >= :since OR end_ms > :since OR end_reason IS NULL",
    "gaps": "SELECT count(*), min(at_ms) FROM gaps "
    "WHERE at_ms >= :since OR end_ms > :since",
    "health": "SELECT count(*), min(at_ms) FROM health "
    "WHERE at_ms >= :since OR end_ms > :since OR state = 'raised'",
    "score_frames": "SELECT sum(frames), min(start_ms) FROM scores "
    "WHERE start_ms > :since - :row AND end_ms > :since",
    "alerts": "SELECT count(*), min(created_ms) FROM alerts "
    "WHERE created_ms >= :since OR event_id IN (SELECT id FROM events "
    "WHERE at_ms >= :since OR end_ms > :since OR end_reason IS NULL)",
}
_DELETIONS = (
    "DELETE FROM alerts WHERE created_ms >= :since OR event_id IN "
    "(SELECT id FROM events "
    "WHERE at_ms >= :since OR end_ms > :since OR end_reason IS NULL)",
    "DELETE FROM events WHERE at_ms >= :since OR end_ms > :since OR end_reason IS NULL",
    "DELETE FROM gaps WHERE at_ms >= :since OR end_ms > :since",
    "DELETE FROM health WHERE at_ms >= :since OR end_ms > :since OR state = 'raised'",
    "DELETE FROM scores WHERE start_ms > :since - :row AND end_ms > :since",
)
_DELETIONS_OF_ALL = (
    "DELETE FROM rule_state",
    # The newest session may be running.
    "DELETE FROM sessions WHERE id < (SELECT max(id) FROM sessions)",
)


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What is deleted, or would be."""

    since: datetime | None
    """Beginning of the oldest of it, UTC; None: there is nothing."""

    events: int
    gaps: int
    health: int
    score_frames: int
    alerts: int


NOTHING = Forgotten(None, **dict.fromkeys(_COUNTS, 0))


def look(path: Path, since: datetime | None) -> Forgotten:
    """What `forget` would delete.

    Raises:
        StoreUnavailableError: The database cannot be read.
    """
    database = Database(path)

    def count(connection: sqlite3.Connection) -> Forgotten:
        return _count(connection, _ALWAYS if since is None else to_ms(since))

    return _run(database, count)


def forget(path: Path, since: datetime | None, now: datetime) -> Forgotten:
    """Delete what lies after `since` in part or wholly; None: everything.

    Scores are deleted by rows, so up to a minute before `since` goes with them.  The
    space is overwritten and given back.  A monitor that is running goes on.

    Raises:
        StoreUnavailableError: The database cannot be written; nothing was deleted, or
            the copy of it that waits in the write-ahead log could not be removed.
    """
    database = Database(path)
    database.prepare()
    since_ms = _ALWAYS if since is None else to_ms(since)

    def delete(connection: sqlite3.Connection) -> Forgotten:
        with transaction(connection):
            counted = _count(connection, since_ms)
            for deletion in _DELETIONS:
                connection.execute(deletion, {"since": since_ms, "row": LONGEST_ROW_MS})
            first = since_ms if counted.since is None else to_ms(counted.since)
            # What a running monitor has in memory of it must not come back.
            connection.execute(
                "INSERT INTO forgotten (session, since_ms, until_ms) "
                "SELECT max(id), ?, ? FROM sessions HAVING max(id) IS NOT NULL",
                (min(first, since_ms), to_ms(now)),
            )
            if since is None:
                for deletion in _DELETIONS_OF_ALL:
                    connection.execute(deletion)
        _give_back(connection)
        return counted

    return _run(database, delete)


def _run(database: Database, work: Callable[[sqlite3.Connection], T]) -> T:
    try:
        with closing(database.connect()) as connection:
            return work(connection)
    except sqlite3.Error as error:
        raise StoreUnavailableError(
            f"database {database.path} cannot be used: {error}"
        ) from None


def _count(connection: sqlite3.Connection, since_ms: int) -> Forgotten:
    values = {"since": since_ms, "row": LONGEST_ROW_MS}
    counts: dict[str, int] = {}
    firsts: list[int] = []
    for name, query in _COUNTS.items():
        count, first = connection.execute(query, values).fetchone()
        counts[name] = int(count or 0)
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
            "what it reads still stands in the write-ahead log: run this again"
        )
