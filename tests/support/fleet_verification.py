"""Both ends of a fleet compared: the databases of its monitors, and its own."""

import base64
import sqlite3
from collections import defaultdict
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import dict_row

from monitor.fleet.collect import schema
from monitor.sinks.publish.queue import BATCH_RECORDS, Queue, QueuedRecord

TABLES = {"session": "sessions", **schema.TABLES, "deleted": "deleted"}
_RENAMED = {"start": "started", "end": "ended"}
_NOT_COMPARED = {"schema", "type", "top", "previous"}
_MAY_DIFFER = {
    ("digest", "last"),  # as of when it is sent
    ("health", "detail"),  # more, once a killed monitor is back
    ("deleted", "at"),  # null on the wire, the time of sending in the table
}
"""What may differ, by type and key."""


def newest_of(database: Path) -> int:
    """The last sequence number of a monitor."""
    with closing(sqlite3.connect(database)) as connection:
        row = connection.execute(
            "SELECT seq FROM sqlite_sequence WHERE name = 'outgoing'"
        ).fetchone()
    return int(row[0])


def sent_by(database: Path) -> dict[int, QueuedRecord]:
    """By sequence number, the records that a monitor has sent, from its database."""
    queue = Queue(database)
    position = queue.position("", 0)
    assert position is not None
    entries: dict[int, QueuedRecord] = {}
    while len(entries) < position.acknowledged:
        first = len(entries) + 1
        last = min(position.acknowledged, first + BATCH_RECORDS - 1)
        entries |= {
            each.sequence: each for each in queue.entries(position.epoch, first, last)
        }
    queue.close()
    return entries


def stored(
    connection: psycopg.Connection, monitor: str
) -> dict[int, list[tuple[str, dict[str, Any]]]]:
    """By sequence number, the rows of a monitor with their types, in all tables."""
    found: defaultdict[int, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
    cursor = connection.cursor(row_factory=dict_row)
    for kind, table in TABLES.items():
        cursor.execute(f"SELECT * FROM {table} WHERE monitor = %s", [monitor])
        for row in cursor:
            found[row["sequence"]].append((kind, row))
    return found


def differences(entry: QueuedRecord, kind: str, row: dict[str, Any]) -> list[str]:
    """What a row says otherwise than the record in the monitor's database."""
    if kind != entry.type:
        return [f"{entry.sequence} is {kind}, not {entry.type}"]
    found = []
    for key, value in entry.record.items():
        name = _RENAMED.get(key, key)
        if key in _NOT_COMPARED or name not in row or (kind, key) in _MAY_DIFFER:
            continue
        if (there := _plain(row[name], value)) != value:
            found.append(f"{entry.sequence} {kind}.{key}: {there!r}, not {value!r}")
    return found


def _plain(there: object, value: object) -> object:
    """A value of the table in the form of the record."""
    if isinstance(there, datetime) and isinstance(value, str):
        return value if there == datetime.fromisoformat(value) else there.isoformat()
    if isinstance(there, bytes):
        return base64.b64encode(there).decode()
    return there


def verify(
    connection: psycopg.Connection, databases: dict[str, Path], away: set[str]
) -> dict[str, list[str]]:
    """By monitor, what is wrong: doubled, missing, out of order, or different.

    Args:
        connection: To the fleet's database.
        databases: Those of the monitors.
        away: Monitors that were switched off before they were asked for what is
            missing.
    """
    faults: dict[str, list[str]] = {}
    for monitor, database in databases.items():
        sent, there = sent_by(database), stored(connection, monitor)
        found = [f"{n} came {len(rows)} times" for n, rows in there.items() if rows[1:]]
        found += [f"{number} was never sent" for number in there.keys() - sent.keys()]
        lost = sorted(sent.keys() - there.keys())
        if monitor not in away:
            found += [f"{number} is missing" for number in lost]
        if lost != missing(connection, monitor):
            found.append(f"missing are {missing(connection, monitor)}, not {lost}")
        for number in sent.keys() & there.keys():
            ((kind, row), *_) = there[number]
            found += differences(sent[number], kind, row)
        if found:
            faults[monitor] = found
    return faults


def missing(connection: psycopg.Connection, monitor: str) -> list[int]:
    """The sequence numbers that the collectors say are missing."""
    rows = connection.execute(
        "SELECT first, last FROM missing JOIN epochs ON epochs.id = epoch_id "
        "WHERE monitor = %s AND filled IS NULL ORDER BY first",
        [monitor],
    )
    return [number for first, last in rows for number in range(first, last + 1)]
