"""Health as rows of the database, and back."""

import sqlite3
from dataclasses import replace
from datetime import timedelta
from typing import get_args

from monitor.records import Health, HealthKind, Timed
from monitor.sinks.store.rows import (
    from_ms,
    is_forgotten,
    read_rows,
    source_key,
    timed_of,
    times_ms,
)

KILLED = "the monitor was killed, or the power failed"


def write_health(
    connection: sqlite3.Connection, session: int, timed: Timed, told_ms: int
) -> None:
    """Insert a trouble that is raised, or complete it by its end.

    The end of one that is not there is inserted, unless its beginning was forgotten.
    """
    record = timed.record
    assert isinstance(record, Health)
    start_ms, end_ms = times_ms(timed)
    is_over = record.state == "cleared"
    at_ms = told_ms if start_ms is None else start_ms
    known = {
        "id": record.id,
        "session": session,
        "kind": record.kind,
        "state": record.state,
        "at_ms": at_ms,
        "start_ms": start_ms,
        "end_ms": end_ms if is_over else None,
        "start_sample": int(record.start),
        "stop_sample": int(record.stop),
        "detail": record.detail,
    }
    changed = connection.execute(
        "UPDATE health SET state = :state, end_ms = :end_ms, "
        "stop_sample = :stop_sample, detail = CASE WHEN :detail IN ('', detail) "
        "THEN detail ELSE ltrim(detail || '; ' || :detail, '; ') END WHERE id = :id",
        known,
    ).rowcount
    if changed or (is_over and is_forgotten(connection, session, at_ms, at_ms)):
        return
    known["source"] = source_key(connection, record.source)
    connection.execute(
        "INSERT INTO health (id, session, source, kind, state, at_ms, start_ms, "
        "end_ms, start_sample, stop_sample, detail) VALUES (:id, :session, :source, "
        ":kind, :state, :at_ms, :start_ms, :end_ms, :start_sample, :stop_sample, "
        ":detail)",
        known,
    )


def read_health(row: sqlite3.Row) -> Timed:
    """Turn a row of health_read into its trouble, raised while it is going on."""
    if row["kind"] not in get_args(HealthKind):
        raise ValueError(f"{row['kind']!r} is no kind of trouble")
    record = Health(
        row["source_name"],
        row["start_sample"],
        row["stop_sample"],
        row["kind"],
        row["state"],
        row["detail"],
        row["id"],
    )
    return timed_of(record, row)


def interrupted_health(connection: sqlite3.Connection, session: str) -> list[Timed]:
    """The ends of the troubles that no session is watching any more.

    Args:
        connection: To the database.
        session: The one that is running now; its troubles go on.
    """
    rows = connection.cursor()
    rows.row_factory = sqlite3.Row
    rows.execute(
        # The newest row of scores is found by its time; a maximum would read them all.
        "SELECT *, (SELECT end_ms FROM scores "
        "WHERE scores.session = health_read.session ORDER BY start_ms DESC LIMIT 1) "
        "AS heard_until_ms FROM health_read "
        "WHERE state = 'raised' AND session_name != ? ORDER BY sequence",
        (session,),
    )
    return list(read_rows(rows, _interrupted))


def _interrupted(row: sqlite3.Row) -> Timed:
    """End a trouble where the scores of its session end, the last that is known."""
    timed = read_health(row)
    assert isinstance(timed.record, Health)
    record = replace(timed.record, state="cleared", detail=KILLED)
    end_utc, start_utc = timed.end_utc, timed.start_utc
    end_seconds = timed.end_seconds
    if start_utc is not None and end_utc is not None and row["heard_until_ms"]:
        end_utc = max(end_utc, from_ms(row["heard_until_ms"]))
        end_seconds = timed.start_seconds + (end_utc - start_utc) / timedelta(seconds=1)
        stop = round(end_seconds * row["sample_rate"])
        record = replace(record, stop=stop)
    return replace(timed, record=record, end_seconds=end_seconds, end_utc=end_utc)
