"""The outbox: alerts in the database, their state and their attempts."""

import json
import sqlite3
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from monitor.sinks.store.database import Database, PathConnection, transaction
from monitor.sinks.store.records import from_ms, to_ms

AlertKind = Literal["onset", "still_on", "end", "digest", "health", "test"]

_NAMESPACE = uuid.UUID("8f8f0f9c-3a0e-5c53-9d5c-2f1d5a0c7b11")


@dataclass(frozen=True, slots=True)
class Alert:
    """A message for one endpoint, to be delivered once."""

    id: str
    """Idempotency key: the same over retries and restarts, another per endpoint."""

    rule: str
    endpoint: str
    """RULE/KIND, as in `siren-to-operations/webhook`."""

    kind: AlertKind
    event_id: str | None
    """The occurrence that it is about; None for a digest, health or a test."""

    body: Mapping[str, Any]
    """JSON-able; its `id` is that of the alert."""

    created: datetime
    deadline: datetime
    """An alert that is not delivered by then is dead."""


def alert_id(endpoint: str, kind: AlertKind, subject: str, number: int = 0) -> str:
    """Derive the idempotency key, so that making an alert twice gives one id.

    Args:
        endpoint: RULE/KIND.
        kind: Kind of the alert.
        subject: Id of the event, or the time at which a digest begins.
        number: Position among several alerts of one kind about one event.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{endpoint}\n{kind}\n{subject}\n{number}"))


AlertState = Literal["pending", "delivered", "dead", "dropped"]
STATES: tuple[AlertState, ...] = ("pending", "delivered", "dead", "dropped")

_COLUMNS = (
    "id, rule, endpoint, kind, event_id, body, created_ms, deadline_ms, state, "
    "attempts, next_attempt_ms, last_error"
)


@dataclass(frozen=True, slots=True)
class Entry:
    """An alert in the outbox."""

    alert: Alert
    state: AlertState
    attempts: int
    next_attempt: datetime
    """The earliest time, if it is pending."""

    last_error: str | None


MOST_ATTEMPTS = 20
"""Attempts kept of each alert, the newest."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver an alert."""

    at: datetime
    outcome: str
    """delivered, retry, refused or expired."""

    detail: str
    duration_seconds: float


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


