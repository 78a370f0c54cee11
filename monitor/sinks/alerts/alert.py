"""An alert, its state in the outbox, and its rows there."""

import json
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol, get_args

from monitor.records import Timed
from monitor.sinks.store.records import (
    LONGEST_TEXT,
    count_of,
    moment_of,
    one_of,
    text_of,
)

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
    """JSON-able; its `id` is that of the alert, by which a row is known to be whole."""

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


class AlertRules(Protocol):
    """Makes alerts of records; its memory is stored with them.  Called by one thread.

    `step` and `tick` are called once for each batch and moment; the store keeps their
    alerts until they are committed.
    """

    def step(self, batch: Sequence[Timed], now: datetime, /) -> Sequence[Alert]:
        """Return the alerts that follow from the records of `batch`."""

    def tick(self, now: datetime, /) -> Sequence[Alert]:
        """Return the alerts that follow from time passing, at each `Sink.report`."""

    def state(self) -> Mapping[str, Any]:
        """Return, JSON-able, the memory that must survive a restart."""

    def restore(self, state: Mapping[str, Any], /) -> None:
        """Take over the memory that `state` of an earlier run returned."""

    def forget(self) -> None:
        """Begin anew: the user deleted what was before."""


AlertState = Literal["pending", "delivered", "dead", "dropped"]
STATES: tuple[AlertState, ...] = ("pending", "delivered", "dead", "dropped")


@dataclass(frozen=True, slots=True)
class Entry:
    """An alert in the outbox."""

    alert: Alert
    state: AlertState
    attempts: int
    next_attempt: datetime
    """The earliest time, if it is pending."""

    last_error: str | None
    sequence: int = 0
    """Position among the alerts of all endpoints; 0: it is not stored yet."""


@dataclass(frozen=True, slots=True)
class BadEntry:
    """A pending alert that cannot be read, or makes no sense."""

    sequence: int
    reason: str
    is_unreadable: bool = False
    """The file is damaged at this place: the row cannot be changed either."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to deliver an alert."""

    at: datetime
    outcome: str
    """delivered, retry, refused or expired."""

    detail: str
    duration_seconds: float


def read_entry(row: sqlite3.Row) -> Entry:
    """Read an alert that is to be sent; one of `INVALID` says why it cannot be."""
    entry = read_listed(row)
    if entry.alert.body.get("id") != entry.alert.id:
        raise ValueError("its body is that of no alert")
    # Half a character from outside the basic plane could be sent by no hook.
    json.dumps(dict(entry.alert.body), ensure_ascii=False).encode()
    return entry


def read_listed(row: sqlite3.Row) -> Entry:
    """Read an alert that is only shown; the body of a dead one may be anything."""
    body = json.loads(text_of(row["body"], LONGEST_TEXT))
    if not isinstance(body, dict):
        raise ValueError("its body is no JSON object")
    event_id, last_error = row["event_id"], row["last_error"]
    state: AlertState = one_of(STATES, row["state"])
    kinds = (row["kind"],) if state == "dead" else get_args(AlertKind)
    alert = Alert(
        id=text_of(row["id"]),
        rule=text_of(row["rule"]),
        endpoint=text_of(row["endpoint"]),
        kind=one_of(kinds, text_of(row["kind"])),
        event_id=None if event_id is None else text_of(event_id),
        body=body,
        created=moment_of(row["created_ms"]),
        deadline=moment_of(row["deadline_ms"]),
    )
    return Entry(
        alert,
        state,
        count_of(row["attempts"]),
        moment_of(row["next_attempt_ms"]),
        None if last_error is None else text_of(last_error, LONGEST_TEXT),
        row["sequence"],
    )


def read_attempt(row: sqlite3.Row) -> Attempt:
    """Read an attempt."""
    seconds = count_of(row["duration_ms"]) / 1000
    outcome = text_of(row["outcome"])
    detail = text_of(row["detail"], LONGEST_TEXT)
    return Attempt(moment_of(row["at_ms"]), outcome, detail, seconds)
