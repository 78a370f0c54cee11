"""Records as rows of the database, and back."""

import json
import logging
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast, get_args

from monitor.records import EndReason, Event, Gap, GapReason, Health, Onset, Timed

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
