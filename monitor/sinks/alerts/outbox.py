"""The outbox: alerts in the database, and how far each has come.

An alert: what one endpoint is to be told, once, because of what was heard.
"""

import json
import os
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.records import from_ms, to_ms

AlertKind = Literal["onset", "still_on", "end", "digest", "health", "test"]

_NAMESPACE = uuid.UUID("8f8f0f9c-3a0e-5c53-9d5c-2f1d5a0c7b11")


@dataclass(frozen=True, slots=True)
class Alert:
    """What one endpoint is to be told."""

    id: str
    """Idempotency key: the same over retries and restarts, another per endpoint."""

    rule: str
    endpoint: str
    """RULE/KIND, as in `siren-to-operations/webhook`."""

    kind: AlertKind
    event_id: str | None
    """Of the occurrence it is about; None for a digest, health or a test."""

    body: Mapping[str, Any]
    """JSON-able; its `id` is that of the alert."""

    created: datetime
    deadline: datetime
    """After it the alert is of no use: what is not delivered by then is dead."""


def alert_id(endpoint: str, kind: AlertKind, subject: str, number: int = 0) -> str:
    """Derive the idempotency key, so that making an alert twice gives one id.

    Args:
        endpoint: RULE/KIND.
        kind: Of the alert.
        subject: Id of the event, or the time at which a digest begins.
        number: Which one of several alerts of one kind about one event.
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
    """Not before then, if it is pending."""

    last_error: str | None


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver an alert."""

    at: datetime
    outcome: str
    """delivered, retry, refused or expired."""

    detail: str
    duration_seconds: float


