"""The queue of records to be published: a view of the database, which has them all."""

import base64
import contextlib
import json
import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor.clock import EARLIEST, LATEST
from monitor.errors import StoreUnavailableError
from monitor.records import Event, Onset, Timed
from monitor.sinks.encoding import encode
from monitor.sinks.store.database import Database, PathConnection, transaction
from monitor.sinks.store.records import (
    INVALID,
    from_ms,
    read_gap,
    read_health,
    read_occurrence,
    select,
    to_ms,
)
from monitor.sinks.store.salvage import is_damage
from monitor.text import rounded, utc_text

BATCH_RECORDS = 100
BATCH_BYTES = 2**20
"""Bounds of a batch, in records and in bytes of their scores."""

_WRITTEN_EVERY = 500
_NEWEST = "coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'outgoing'), 0)"

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class QueuedRecord:
    """A record to be published, under the sequence that it has for ever."""

    sequence: int
    type: str
    record: Record

    def as_deleted(self) -> "QueuedRecord":
        """Return what is published instead if it cannot be."""
        at = self.record.get("start")
        return QueuedRecord(self.sequence, "deleted", {"type": self.type, "at": at})


@dataclass(frozen=True, slots=True)
class Position:
    """How far publishing has come, in one epoch."""

    epoch: str
    previous: Record | None
    """The `epoch` before this one and its `last` sequence; None: unknown."""

    acknowledged: int
    """The broker has all up to this sequence, as far as the database knows."""

    durable: int
    """All up to this sequence survive a power cut."""

    newest: int


class Queue:
    """Reads the records to be published, in order.  Used by one thread.

    Every method raises a StoreError while the database cannot be used.
    """

    def __init__(self, path: Path) -> None:
        """Open nothing yet; the store creates the database."""
        self._database = Database(path)
        self._at_path = PathConnection(self._database)

    def position(self, epoch: str, acknowledged: int) -> Position | None:
        """Return how far it has come; None: nothing is published.

        What it says is durable: a power cut would otherwise give the same sequence to
        another record after the broker has the first.  `acknowledged`, of `epoch`, is
        written with the same transaction, if one is needed, and else when it has come
        far enough: to send some records again is allowed.
        """
        with self._used() as connection:
            found = _position(connection)
            if found is None:
                return None
            ahead = acknowledged - found.acknowledged if found.epoch == epoch else 0
            if found.durable >= found.newest and ahead < _WRITTEN_EVERY:
                return found
            try:
                return self._write(connection, epoch, acknowledged)
            except sqlite3.OperationalError:
                # As on a full disk.  What is committed is in the log, or was synced.
                with contextlib.suppress(FileNotFoundError):
                    _sync(Path(f"{self._database.path}-wal"))
                return found

    def acknowledge(self, epoch: str, acknowledged: int) -> None:
        """Write how far the broker has everything."""
        with self._used() as connection:
            self._write(connection, epoch, acknowledged)

    def _write(
        self, connection: sqlite3.Connection, epoch: str, acknowledged: int
    ) -> Position | None:
        # With WAL, a commit is synced with `synchronous = FULL` alone, and then all
        # before it is too: the store does not sync scores.
        connection.execute("PRAGMA synchronous = FULL")
        with transaction(connection):
            # A page is written, and so synced, only if something in it changes.
            connection.execute(
                f"UPDATE publishing SET durable = {_NEWEST}, acknowledged = "  # noqa: S608
                "CASE WHEN epoch = ? THEN max(acknowledged, ?) ELSE acknowledged END",
                (epoch, acknowledged),
            )
            return _position(connection)

    def entries(self, epoch: str, first: int, last: int) -> list[QueuedRecord]:
        """Read from `first` on, up to `last`, but no more than fits into a batch.

        What was deleted is of type `deleted`.
        """
        last = min(last, first + BATCH_RECORDS - 1)
        entries: list[QueuedRecord] = []
        size = 0
        with self._used() as connection:
            position = _position(connection)
            if position is None or position.epoch != epoch:
                raise StoreUnavailableError(
                    f"database {self._database.path} was replaced just now"
                )
            rows = select(
                connection,
                "SELECT * FROM outgoing WHERE sequence BETWEEN ? AND ? "
                "ORDER BY sequence",
                (first, last),
            )
            for row in rows.fetchall():
                entries += deleted(first + len(entries), row["sequence"] - 1)
                entry = _entry(connection, row)
                entries.append(entry)
                size += len(entry.record.get("data", ""))
                if size > BATCH_BYTES:
                    return entries
        return entries + deleted(first + len(entries), last)

    def add_digest(self, digest: Mapping[str, Any], now: datetime) -> None:
        """Put a digest at the end of the queue, while records are published."""
        with self._used() as connection, transaction(connection):
            connection.execute(
                "INSERT INTO outgoing (type, at_ms, body) SELECT 'digest', ?, ? "
                "FROM publishing",
                (to_ms(now), json.dumps(digest)),
            )

    def close(self) -> None:
        """Close the database; the next call opens it again."""
        self._at_path.close()

    @contextmanager
    def _used(self) -> Iterator[sqlite3.Connection]:
        try:
            yield self._at_path.get()
        except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
            self.close()
            raise self._database.failure(error) from None


