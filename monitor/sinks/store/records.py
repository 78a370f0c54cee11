"""Records as rows of the database, and back.

Health as rows of the database, and back.
"""

import json
import logging
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast, get_args

from monitor.records import (
    EndReason,
    Event,
    Gap,
    GapReason,
    Health,
    HealthKind,
    Onset,
    Timed,
)

logger = logging.getLogger(__name__)


_Read = TypeVar("_Read")

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(moment: datetime) -> int:
    """Milliseconds since 1970, UTC, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """UTC of milliseconds since 1970."""
    return _EPOCH + milliseconds * _MILLISECOND


def source_key(connection: sqlite3.Connection, name: str) -> int:
    """Key of a source, which is made if it is new."""
    connection.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", (name,))
    found = connection.execute("SELECT id FROM sources WHERE name = ?", (name,))
    return cast("int", found.fetchone()[0])


def write_occurrence(
    connection: sqlite3.Connection, session: int, timed: Timed, told_ms: int
) -> None:
    """Insert an onset, or complete it by its event; the same one twice is one row.

    An event whose onset is not there is inserted, unless its beginning was forgotten.
    """
    record = timed.record
    assert isinstance(record, Onset | Event)
    known = _occurrence(record, timed, told_ms)
    changed = connection.execute(
        "UPDATE events SET (at_ms, start_ms, end_ms, start_sample, stop_sample, "
        "peak_score, mean_score, level_dbfs, laeq_db, top, end_reason) = "
        "(:at_ms, :start_ms, :end_ms, :start_sample, :stop_sample, "
        ":peak_score, :mean_score, :level_dbfs, :laeq_db, :top, :end_reason) "
        "WHERE id = :id",
        known,
    ).rowcount
    at_ms = known["at_ms"]
    if changed or (
        isinstance(record, Event) and is_forgotten(connection, session, at_ms, at_ms)
    ):
        return
    known["session"] = session
    known["source"] = source_key(connection, record.source)
    connection.execute(
        "INSERT INTO events (id, session, source, label, at_ms, start_ms, end_ms, "
        "start_sample, stop_sample, peak_score, mean_score, level_dbfs, laeq_db, top, "
        "model, end_reason) VALUES (:id, :session, :source, :label, :at_ms, :start_ms, "
        ":end_ms, :start_sample, :stop_sample, :peak_score, :mean_score, :level_dbfs, "
        ":laeq_db, :top, :model, :end_reason)",
        known,
    )


def write_gap(
    connection: sqlite3.Connection, session: int, timed: Timed, told_ms: int
) -> None:
    """Insert a gap."""
    record = timed.record
    assert isinstance(record, Gap)
    start_ms, end_ms = times_ms(timed)
    connection.execute(
        "INSERT INTO gaps (session, source, at_ms, start_ms, end_ms, start_sample, "
        "stop_sample, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            session,
            source_key(connection, record.source),
            told_ms if start_ms is None else start_ms,
            start_ms,
            end_ms,
            int(record.start),
            int(record.stop),
            record.reason,
        ),
    )


def is_forgotten(
    connection: sqlite3.Connection, session: int, start_ms: int, end_ms: int
) -> bool:
    """Whether the user had something between these moments of a session deleted."""
    found = connection.execute(
        "SELECT 1 FROM forgotten WHERE session = ? AND since_ms <= ? AND ? < until_ms",
        (session, end_ms, start_ms),
    )
    return found.fetchone() is not None


def read_rows(
    rows: Iterable[sqlite3.Row], read: Callable[[sqlite3.Row], _Read]
) -> Iterator[_Read]:
    """Read rows; what no monitor can have written is left out, and counted."""
    strange = 0
    for row in rows:
        try:
            found = read(row)
        except (ValueError, TypeError, ArithmeticError, LookupError, RecursionError):
            strange += 1
        else:
            yield found
    if strange:
        logger.error(
            "%d rows of the database make no sense and are left out; something else "
            "has written to it",
            strange,
        )


def read_occurrence(row: sqlite3.Row) -> Timed:
    """Turn a row of events_read into its event, or its onset if it is going on."""
    top = json.loads(row["top"])
    onset = Onset(
        row["id"],
        row["source_name"],
        row["label"],
        row["start_sample"],
        row["stop_sample"],
        _number(row["peak_score"]),
        _number(row["mean_score"]),
        _number(row["level_dbfs"]),
        _number(row["laeq_db"]),
        tuple((str(label), _number(score)) for label, score in top),
        row["model"],
    )
    reason = row["end_reason"]
    if reason not in (None, *get_args(EndReason)):
        raise ValueError(f"{reason!r} ends no event")
    return timed_of(onset if reason is None else end(onset, reason), row)


def end(onset: Onset, reason: EndReason, stop: int | None = None) -> Event:
    """Make the event of an onset, which ends where it is known to, or at `stop`."""
    fields = {name: getattr(onset, name) for name in Onset.__dataclass_fields__}
    if stop is not None:
        fields["stop"] = stop
    return Event(**fields, end_reason=reason)


def read_gap(row: sqlite3.Row) -> Timed:
    """Turn a row of gaps_read into its gap."""
    start, stop = row["start_sample"], row["stop_sample"]
    reason = row["reason"]
    if reason not in get_args(GapReason):
        raise ValueError(f"{reason!r} is the reason of no gap")
    return timed_of(Gap(row["source_name"], start, stop, reason), row)


def timed_of(record: Onset | Event | Gap | Health, row: sqlite3.Row) -> Timed:
    """Put a record on the clock, by the times in its row."""
    start_seconds = record.start / row["sample_rate"]
    end_seconds = record.stop / row["sample_rate"]
    start_utc = end_utc = None
    if row["start_ms"] is not None:
        start_utc = from_ms(row["start_ms"])
        end_utc = start_utc + timedelta(seconds=end_seconds - start_seconds)
    if row["end_ms"] is not None:
        end_utc = from_ms(row["end_ms"])
    return Timed(record, start_seconds, end_seconds, start_utc, end_utc)


def times_ms(timed: Timed) -> tuple[int | None, int | None]:
    """Start and end of a record in milliseconds, None where unknown."""
    return (
        None if timed.start_utc is None else to_ms(timed.start_utc),
        None if timed.end_utc is None else to_ms(timed.end_utc),
    )


def _occurrence(record: Onset | Event, timed: Timed, told_ms: int) -> dict[str, Any]:
    start_ms, end_ms = times_ms(timed)
    ended = isinstance(record, Event)
    return {
        "id": record.id,
        "label": record.label,
        "at_ms": told_ms if start_ms is None else start_ms,
        "start_ms": start_ms,
        "end_ms": end_ms if ended else None,
        "start_sample": int(record.start),
        "stop_sample": int(record.stop),
        "peak_score": _finite(record.peak_score),
        "mean_score": _finite(record.mean_score),
        "level_dbfs": _finite(record.level_dbfs),
        "laeq_db": _finite(record.laeq_db),
        "top": json.dumps([[label, _finite(score)] for label, score in record.top]),
        "model": record.model,
        "end_reason": record.end_reason if isinstance(record, Event) else None,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


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
