"""The outbox: alerts in the database, their state and their attempts."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor.errors import StoreError, StoreUnavailableError
from monitor.sinks.alerts.alert import (
    STATES,
    Alert,
    AlertState,
    Attempt,
    BadEntry,
    Entry,
    read_attempt,
    read_entry,
    read_listed,
)
from monitor.sinks.store.database import Database, PathConnection, transaction
from monitor.sinks.store.records import INVALID, moment_of, read_rows, select, to_ms
from monitor.sinks.store.salvage import damage, dead_alert, is_damage, is_read_only
from monitor.text import utc_text

LOCK_MS = 1000
"""Longest wait for another writer: the next alert of the endpoint waits with it."""

MOST_ATTEMPTS = 20
"""Attempts kept of each alert, the newest."""


BUSY_MS = 200
"""Longest wait of `count_alerts` for another writer."""


def write_alerts(connection: sqlite3.Connection, alerts: Iterable[Alert]) -> None:
    """Put alerts into the outbox, in order; one that is there stays as it is."""
    connection.executemany(
        "INSERT INTO alerts (id, endpoint, rule, kind, event_id, created_ms, body, "
        "next_attempt_ms, deadline_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO NOTHING",
        [
            (
                alert.id,
                alert.endpoint,
                alert.rule,
                alert.kind,
                alert.event_id,
                to_ms(alert.created),
                json.dumps(dict(alert.body)),
                to_ms(alert.created),
                to_ms(alert.deadline),
            )
            for alert in alerts
        ],
    )


def retry_alert(
    connection: sqlite3.Connection, alert_id: str, now: datetime, deadline: datetime
) -> bool:
    """Make an alert pending again; False: it is unknown or delivered."""
    changed = connection.execute(
        "UPDATE alerts SET state = 'pending', next_attempt_ms = ?, "
        "deadline_ms = max(deadline_ms, ?) WHERE id = ? AND state <> 'delivered'",
        (to_ms(now), to_ms(deadline), alert_id),
    )
    return changed.rowcount > 0


def drop_alert(connection: sqlite3.Connection, alert_id: str) -> bool:
    """Cancel an alert; False: it is unknown, delivered, or dropped already."""
    changed = connection.execute(
        "UPDATE alerts SET state = 'dropped' "
        "WHERE id = ? AND state IN ('pending', 'dead')",
        (alert_id,),
    )
    return changed.rowcount > 0


def alert_state(connection: sqlite3.Connection, alert_id: str) -> AlertState | None:
    """Return the state of an alert; None: it is not there."""
    query = "SELECT state FROM alerts WHERE id = ?"
    row = connection.execute(query, (alert_id,)).fetchone()
    return None if row is None else row[0]


def count_alerts(path: Path, endpoints: Iterable[str]) -> dict[str, Any] | None:
    """Count alerts by endpoint, for the status document: `endpoints`, and others.

    None: there is no database yet, or it cannot be read now.
    """
    try:
        reader = Database(path).connect(read_only=True)
        with closing(reader) as connection:
            connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
            # The counts come from the indices alone; only the oldest rows are read.
            pending = {
                endpoint: (count, utc_text(moment_of(ms)))
                for endpoint, count, ms in connection.execute(
                    "SELECT heads.endpoint, heads.count, alerts.created_ms FROM ("
                    "SELECT endpoint, count(*) AS count, min(sequence) AS head "
                    "FROM alerts WHERE state = 'pending' GROUP BY endpoint) AS heads "
                    "JOIN alerts ON alerts.sequence = heads.head"
                )
            }
            query = "SELECT endpoint, count(*) FROM alerts WHERE state = 'dead' "
            dead: dict[str, int] = dict(
                connection.execute(f"{query} GROUP BY endpoint")
            )
    except (sqlite3.Error, StoreError, *INVALID):
        return None  # the threads that write to it report the fault
    return {
        "pending": sum(count for count, _ in pending.values()),
        "dead": sum(dead.values()),
        "oldest_pending": min((it for _, it in pending.values() if it), default=None),
        "endpoints": {
            name: {
                "pending": pending.get(name, (0, None))[0],
                "dead": dead.get(name, 0),
                "oldest_pending": pending.get(name, (0, None))[1],
            }
            for name in dict.fromkeys([*endpoints, *pending, *dead])
        },
    }


class Outbox:
    """Reads and changes the alerts in the database; the store adds them.

    Has a connection of its own, and is used by one thread at a time.

    Every method may raise sqlite3.Error or StoreUnavailableError: the database is
    locked, full, damaged or missing.
    """

    def __init__(self, database: Database, *, read_only: bool = False) -> None:
        """Open nothing yet."""
        self._database = database
        self._open = PathConnection(database, read_only=read_only)

    def close(self) -> None:
        """Close the connection; the next use opens one."""
        self._open.close()

    def head(self, endpoint: str, after: int = 0) -> Entry | BadEntry | None:
        """Read the oldest pending alert of an endpoint behind the sequence `after`.

        The others of the endpoint wait behind it, even if its next attempt is hours
        ahead: so they arrive in order.
        """
        # Its index knows the sequence even where the table cannot be read.
        with self._reporting():
            found = self._connection.execute(
                "SELECT sequence FROM alerts "
                "WHERE endpoint = ? AND state = 'pending' AND sequence > ? "
                "ORDER BY sequence LIMIT 1",
                (endpoint, after),
            ).fetchone()
            if found is not None and found[0] <= after:
                raise damage("an index is out of order")
        if found is None:
            return None
        (sequence,) = found
        try:
            with self._reporting():
                row = self._row(sequence)
                if (
                    row is None
                    or row["endpoint"] != endpoint
                    or row["state"] != "pending"
                ):
                    raise damage("an index and its table contradict each other")
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            return BadEntry(sequence, f"cannot be read: {error}", is_unreadable=True)
        try:
            return read_entry(row)
        except INVALID as error:
            return BadEntry(sequence, f"its row makes no sense: {error}")

    def pending(self, alert_id: str) -> Entry | None:
        """Read the alert with this id, if it is pending."""
        query = "SELECT * FROM alerts WHERE id = ? AND state = 'pending'"
        with self._reporting():
            row = select(self._connection, query, (alert_id,)).fetchone()
        try:
            return None if row is None else read_entry(row)
        except INVALID:  # `head` reports it
            return None

    def record(self, entry: Entry, attempt: Attempt) -> bool:
        """Write an attempt and the state of its alert, unless that was dropped.

        Returns:
            Whether the alert is in the database, and was pending.
        """
        connection = self._connection
        connection.execute(f"PRAGMA busy_timeout = {LOCK_MS}")
        # A power failure may undo this: then the alert is delivered again.
        connection.execute("PRAGMA synchronous = NORMAL")
        try:
            with self._reporting(), transaction(connection):
                is_recorded = _record(connection, entry, attempt)
        except sqlite3.IntegrityError as error:  # another column has a wrong type
            reason = f"its row makes no sense: {error}"
            self.bury(BadEntry(entry.sequence, reason), attempt.at)
            return True
        if not self._open.is_at_path:
            raise StoreUnavailableError("the database was set aside meanwhile")
        return is_recorded

    def bury(self, bad: BadEntry, now: datetime) -> None:
        """Make an alert that makes no sense dead, with its reason."""
        connection = self._connection
        with self._reporting(), transaction(connection):
            row = self._row(bad.sequence)
            if row is None:
                return
            values = dead_alert(dict(row), bad.reason, to_ms(now))
            if values["id"] != row["id"]:
                connection.execute(
                    "DELETE FROM attempts WHERE alert_id IS ?", (row["id"],)
                )
            places = ", ".join("?" * len(values))
            connection.execute(
                f"UPDATE alerts SET ({', '.join(values)}) = ({places}) "
                "WHERE sequence = ?",
                (*values.values(), bad.sequence),
            )

    def count_orphans(self, endpoints: Sequence[str]) -> int:
        """Return the number of pending alerts for endpoints other than `endpoints`."""
        query = (
            "SELECT count(*) FROM alerts WHERE state = 'pending' "
            "AND endpoint NOT IN (SELECT value FROM json_each(?))"
        )
        with self._reporting():
            row = self._connection.execute(query, (json.dumps(list(endpoints)),))
            return int(row.fetchone()[0])

    def entries(
        self,
        states: Sequence[AlertState] = STATES,
        rule: str | None = None,
        limit: int = -1,
    ) -> list[Entry]:
        """Read the newest `limit` alerts (-1: all) in `states`, oldest first."""
        rows = select(
            self._connection,
            "SELECT * FROM alerts "
            "WHERE state IN (SELECT value FROM json_each(?1)) "
            "AND (?2 IS NULL OR rule = ?2) ORDER BY sequence DESC LIMIT ?3",
            (json.dumps(list(states)), rule, limit),
        )
        return list(read_rows(rows, read_listed))[::-1]

    def find(self, start_of_id: str) -> list[Entry]:
        """Read the alerts, at most ten, whose id begins with `start_of_id`."""
        rows = select(
            self._connection,
            "SELECT * FROM alerts WHERE substr(id, 1, ?) = ? "
            "ORDER BY sequence LIMIT 10",
            (len(start_of_id), start_of_id),
        )
        return list(read_rows(rows, read_listed))

    def attempts(self, alert_id: str) -> list[Attempt]:
        """Read the attempts to deliver an alert, oldest first."""
        rows = select(
            self._connection,
            "SELECT at_ms, outcome, detail, duration_ms FROM attempts "
            "WHERE alert_id = ? ORDER BY sequence",
            (alert_id,),
        )
        return list(read_rows(rows, read_attempt))

    def retry(self, alert_id: str, now: datetime, deadline: datetime) -> bool:
        """Make an alert pending again; see `retry_alert`."""
        with transaction(self._connection):
            return retry_alert(self._connection, alert_id, now, deadline)

    def drop(self, alert_id: str) -> bool:
        """Cancel an alert; see `drop_alert`."""
        with transaction(self._connection):
            return drop_alert(self._connection, alert_id)

    def _row(self, sequence: int) -> Any:
        query = "SELECT * FROM alerts WHERE sequence = ?"
        return select(self._connection, query, (sequence,)).fetchone()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Report damage to the one who writes, who sets the file aside."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:
            if is_read_only(error):
                self._open.close()
            if not is_damage(error):
                raise
            # A file that was set aside meanwhile is no longer of interest.
            if self._open.is_at_path:
                self._database.report_damage(error)
            raise damage(str(error)) from None

    @property
    def _connection(self) -> sqlite3.Connection:
        """The connection to the file at the path now: a damaged one is left."""
        return self._open.get()


_CHANGE = (
    "UPDATE alerts SET state = ?, attempts = ?, next_attempt_ms = ?, last_error = ? "
    "WHERE state = 'pending' AND id = ?"
)


def _record(connection: sqlite3.Connection, entry: Entry, attempt: Attempt) -> bool:
    values = (
        entry.state,
        entry.attempts,
        to_ms(entry.next_attempt),
        entry.last_error,
        entry.alert.id,
    )
    if entry.sequence:  # found in the table itself, whatever the index of ids says
        change = f"{_CHANGE} AND sequence = ?"
        changed = connection.execute(change, (*values, entry.sequence)).rowcount
    else:
        changed = connection.execute(_CHANGE, values).rowcount
    if changed:
        connection.execute(
            "INSERT INTO attempts (alert_id, at_ms, outcome, detail, duration_ms) "
            "VALUES (?, ?, ?, ?, ?)",
            (
                entry.alert.id,
                to_ms(attempt.at),
                attempt.outcome,
                attempt.detail,
                round(attempt.duration_seconds * 1000),
            ),
        )
        connection.execute(
            "DELETE FROM attempts WHERE sequence IN (SELECT sequence FROM attempts "
            "WHERE alert_id = ? ORDER BY sequence DESC LIMIT -1 OFFSET ?)",
            (entry.alert.id, MOST_ATTEMPTS),
        )
    return changed > 0
