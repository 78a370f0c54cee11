"""What the store needs of others, and what it writes for them."""

import json
import logging
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from monitor.records import Timed
from monitor.sinks.store.rows import to_ms

logger = logging.getLogger(__name__)

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
