"""Reviews: what people said about events, and which events are locked."""

import json
import sqlite3
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

from monitor.errors import StoreError
from monitor.sinks.store.records import (
    moment_of,
    one_of,
    read_rows,
    select,
    text_of,
    to_ms,
)
from monitor.text import counted, utc_text

Verdict = Literal["right", "wrong", "label"]
"""label: there was a sound, and its label is another one."""

VERDICTS: tuple[Verdict, ...] = get_args(Verdict)


@dataclass(frozen=True, slots=True)
class Review:
    """What a person said about an event."""

    verdict: Verdict | None
    """None: the event is only locked, or the verdict was taken back."""

    label: str | None
    """The right label, with the verdict `label` alone."""

    locked: bool
    """True: retention deletes neither the event nor its clip."""

    at: datetime
    """Time of the verdict, or of the undo that wrote it back; else of the lock; UTC."""


@dataclass(frozen=True, slots=True)
class ReviewedBefore:
    """The verdict of an event before a change, which an undo writes back."""

    id: str
    verdict: Verdict | None
    label: str | None


def review_of(row: sqlite3.Row) -> Review | None:
    """Return the review in a row of events_read; None: nobody has said anything.

    Raises:
        ValueError, TypeError: No monitor can have written it.
    """
    if row["reviewed_ms"] is None:
        return None
    return Review(
        verdict=one_of((None, *VERDICTS), row["verdict"]),
        label=None if row["true_label"] is None else text_of(row["true_label"]),
        locked=bool(row["locked"]),
        at=moment_of(row["reviewed_ms"]),
    )


def encode_review(review: Review | None) -> dict[str, object] | None:
    """Encode a review as JSON for programs."""
    if review is None:
        return None
    return {
        "verdict": review.verdict,
        "label": review.label,
        "locked": review.locked,
        "time": utc_text(review.at),
    }


def read_reviews(connection: sqlite3.Connection) -> dict[str, Review]:
    """Return all reviews by the id of their event."""
    rows = select(
        connection,
        "SELECT event_id, verdict, label AS true_label, locked, reviewed_ms "
        "FROM reviews",
        (),
    )
    found = read_rows(rows, lambda row: (text_of(row["event_id"]), review_of(row)))
    return {event_id: review for event_id, review in found if review is not None}


def write_verdict(
    connection: sqlite3.Connection,
    ids: list[str],
    verdict: Verdict | None,
    label: str | None,
    *,
    now: datetime,
) -> list[ReviewedBefore]:
    """Give events a verdict inside a transaction; None takes theirs back.

    `label` is given with the verdict `label`, and only with it.

    Returns:
        The verdicts before, in the order of `ids`.

    Raises:
        StoreError: An event is not there; nothing was written.
    """
    before = _verdicts(connection, ids)
    connection.executemany(
        "INSERT INTO reviews (event_id, verdict, label, reviewed_ms) "
        "VALUES (?, ?, ?, ?) ON CONFLICT (event_id) DO UPDATE SET "
        "(verdict, label, reviewed_ms) = "
        "(excluded.verdict, excluded.label, excluded.reviewed_ms)",
        [(event_id, verdict, label, to_ms(now)) for event_id in ids],
    )
    _delete_empty(connection, ids)
    return before


def write_lock(
    connection: sqlite3.Connection, ids: list[str], *, locked: bool, now: datetime
) -> None:
    """Lock or unlock events inside a transaction.

    Raises:
        StoreError: An event is not there; nothing was written.
    """
    _verdicts(connection, ids)
    connection.executemany(
        "INSERT INTO reviews (event_id, locked, reviewed_ms) VALUES (?, ?, ?) "
        "ON CONFLICT (event_id) DO UPDATE SET locked = excluded.locked",
        [(event_id, int(locked), to_ms(now)) for event_id in ids],
    )
    _delete_empty(connection, ids)


def locked_events(connection: sqlite3.Connection) -> frozenset[str]:
    """Return the ids of the events that are locked."""
    found = connection.execute("SELECT event_id FROM reviews WHERE locked")
    return frozenset(str(event_id) for (event_id,) in found)


def count_verdicts(connection: sqlite3.Connection, label: str) -> dict[str, int]:
    """Return the number of events of a label with each verdict."""
    found = connection.execute(
        "SELECT reviews.verdict, count(*) FROM reviews "
        "CROSS JOIN events ON events.id = reviews.event_id "
        "WHERE reviews.verdict IS NOT NULL AND events.label = ? GROUP BY 1",
        (label,),
    )
    return dict.fromkeys(VERDICTS, 0) | {str(verdict): n for verdict, n in found}


def _verdicts(connection: sqlite3.Connection, ids: list[str]) -> list[ReviewedBefore]:
    found = connection.execute(
        "SELECT events.id, reviews.verdict, reviews.label FROM events "
        "LEFT JOIN reviews ON reviews.event_id = events.id "
        "WHERE events.id IN (SELECT value FROM json_each(?))",
        (json.dumps(ids),),
    )
    known = {row[0]: ReviewedBefore(*row) for row in found}
    missing = [event_id for event_id in ids if event_id not in known]
    if missing:
        others = len(missing) - 1
        more = f" and {counted(others, 'other')}" if others else ""
        raise StoreError(
            f"there is no event {missing[0]!r:.80}{more}: it may have been deleted; "
            "nothing was changed"
        )
    return [known[event_id] for event_id in ids]


def _delete_empty(connection: sqlite3.Connection, ids: list[str]) -> None:
    """Delete the reviews that say nothing any more."""
    connection.execute(
        "DELETE FROM reviews WHERE verdict IS NULL AND NOT locked "
        "AND event_id IN (SELECT value FROM json_each(?))",
        (json.dumps(ids),),
    )
