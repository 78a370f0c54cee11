"""The records to be published for a fleet: their epoch, and when they begin anew.

Triggers of the schema number each record in the transaction that writes it, while the
table `publishing` has its row: see schema.py.  Nothing is copied: `outgoing` refers to
the rows of the other tables.
"""

import json
import secrets
import sqlite3
from collections.abc import Iterable
from typing import Any


def follow_publishing(
    connection: sqlite3.Connection, session: int, about: str | None, now_ms: int
) -> None:
    """Begin or end publishing for a session, inside a transaction.

    Args:
        connection: Of the writer.
        session: Key of the session, whose record is published once.
        about: JSON that its record has besides, with `scores`; None: nothing is
            published, and what was not sent yet never will be.
        now_ms: Now, milliseconds since 1970.
    """
    if about is None:
        if _epoch(connection) is not None:
            _empty(connection)
        return
    if _epoch(connection) is None:
        begin_epoch(connection, None)
    scores = bool(json.loads(about)["scores"])
    connection.execute("UPDATE publishing SET scores = ?", (scores,))
    connection.execute(
        "INSERT INTO outgoing (type, row, at_ms, body) SELECT 'session', ?1, ?2, ?3 "
        "WHERE NOT EXISTS "
        "(SELECT 1 FROM outgoing WHERE type = 'session' AND row = ?1)",
        (session, now_ms, about),
    )


def begin_epoch(connection: sqlite3.Connection, previous: str | None) -> None:
    """Begin with sequence 1 under another epoch; drop what was to be sent."""
    _empty(connection)
    connection.execute(
        "INSERT INTO publishing (id, epoch, previous, scores) VALUES (1, ?, ?, 1)",
        (secrets.token_hex(16), previous),
    )


def renumber(
    old: sqlite3.Connection,
    new: sqlite3.Connection,
    rows: Iterable[tuple[Any, ...]],
) -> None:
    """Begin a new epoch in a database that replaces a damaged one, in a transaction.

    `rows` are those of `outgoing` that could be read, in any order.  What the broker
    does not have is sent in the new epoch; if that is unknown, everything.
    """
    epoch, acknowledged = _known(old)
    new.execute(
        "CREATE TEMP TABLE unsent "
        "(sequence INTEGER PRIMARY KEY, type, row, at_ms, body)"
    )
    insert = "INSERT OR IGNORE INTO unsent VALUES (?, ?, ?, ?, ?)"
    last = acknowledged
    for row in rows:
        last = max(last, row[0])
        if row[0] > acknowledged:
            new.execute(insert, row)
    if epoch is not None or last:
        previous = epoch and json.dumps({"epoch": epoch, "last": last})
        begin_epoch(new, previous)
        new.execute(
            "INSERT INTO outgoing (type, row, at_ms, body) "
            "SELECT type, row, at_ms, body FROM unsent "
            "WHERE typeof(type) = 'text' AND typeof(at_ms) = 'integer' "
            "AND typeof(row) IN ('integer', 'null') "
            "AND typeof(body) IN ('text', 'null') ORDER BY sequence"
        )
        # The minutes that had not ended: the next session publishes them.
        new.executemany(
            "INSERT OR IGNORE INTO incomplete_scores VALUES (?, ?)",
            _incomplete_scores(old),
        )
    new.execute("DROP TABLE unsent")


def _known(old: sqlite3.Connection) -> tuple[str | None, int]:
    """Epoch and acknowledged sequence of a damaged database, as far as readable."""
    try:
        row = old.execute("SELECT epoch, acknowledged FROM publishing").fetchone()
    except (sqlite3.Error, UnicodeDecodeError):
        return None, 0
    is_sound = row and isinstance(row[0], str) and isinstance(row[1], int)
    return (row[0], row[1]) if is_sound else (None, 0)


def _incomplete_scores(old: sqlite3.Connection) -> list[tuple[int, int]]:
    """Source and row of the newest scores of a damaged database, if readable."""
    try:
        rows = old.execute("SELECT source, row FROM incomplete_scores").fetchall()
    except (sqlite3.Error, UnicodeDecodeError):
        return []
    return [(it[0], it[1]) for it in rows if all(isinstance(each, int) for each in it)]


def _epoch(connection: sqlite3.Connection) -> str | None:
    row = connection.execute("SELECT epoch FROM publishing").fetchone()
    return None if row is None else str(row[0])


def _empty(connection: sqlite3.Connection) -> None:
    for table in ("publishing", "incomplete_scores", "outgoing"):
        connection.execute(f"DELETE FROM {table}")
    connection.execute("DELETE FROM sqlite_sequence WHERE name = 'outgoing'")
