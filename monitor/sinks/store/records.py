"""Records as rows of the database, and back."""

import json
import logging
import math
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast, get_args

from monitor.records import (
    EndReason,
    Event,
    Gap,
    GapReason,
    Health,
    HealthKind,
    HealthState,
    Onset,
    Record,
    Timed,
)
from monitor.sinks.store.salvage import damage

logger = logging.getLogger(__name__)

KILLED = "the monitor was killed, or the power failed"

_Read = TypeVar("_Read")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_RULE_STATE = "rules"


@dataclass(frozen=True, slots=True)
class Session:
    """One run of the monitor, or the part of it in which one model listens."""

    session: str
    """Id, a part of the ids of its events."""

    model: str
    labels: Sequence[str]
    """The order of the scores of a frame."""

    sample_rate: int
    """Samples a second of the model."""

    embedding_id: str = ""
    """What computes the embeddings: those of models with the same one can be compared,
    whatever their names and labels; empty: unknown."""

    published: str | None = field(default=None, compare=False)
    """See `follow_publishing`."""


def to_ms(moment: datetime) -> int:
    """Return milliseconds since 1970, UTC, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def from_ms(milliseconds: int) -> datetime:
    """Return the UTC of milliseconds since 1970."""
    return _EPOCH + milliseconds * _MILLISECOND


def is_going_on(record: Record) -> bool:
    """Return True for an event or a health problem that has not ended."""
    return isinstance(record, Onset) or (
        isinstance(record, Health) and record.state == "raised"
    )


def insert(
    connection: sqlite3.Connection, table: str, values: Mapping[str, object]
) -> int:
    """Insert a row, given by its columns, and return its key."""
    columns = ", ".join(values)
    places = ", ".join(f":{column}" for column in values)
    # Tables and columns are named by the program, never by its input.
    cursor = connection.execute(
        f"INSERT INTO {table} ({columns}) VALUES ({places})",
        values,
    )
    return cast("int", cursor.lastrowid)


def begin_session(connection: sqlite3.Connection, session: Session, now_ms: int) -> int:
    """Return the key of the session; insert the session if it is new."""
    name, model = session.session, session.model
    labels = json.dumps(list(session.labels))
    ((key,),) = connection.execute(
        "INSERT INTO sessions "
        "(session, started_ms, seen_ms, model, labels, sample_rate, embedding_id) "
        "VALUES (?1, ?2, ?2, ?3, ?4, ?5, ?6) "
        "ON CONFLICT (session) DO UPDATE SET ended_ms = NULL RETURNING id",
        (name, now_ms, model, labels, session.sample_rate, session.embedding_id),
    )
    return cast("int", key)


def source_key(connection: sqlite3.Connection, name: str) -> int:
    """Return the key of a source; insert the source if it is new."""
    connection.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", (name,))
    found = connection.execute("SELECT id FROM sources WHERE name = ?", (name,))
    if (row := found.fetchone()) is None:
        raise damage("an index and its table contradict each other")
    return cast("int", row[0])


def read_rule_state(connection: sqlite3.Connection) -> dict[str, Any] | None:
    """Return the memory of the rules as it was stored last; None: there is none."""
    row = connection.execute(
        "SELECT state FROM rule_state WHERE name = ?", (_RULE_STATE,)
    ).fetchone()
    if row is None:
        return None
    try:
        state = json.loads(row[0])
    except INVALID:
        state = None
    if not isinstance(state, dict):
        logger.error("the stored state of the alert rules is damaged: they begin anew")
        return None
    return state


def write_rule_state(connection: sqlite3.Connection, state: str) -> None:
    """Store the memory of the rules, as JSON."""
    connection.execute(
        "INSERT INTO rule_state (name, state) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET state = excluded.state",
        (_RULE_STATE, state),
    )


def write_record(
    connection: sqlite3.Connection, session: int, timed: Timed, received_ms: int
) -> None:
    """Insert a record, or complete the row of an event or health problem.

    The same record written twice is one row.  An end whose beginning is not there is
    inserted.
    """
    record = timed.record
    assert isinstance(record, Onset | Event | Gap | Health)
    times = timed.start_utc, timed.end_utc
    start_ms, end_ms = (None if time is None else to_ms(time) for time in times)
    at_ms = received_ms if start_ms is None else start_ms
    values: dict[str, object] = {
        "at_ms": at_ms,
        "start_ms": start_ms,
        "end_ms": None if is_going_on(record) else end_ms,
        "start_sample": int(record.start),
        "stop_sample": int(record.stop),
    }
    if isinstance(record, Gap):
        table = "gaps"
        values |= {"reason": record.reason, "left_out": record.left_out}
    elif isinstance(record, Health):
        table = "health"
        for name in ("id", "kind", "state", "detail"):
            values[name] = getattr(record, name)
    else:
        table = "events"
        values |= _occurrence(record)
    if table != "gaps" and connection.execute(_UPDATES[table], values).rowcount:
        return
    source = source_key(connection, record.source)
    insert(connection, table, {**values, "session": session, "source": source})


_UPDATES = {
    "events": "UPDATE events SET (at_ms, start_ms, end_ms, start_sample, stop_sample, "
    "peak_score, mean_score, level_dbfs, laeq_db, lafmax_db, level_offset_db, top, "
    "end_reason) = (:at_ms, :start_ms, :end_ms, :start_sample, :stop_sample, "
    ":peak_score, :mean_score, :level_dbfs, :laeq_db, :lafmax_db, :level_offset_db, "
    ":top, :end_reason) WHERE id = :id",
    "health": "UPDATE health SET state = :state, end_ms = :end_ms, "
    "stop_sample = :stop_sample, detail = CASE WHEN :detail IN ('', detail) "
    "THEN detail ELSE ltrim(detail || '; ' || :detail, '; ') END WHERE id = :id",
}


def _occurrence(record: Onset | Event) -> dict[str, object]:
    return {
        "id": record.id,
        "label": record.label,
        "peak_score": _finite(record.peak_score),
        "mean_score": _finite(record.mean_score),
        "level_dbfs": _finite(record.level_dbfs),
        "laeq_db": _finite(record.laeq_db),
        "lafmax_db": _finite(record.lafmax_db),
        "level_offset_db": record.level_offset_db,
        "top": json.dumps([[label, _finite(score)] for label, score in record.top]),
        "model": record.model,
        "end_reason": record.end_reason if isinstance(record, Event) else None,
    }


def select(
    connection: sqlite3.Connection, query: str, values: Sequence[object]
) -> sqlite3.Cursor:
    """Run a query whose rows have names."""
    cursor = connection.cursor()
    cursor.row_factory = sqlite3.Row
    return cursor.execute(query, values)


INVALID = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)
"""Errors of reading a row that no monitor can have written."""

LONGEST_NAME = 200
LONGEST_TEXT = 2**20


def text_of(value: object, longest: int = LONGEST_NAME) -> str:
    """Return the value of a column of text, which is a name unless it may be longer."""
    if not isinstance(value, str) or len(value) > longest:
        raise TypeError(f"{value!r:.40} is no text of {longest} characters at most")
    return value


def count_of(value: object) -> int:
    """Return the value of a column of whole numbers that are not negative."""
    if not isinstance(value, int) or value < 0:
        raise TypeError(f"{value!r:.40} is no count")
    return value


def moment_of(value: object) -> datetime:
    """Return the value of a column of milliseconds."""
    moment = from_ms(count_of(value))
    if not _EPOCH < moment < _LATEST:
        raise ValueError(f"{value} is no time of this program")
    return moment


def one_of(choice: Sequence[Any], value: object) -> Any:
    """Return the value of a column that has one of some words."""
    if value not in choice:
        raise ValueError(f"{value!r:.40} is none of {', '.join(choice)}")
    return value


def read_rows(
    rows: Iterable[sqlite3.Row], read: Callable[[sqlite3.Row], _Read]
) -> Iterator[_Read]:
    """Read rows; leave out those that no monitor can have written, and log how many.

    This is the one check of rows: the file may be damaged, or come from elsewhere.
    """
    unreadable = 0
    for row in rows:
        try:
            found = read(row)
        except INVALID:
            unreadable += 1
        else:
            yield found
    if unreadable:
        logger.error(
            "%d rows of the database are invalid and left out; another program has "
            "written to it, or the file is damaged",
            unreadable,
        )


def read_occurrence(row: sqlite3.Row) -> Timed:
    """Turn a row of events_read into its event, or its onset if it is going on."""
    onset = Onset(
        text_of(row["id"]),
        text_of(row["source_name"]),
        text_of(row["label"]),
        count_of(row["start_sample"]),
        count_of(row["stop_sample"]),
        _number(row["peak_score"]),
        _number(row["mean_score"]),
        _number(row["level_dbfs"]),
        _number(row["laeq_db"]),
        tuple((text_of(it), _number(score)) for it, score in json.loads(row["top"])),
        text_of(row["model"]),
        lafmax_db=row["lafmax_db"],
        level_offset_db=row["level_offset_db"],
    )
    if row["end_reason"] is None:
        return _timed(onset, row)
    reason: EndReason = one_of(get_args(EndReason), row["end_reason"])
    return _timed(_end(onset, reason, onset.stop), row)


def read_gap(row: sqlite3.Row) -> Timed:
    """Turn a row of gaps_read into its gap."""
    start, stop = count_of(row["start_sample"]), count_of(row["stop_sample"])
    reason: GapReason = one_of(get_args(GapReason), row["reason"])
    left_out = None if row["left_out"] is None else count_of(row["left_out"])
    if left_out is not None and not left_out <= stop - start > 0:
        raise ValueError(f"{left_out} samples of it cannot be left out")
    return _timed(Gap(text_of(row["source_name"]), start, stop, reason, left_out), row)


def read_health(row: sqlite3.Row) -> Timed:
    """Turn a row of health_read into its record, raised while it is going on."""
    kind: HealthKind = one_of(get_args(HealthKind), row["kind"])
    state: HealthState = one_of(get_args(HealthState), row["state"])
    record = Health(
        text_of(row["source_name"]),
        count_of(row["start_sample"]),
        count_of(row["stop_sample"]),
        kind,
        state,
        text_of(row["detail"], LONGEST_TEXT),
        text_of(row["id"]),
    )
    return _timed(record, row)


def interrupted_records(connection: sqlite3.Connection, session: str) -> list[Timed]:
    """Make the ends of events and health problems that other sessions left open.

    Each ends where the scores of its source or session end, the last that is known.
    Open records of `session`, the current one, continue.
    """
    # The newest row of scores is found by its time; a maximum would read them all.
    events = select(
        connection,
        "SELECT *, (SELECT start_sample + window_samples + (frames - 1) * hop_samples "
        "FROM scores WHERE scores.session = events_read.session "
        "AND scores.source = events_read.source "
        "ORDER BY start_ms DESC LIMIT 1) AS scored_until "
        "FROM events_read WHERE end_reason IS NULL AND session_name != ? "
        "ORDER BY sequence",
        (session,),
    )
    health = select(
        connection,
        "SELECT *, (SELECT end_ms FROM scores "
        "WHERE scores.session = health_read.session ORDER BY start_ms DESC LIMIT 1) "
        "AS scored_until_ms FROM health_read "
        "WHERE state = 'raised' AND session_name != ? ORDER BY sequence",
        (session,),
    )
    return [
        *read_rows(events, _interrupted_event),
        *read_rows(health, _interrupted_health),
    ]


def _interrupted_event(row: sqlite3.Row) -> Timed:
    timed = read_occurrence(row)
    onset = timed.record
    assert isinstance(onset, Onset)
    stop = max(onset.stop, row["scored_until"] or 0)
    end_seconds = stop / row["sample_rate"]
    end_utc = timed.start_utc
    if end_utc is not None:
        end_utc += timedelta(seconds=end_seconds - timed.start_seconds)
    event = _end(onset, "interrupted", stop)
    return replace(timed, record=event, end_seconds=end_seconds, end_utc=end_utc)


def _interrupted_health(row: sqlite3.Row) -> Timed:
    timed = read_health(row)
    assert isinstance(timed.record, Health)
    record = replace(timed.record, state="cleared", detail=KILLED)
    end_utc, start_utc = timed.end_utc, timed.start_utc
    end_seconds = timed.end_seconds
    if start_utc is not None and end_utc is not None and row["scored_until_ms"]:
        end_utc = max(end_utc, from_ms(row["scored_until_ms"]))
        end_seconds = timed.start_seconds + (end_utc - start_utc).total_seconds()
        record = replace(record, stop=round(end_seconds * row["sample_rate"]))
    return replace(timed, record=record, end_seconds=end_seconds, end_utc=end_utc)


def _end(onset: Onset, reason: EndReason, stop: int) -> Event:
    fields = {name: getattr(onset, name) for name in Onset.__dataclass_fields__}
    return Event(**fields | {"stop": stop}, end_reason=reason)


def _timed(record: Onset | Event | Gap | Health, row: sqlite3.Row) -> Timed:
    """Put a record on the clock, by the times in its row."""
    rate = row["sample_rate"]
    start_seconds, end_seconds = record.start / rate, record.stop / rate
    start_utc = end_utc = None
    if row["start_ms"] is not None:
        start_utc = from_ms(row["start_ms"])
        end_utc = start_utc + timedelta(seconds=end_seconds - start_seconds)
    if row["end_ms"] is not None:
        end_utc = from_ms(row["end_ms"])
    return Timed(record, start_seconds, end_seconds, start_utc, end_utc)


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