class Outbox:
    """Reads and changes the alerts in the database; the store adds them.

    Has a connection of its own, and is used by one thread at a time.

    Every method may raise sqlite3.Error or StoreUnavailableError: the database is
    locked, full, damaged or missing.
    """

    def __init__(self, database: Database) -> None:
        """Open nothing yet."""
        self._open = PathConnection(database)

    def close(self) -> None:
        """Close the connection; the next use opens one."""
        self._open.close()

    def head(self, endpoint: str, without: Collection[str] = ()) -> Entry | None:
        """Read the oldest pending alert of an endpoint, but for the ids in `without`.

        The others of the endpoint wait behind it, even if its next attempt is hours
        ahead: so they arrive in order.
        """
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM alerts "  # noqa: S608 - a constant
            "WHERE endpoint = ? AND state = 'pending' "
            "AND id NOT IN (SELECT value FROM json_each(?)) "
            "ORDER BY sequence LIMIT 1",
            (endpoint, json.dumps(list(without))),
        ).fetchone()
        return None if row is None else _entry(row)

    def pending(self, alert_id: str) -> Entry | None:
        """Read the alert with this id, if it is pending."""
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM alerts WHERE id = ? AND state = 'pending'",  # noqa: S608 - a constant
            (alert_id,),
        ).fetchone()
        return None if row is None else _entry(row)

    def record(self, entry: Entry, attempt: Attempt) -> bool:
        """Write an attempt and the state of its alert, unless that was dropped.

        Returns:
            Whether the alert is in the database, and was pending.
        """
        connection = self._connection
        # A power failure may undo this: then the alert is delivered again.
        connection.execute("PRAGMA synchronous = NORMAL")
        with transaction(connection):
            changed = connection.execute(
                "UPDATE alerts SET state = ?, attempts = ?, next_attempt_ms = ?, "
                "last_error = ? WHERE id = ? AND state = 'pending'",
                (
                    entry.state,
                    entry.attempts,
                    to_ms(entry.next_attempt),
                    entry.last_error,
                    entry.alert.id,
                ),
            ).rowcount
            if changed:
                connection.execute(
                    "INSERT INTO attempts (alert_id, at_ms, outcome, detail, "
                    "duration_ms) VALUES (?, ?, ?, ?, ?)",
                    (
                        entry.alert.id,
                        to_ms(attempt.at),
                        attempt.outcome,
                        attempt.detail,
                        round(attempt.duration_seconds * 1000),
                    ),
                )
                connection.execute(
                    "DELETE FROM attempts WHERE sequence IN (SELECT sequence "
                    "FROM attempts WHERE alert_id = ? ORDER BY sequence DESC "
                    "LIMIT -1 OFFSET ?)",
                    (entry.alert.id, MOST_ATTEMPTS),
                )
        return changed > 0

    def expire_orphans(self, endpoints: Sequence[str], now: datetime) -> int:
        """Mark alerts dead that are past their deadline and whose endpoint is gone.

        Returns:
            The number of alerts still pending for endpoints other than `endpoints`.
        """
        known = json.dumps(list(endpoints))
        orphans = (
            "state = 'pending' AND endpoint NOT IN (SELECT value FROM json_each(?))"
        )
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE alerts SET state = 'dead', "  # noqa: S608 - constants
                "last_error = 'its endpoint is not configured any more' "
                f"WHERE {orphans} AND deadline_ms <= ?",
                (known, to_ms(now)),
            )
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM alerts WHERE {orphans}",  # noqa: S608 - a constant
            (known,),
        ).fetchone()
        return int(count)

    def entries(
        self,
        states: Sequence[AlertState] = STATES,
        rule: str | None = None,
        limit: int = -1,
    ) -> list[Entry]:
        """Read the newest `limit` alerts (-1: all) in `states`, oldest first."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM alerts "  # noqa: S608 - a constant
            "WHERE state IN (SELECT value FROM json_each(?1)) "
            "AND (?2 IS NULL OR rule = ?2) ORDER BY sequence DESC LIMIT ?3",
            (json.dumps(list(states)), rule, limit),
        )
        return [_entry(row) for row in rows][::-1]

    def find(self, start_of_id: str) -> list[Entry]:
        """Read the alerts, at most ten, whose id begins with `start_of_id`."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM alerts "  # noqa: S608 - a constant
            "WHERE substr(id, 1, ?) = ? "
            "ORDER BY sequence LIMIT 10",
            (len(start_of_id), start_of_id),
        )
        return [_entry(row) for row in rows]

    def attempts(self, alert_id: str) -> list[Attempt]:
        """Read the attempts to deliver an alert, oldest first."""
        rows = self._connection.execute(
            "SELECT at_ms, outcome, detail, duration_ms FROM attempts "
            "WHERE alert_id = ? ORDER BY sequence",
            (alert_id,),
        )
        return [
            Attempt(from_ms(at_ms), outcome, detail, duration_ms / 1000)
            for at_ms, outcome, detail, duration_ms in rows
        ]

    def retry(self, alert_id: str, now: datetime, deadline: datetime) -> bool:
        """Make an alert pending again; False: it is unknown or delivered."""
        return self._change(
            "UPDATE alerts SET state = 'pending', next_attempt_ms = ?, "
            "deadline_ms = max(deadline_ms, ?) WHERE id = ? AND state <> 'delivered'",
            (to_ms(now), to_ms(deadline), alert_id),
        )

    def drop(self, alert_id: str) -> bool:
        """Cancel an alert; False: it is unknown, delivered, or dropped already."""
        return self._change(
            "UPDATE alerts SET state = 'dropped' "
            "WHERE id = ? AND state IN ('pending', 'dead')",
            (alert_id,),
        )

    def _change(self, statement: str, values: tuple[Any, ...]) -> bool:
        with transaction(self._connection):
            return self._connection.execute(statement, values).rowcount > 0

    @property
    def _connection(self) -> sqlite3.Connection:
        """The connection to the file at the path now: a damaged one is left."""
        return self._open.get()


def _entry(row: tuple[Any, ...]) -> Entry:
    (key, rule, endpoint, kind, event_id, body, created_ms, deadline_ms) = row[:8]
    state, attempts, next_attempt_ms, last_error = row[8:]
    alert = Alert(
        id=key,
        rule=rule,
        endpoint=endpoint,
        kind=cast("AlertKind", kind),
        event_id=event_id,
        body=json.loads(body),
        created=from_ms(created_ms),
        deadline=from_ms(deadline_ms),
    )
    return Entry(alert, state, attempts, from_ms(next_attempt_ms), last_error)
