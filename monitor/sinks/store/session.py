"""A run of the monitor in the database, and what the run before left open.

What the store needs of others, and what it writes for them.
"""

import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol, cast

from monitor.records import Onset, Timed
from monitor.sinks.store.records import (
    end,
    interrupted_health,
    read_occurrence,
    read_rows,
    to_ms,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the monitor, or the part of it in which one model listens."""

    session: str
    """As in the ids of its events."""

    model: str
    """Name of the model that listens."""

    labels: Sequence[str]
    """What the scores of a frame stand for."""

    sample_rate: int
    """Of the model."""


def begin_session(connection: sqlite3.Connection, session: Session, now_ms: int) -> int:
    """Key of the session, which is made if it is not there."""
    connection.execute(
        "INSERT OR IGNORE INTO sessions (session, started_ms, model, labels, "
        "sample_rate) VALUES (?, ?, ?, ?, ?)",
        (
            session.session,
            now_ms,
            session.model,
            json.dumps(list(session.labels)),
            session.sample_rate,
        ),
    )
    found = connection.execute(
        "SELECT id FROM sessions WHERE session = ?", (session.session,)
    )
    return cast("int", found.fetchone()[0])


def end_session(connection: sqlite3.Connection, key: int, now_ms: int) -> None:
    """Note that the session ended in order."""
    connection.execute("UPDATE sessions SET ended_ms = ? WHERE id = ?", (now_ms, key))


def interrupted_records(connection: sqlite3.Connection, session: str) -> list[Timed]:
    """The ends of all that a killed session left open; see the two others."""
    return [
        *interrupted_events(connection, session),
        *interrupted_health(connection, session),
    ]


def interrupted_events(connection: sqlite3.Connection, session: str) -> list[Timed]:
    """Events with which the sounds end that no session is listening to any more.

    Each ends where the scores of its source end, for that is the last that is known.

    Args:
        connection: To the database.
        session: The one that is running now; its sounds go on.
    """
    rows = connection.cursor()
    rows.row_factory = sqlite3.Row
    rows.execute(
        # The newest row of scores is found by its time; a maximum would read them all.
        "SELECT *, (SELECT start_sample + window_samples + (frames - 1) * hop_samples "
        "FROM scores WHERE scores.session = events_read.session "
        "AND scores.source = events_read.source "
        "ORDER BY start_ms DESC LIMIT 1) AS heard_until "
        "FROM events_read WHERE end_reason IS NULL AND session_name != ? "
        "ORDER BY sequence",
        (session,),
    )
    return list(read_rows(rows, _interrupted))


def _interrupted(row: sqlite3.Row) -> Timed:
    timed = read_occurrence(row)
    onset = timed.record
    assert isinstance(onset, Onset)
    stop = max(onset.stop, row["heard_until"] or 0)
    end_seconds = stop / row["sample_rate"]
    end_utc = timed.start_utc
    if end_utc is not None:
        end_utc += timedelta(seconds=end_seconds - timed.start_seconds)
    return Timed(
        end(onset, "interrupted", stop),
        timed.start_seconds,
        end_seconds,
        timed.start_utc,
        end_utc,
    )


_STATE_NAME = "rules"


class Clock(Protocol):
    """What the store knows of time."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never steps."""

    def utc(self) -> datetime:
        """What the clock on the wall says; may step."""


class AlertLike(Protocol):
    """What one endpoint is to be told; see the alerts."""

    @property
    def id(self) -> str:
        """Idempotency key."""

    @property
    def rule(self) -> str:
        """Name of the rule that made it."""

    @property
    def endpoint(self) -> str:
        """RULE/KIND."""

    @property
    def kind(self) -> str:
        """Why it is told: onset, end, ..."""

    @property
    def event_id(self) -> str | None:
        """Of the occurrence it is about."""

    @property
    def body(self) -> Mapping[str, Any]:
        """What is sent, JSON-able."""

    @property
    def created(self) -> datetime:
        """When it was made."""

    @property
    def deadline(self) -> datetime:
        """When it is of no use any more."""


class RulesLike(Protocol):
    """Makes alerts of records; its memory is stored with them.  Called by one thread.

    `step` and `tick` are called once for each batch and moment; what they return is
    kept until it is stored.
    """

    def step(self, batch: Sequence[Timed], now: datetime, /) -> Sequence[AlertLike]:
        """Alerts that follow from the records of `batch`."""

    def tick(self, now: datetime, /) -> Sequence[AlertLike]:
        """Alerts that follow from time passing.  Called several times a second."""

    def state(self) -> Mapping[str, Any]:
        """What must be remembered over a restart, JSON-able."""

    def restore(self, state: Mapping[str, Any], /) -> None:
        """Remember what `state` of an earlier run returned."""


def write_alerts(connection: sqlite3.Connection, alerts: Iterable[AlertLike]) -> None:
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


def write_rule_state(connection: sqlite3.Connection, state: str) -> None:
    """Store what the rules remember, as JSON."""
    connection.execute(
        "INSERT INTO rule_state (name, state) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET state = excluded.state",
        (_STATE_NAME, state),
    )


def read_rule_state(connection: sqlite3.Connection) -> dict[str, Any] | None:
    """What the rules remembered when they were last stored."""
    row = connection.execute(
        "SELECT state FROM rule_state WHERE name = ?", (_STATE_NAME,)
    ).fetchone()
    try:
        state = None if row is None else json.loads(row[0])
    except (ValueError, RecursionError):
        state = ""
    if state is None or isinstance(state, dict):
        return state
    logger.error("what the rules remembered is damaged: they begin anew")
    return None