class Outbox:
    """Reads and changes the alerts in the database; the store puts them there.

    Has a connection of its own, and is used by one thread at a time.

    Every method may raise sqlite3.Error or StoreUnavailableError: the database is
    locked, full, damaged or missing.
    """

    def __init__(self, database: Database) -> None:
        """Open nothing yet."""
        self._database = database
        self._open: sqlite3.Connection | None = None
        self._file: os.stat_result | None = None

    def close(self) -> None:
        """Close the connection; the next use opens one."""
        if self._open is not None:
            self._open.close()
            self._open = None

    def head(self, endpoint: str, settled: Sequence[str] = ()) -> Entry | None:
        """The oldest alert that the endpoint has still to get.

        It keeps the others of its endpoint waiting, whenever its next attempt is: so
        they arrive in order.

        Args:
            endpoint: RULE/KIND.
            settled: Ids of alerts that it has got, which is not recorded yet.
        """
        row = self._connection.execute(
            f"SELECT {_COLUMNS} FROM alerts "  # noqa: S608 - a constant
            "WHERE endpoint = ? AND state = 'pending' "
            "AND id NOT IN (SELECT value FROM json_each(?)) "
            "ORDER BY sequence LIMIT 1",
            (endpoint, json.dumps(list(settled))),
        ).fetchone()
        return None if row is None else _entry(row)

    def record(
        self,
        entry: Entry,
        attempt: Attempt,
        state: AlertState,
        next_attempt: datetime | None = None,
    ) -> bool:
        """Keep what became of an attempt.

        What was dropped in the meantime stays dropped.

        Args:
            entry: The alert, as it was before.
            attempt: What happened.
            state: Of the alert from now on.
            next_attempt: If it is still pending.

        Returns:
            Whether the alert is in the database, and was pending.
        """
        connection = self._connection
        # The mark may be lost in a power failure: then it is delivered again.
        connection.execute("PRAGMA synchronous = NORMAL")
        tried = attempt.outcome != "expired"
        next_ms = to_ms(next_attempt or entry.next_attempt)
        error = None if state == "delivered" else attempt.detail
        with transaction(connection):
            changed = connection.execute(
                "UPDATE alerts SET state = ?, attempts = attempts + ?, "
                "next_attempt_ms = ?, last_error = coalesce(?, last_error) "
                "WHERE id = ? AND state = 'pending'",
                (state, tried, next_ms, error, entry.alert.id),
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
        return changed > 0

    def expire_strays(self, endpoints: Sequence[str], now: datetime) -> int:
        """Mark dead what is past its deadline and whose endpoint there is no more.

        Returns:
            The number of alerts that wait for such endpoints still.
        """
        known = json.dumps(list(endpoints))
        stray = "state = 'pending' AND endpoint NOT IN (SELECT value FROM json_each(?))"
        with transaction(self._connection):
            self._connection.execute(
                "UPDATE alerts SET state = 'dead', "  # noqa: S608 - constants
                "last_error = 'its endpoint is not configured any more' "
                f"WHERE {stray} AND deadline_ms <= ?",
                (known, to_ms(now)),
            )
        (count,) = self._connection.execute(
            f"SELECT count(*) FROM alerts WHERE {stray}",  # noqa: S608 - a constant
            (known,),
        ).fetchone()
        return int(count)

    def counts(self) -> dict[str, dict[AlertState, int]]:
        """How many alerts of each endpoint are in each state."""
        counts: dict[str, dict[AlertState, int]] = {}
        rows = self._connection.execute(
            "SELECT endpoint, state, count(*) FROM alerts GROUP BY endpoint, state"
        )
        for endpoint, state, count in rows:
            counts.setdefault(endpoint, {})[state] = count
        return counts

    def entries(
        self,
        *,
        state: AlertState | None = None,
        rule: str | None = None,
        limit: int = 50,
    ) -> list[Entry]:
        """The newest alerts, of one state and rule if they are given; oldest first."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM alerts "  # noqa: S608 - a constant
            "WHERE (?1 IS NULL OR state = ?1) "
            "AND (?2 IS NULL OR rule = ?2) ORDER BY sequence DESC LIMIT ?3",
            (state, rule, limit),
        )
        return [_entry(row) for row in rows][::-1]

    def find(self, start_of_id: str) -> list[Entry]:
        """The alerts, at most ten, whose id begins with `start_of_id`."""
        rows = self._connection.execute(
            f"SELECT {_COLUMNS} FROM alerts "  # noqa: S608 - a constant
            "WHERE substr(id, 1, ?) = ? "
            "ORDER BY sequence LIMIT 10",
            (len(start_of_id), start_of_id),
        )
        return [_entry(row) for row in rows]

    def attempts(self, alert_id: str) -> list[Attempt]:
        """What was tried, oldest first."""
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
        """Have an alert delivered that is pending, dead or dropped; False: it was."""
        with transaction(self._connection):
            changed = self._connection.execute(
                "UPDATE alerts SET state = 'pending', next_attempt_ms = ?, "
                "deadline_ms = max(deadline_ms, ?) "
                "WHERE id = ? AND state <> 'delivered'",
                (to_ms(now), to_ms(deadline), alert_id),
            ).rowcount
        return changed > 0

    def drop(self, alert_id: str) -> bool:
        """Have an alert not delivered; False: it was, or is dropped already."""
        with transaction(self._connection):
            changed = self._connection.execute(
                "UPDATE alerts SET state = 'dropped' "
                "WHERE id = ? AND state IN ('pending', 'dead')",
                (alert_id,),
            ).rowcount
        return changed > 0

    @property
    def _connection(self) -> sqlite3.Connection:
        """To the file that stands at the path now: a damaged one is set aside."""
        if self._open is not None and not self._is_at_path():
            self.close()
        if self._open is None:
            self._open = self._database.connect()
            self._file = self._stat()
        return self._open

    def _is_at_path(self) -> bool:
        now = self._stat()
        return bool(now and self._file and os.path.samestat(now, self._file))

    def _stat(self) -> os.stat_result | None:
        try:
            return self._database.path.stat()
        except OSError:
            return None


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