def _sync(file: Path) -> None:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def deleted(first: int, last: int) -> list[QueuedRecord]:
    """Make the records first..last of what nobody has any more."""
    unknown = {"type": None, "at": None}
    return [QueuedRecord(each, "deleted", unknown) for each in range(first, last + 1)]


def _position(connection: sqlite3.Connection) -> Position | None:
    row = connection.execute(
        f"SELECT epoch, previous, acknowledged, durable, {_NEWEST} FROM publishing"  # noqa: S608
    ).fetchone()
    if row is None:
        return None
    epoch, previous, *numbers = row
    return Position(epoch, _previous(previous), *numbers)


def _previous(text: str | None) -> Record | None:
    try:
        known = json.loads(text or "{}")
        return {"epoch": known["epoch"], "last": int(known["last"])}
    except INVALID:
        return None


def _entry(connection: sqlite3.Connection, row: sqlite3.Row) -> QueuedRecord:
    """Make the record of a row of `outgoing`."""
    sequence, kind = row["sequence"], row["type"]
    try:
        record = _READERS[kind](connection, row)
    except (*INVALID, sqlite3.DatabaseError) as error:
        if isinstance(error, sqlite3.Error) and not is_damage(error):
            raise
        record = None  # nobody can read it any more
    if record is None:
        known = kind if kind in _READERS else None
        return QueuedRecord(
            sequence, "deleted", {"type": known, "at": _time(row["at_ms"])}
        )
    return QueuedRecord(sequence, kind, record)


def _time(milliseconds: int) -> str | None:
    is_set = to_ms(EARLIEST) <= milliseconds < to_ms(LATEST)
    return utc_text(from_ms(milliseconds)) if is_set else None


def _row(
    connection: sqlite3.Connection, table: str, key: str, row: sqlite3.Row
) -> sqlite3.Row | None:
    query = f"SELECT * FROM {table} WHERE {key} = ?"  # noqa: S608 - constants
    found: sqlite3.Row | None = select(connection, query, (row["row"],)).fetchone()
    return found


def _session(connection: sqlite3.Connection, row: sqlite3.Row) -> Record | None:
    found = _row(connection, "sessions", "id", row)
    if found is None:
        return None
    position = _position(connection)
    about = json.loads(row["body"] or "{}")
    return {
        "session": found["session"],
        "model": found["model"],
        "labels": json.loads(found["labels"]),
        "sample_rate": found["sample_rate"],
        "started": _time(found["started_ms"]),
        "version": about["version"],
        "site": about["site"],
        "previous": None if position is None else position.previous,
    }


def _occurrence(connection: sqlite3.Connection, row: sqlite3.Row) -> Record | None:
    found = _row(connection, "events_read", "sequence", row)
    if found is None:
        return None
    timed = read_occurrence(found)
    if row["type"] == "onset" and isinstance(timed.record, Event):
        # It is over meanwhile: scores and levels are the final ones.
        fields = Onset.__dataclass_fields__
        onset = Onset(**{name: getattr(timed.record, name) for name in fields})
        timed = Timed(
            onset, timed.start_seconds, timed.end_seconds, timed.start_utc, None
        )
    levels = {key: rounded(found[key], 1) for key in ("lafmax_db", "level_offset_db")}
    return _encoded(timed, found) | levels


def _gap(connection: sqlite3.Connection, row: sqlite3.Row) -> Record | None:
    found = _row(connection, "gaps_read", "sequence", row)
    return None if found is None else _encoded(read_gap(found), found)


def _health(connection: sqlite3.Connection, row: sqlite3.Row) -> Record | None:
    found = _row(connection, "health_read", "sequence", row)
    if found is None:
        return None
    record = _encoded(read_health(found), found)
    if row["body"] == "raised":  # it may be over meanwhile
        unknown = dict.fromkeys(("end", "stop_sample", "end_seconds"))
        record |= {"state": "raised", **unknown}
    return record


def _encoded(timed: Timed, row: sqlite3.Row) -> Record:
    encoded = encode(timed)
    assert encoded is not None, "it is no score frame"
    record = {"session": row["session_name"], **encoded}
    for key, column in (("start", "start_ms"), ("end", "end_ms")):
        if record[key] is not None:
            record[key] = _time(row[column])  # null: the clock was not set
    return record


def _scores(connection: sqlite3.Connection, row: sqlite3.Row) -> Record | None:
    found = _row(connection, "scores_read", "id", row)
    if found is None:
        return None
    start, end = _time(found["start_ms"]), _time(found["end_ms"])
    if start is None or end is None:
        return None
    columns = ("start_sample", "window_samples", "hop_samples", "frames", "format")
    return {
        "session": found["session_name"],
        "source": found["source_name"],
        "start": start,
        "end": end,
        **{name: found[name] for name in columns},
        "data": base64.b64encode(found["data"]).decode(),
    }


def _digest(connection: sqlite3.Connection, row: sqlite3.Row) -> Record | None:
    position = _position(connection)
    if position is None:
        return None
    return {"last": position.newest, **json.loads(row["body"])}


_READERS = {
    "session": _session,
    "onset": _occurrence,
    "event": _occurrence,
    "gap": _gap,
    "health": _health,
    "scores": _scores,
    "digest": _digest,
}
