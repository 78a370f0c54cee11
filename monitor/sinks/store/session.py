"""A run of the monitor in the database, and what the run before left open."""

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from monitor.records import Onset, Timed
from monitor.sinks.store.health_rows import interrupted_health
from monitor.sinks.store.rows import end, read_occurrence, read_rows


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
