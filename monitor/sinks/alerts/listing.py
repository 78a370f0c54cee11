"""Lists of alerts: the newest first, read by key and not by offset, with attempts."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from monitor.sinks.alerts.alert import (
    AlertState,
    Attempt,
    Entry,
    read_attempt,
    read_listed,
)
from monitor.sinks.store.records import from_ms, read_rows, select

_OF_STATE: dict[AlertState | None, str] = {
    None: "alerts WHERE true",
    # They are few among the alerts of a year.
    "pending": "alerts INDEXED BY alerts_pending WHERE state = 'pending'",
    "dead": "alerts INDEXED BY alerts_dead WHERE state = 'dead'",
    "delivered": "alerts WHERE state = 'delivered'",
    "dropped": "alerts WHERE state = 'dropped'",
}


@dataclass(frozen=True, slots=True)
class ListedAlert:
    """An alert of a list."""

    entry: Entry
    attempts: Sequence[Attempt]
    """To deliver it, oldest first."""


@dataclass(frozen=True, slots=True)
class Unanswered:
    """An endpoint that does not take the oldest of its alerts."""

    since: datetime
    """Time of this alert, UTC."""

    attempts: int
    """To deliver it."""


@dataclass(frozen=True, slots=True)
class AlertPage:
    """A page of a list of alerts."""

    alerts: Sequence[ListedAlert]
    """The newest first; invalid rows are left out."""

    oldest: int | None
    """Key of the last row, before which the next page is; None: the page is empty."""

    has_more: bool


def read_alerts(
    connection: sqlite3.Connection,
    *,
    state: AlertState | None = None,
    rule: str | None = None,
    before: int | None = None,
    limit: int = 50,
) -> AlertPage:
    """Read the page of alerts before a key; without a state or rule those of all."""
    rows = select(
        connection,
        f"SELECT * FROM {_OF_STATE[state]} "
        "AND (?1 IS NULL OR rule = ?1) AND (?2 IS NULL OR sequence < ?2) "
        "ORDER BY sequence DESC LIMIT ?3",
        (rule, before, limit + 1),
    ).fetchall()
    page = rows[:limit]
    entries = list(read_rows(page, read_listed))
    attempts = _attempts(connection, [entry.alert.id for entry in entries])
    return AlertPage(
        [ListedAlert(it, attempts.get(it.alert.id, ())) for it in entries],
        page[-1]["sequence"] if page else None,
        len(rows) > limit,
    )


def read_unanswered(connection: sqlite3.Connection) -> dict[str, Unanswered]:
    """Return the endpoints whose oldest pending alert was tried without success."""
    rows = select(
        connection,
        "SELECT endpoint, created_ms, attempts FROM alerts INDEXED BY alerts_pending "
        "WHERE state = 'pending' AND attempts > 0 ORDER BY sequence DESC",
        (),
    )
    return dict(read_rows(rows, _read_unanswered))


def _read_unanswered(row: sqlite3.Row) -> tuple[str, Unanswered]:
    found = Unanswered(from_ms(row["created_ms"]), int(row["attempts"]))
    return str(row["endpoint"]), found


def _attempts(
    connection: sqlite3.Connection, ids: Sequence[str]
) -> dict[str, list[Attempt]]:
    rows = select(
        connection,
        "SELECT alert_id, at_ms, outcome, detail, duration_ms FROM attempts "
        "WHERE alert_id IN (SELECT value FROM json_each(?)) ORDER BY sequence",
        (json.dumps(ids),),
    )
    found: dict[str, list[Attempt]] = {}
    for alert_id, attempt in read_rows(
        rows, lambda row: (str(row["alert_id"]), read_attempt(row))
    ):
        found.setdefault(alert_id, []).append(attempt)
    return found
