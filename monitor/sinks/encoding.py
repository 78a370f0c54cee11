"""Records as JSON that other programs read: schema 1."""

import json
from datetime import UTC, datetime
from typing import Any

from monitor.records import Event, Gap, Health, Onset, Timed
from monitor.text import rounded, utc_text

SCHEMA = 1

KEYS = (
    "schema",
    "type",
    "id",
    "source",
    "label",
    "start",
    "end",
    "start_sample",
    "stop_sample",
    "start_seconds",
    "end_seconds",
    "peak_score",
    "mean_score",
    "level_dbfs",
    "laeq_db",
    "end_reason",
    "top",
    "model",
)
"""The keys of every object, in this order; health and some gaps have more."""

HEALTH_KEYS = ("kind", "state", "detail")
GAP_KEYS = ("left_out_seconds",)


def encode(timed: Timed) -> dict[str, object] | None:
    """Encode a record in schema 1; None for score frames and source states.

    Times are UTC in ISO 8601 with milliseconds, null where unknown; scores have four
    digits, levels one, seconds three; a number that is not finite is null.

    An onset has no end yet: `end`, `stop_sample`, `end_seconds` and `end_reason` are
    null, and its scores and levels are those so far.  Its event has the same `id`.

    Of a gap, `end_reason` is the reason of the loss; `label`, `model`, scores and
    levels are null, and `top` is empty.  Several losses close together, and an
    overload, have `left_out_seconds`, the sum of the parts.

    Of health, `kind` is the problem, `state` is raised or cleared, and `detail` is a
    sentence, maybe empty.  Raised health has no end yet, like an onset; the `cleared`
    with the same `id` has both start and end.
    """
    record = timed.record
    match record:
        case Onset():
            body = {"type": "onset", **_occurrence(record)}
        case Event():
            end = _end(timed, record.stop, record.end_reason)
            body = {"type": "event", **_occurrence(record), **end}
        case Gap():
            end = _end(timed, record.stop, record.reason)
            body = {"type": "gap", "id": _gap_id(record, timed.start_utc), **end}
            if timed.left_out_seconds is not None:
                body["left_out_seconds"] = rounded(timed.left_out_seconds, 3)
        case Health():
            # The stop of raised health is where it was reported.
            end = _end(timed, record.stop, None) if record.state == "cleared" else {}
            body = {
                "type": "health",
                "id": record.id,
                "kind": record.kind,
                "state": record.state,
                "detail": record.detail,
                **end,
            }
        case _:
            return None
    known = {
        "schema": SCHEMA,
        "source": record.source,
        "start": utc_text(timed.start_utc),
        "start_sample": record.start,
        "start_seconds": rounded(timed.start_seconds, 3),
        "top": [],
        **body,
    }
    more = [key for key in (*HEALTH_KEYS, *GAP_KEYS) if key in known]
    return {key: known.get(key) for key in (*KEYS, *more)}


def encode_line(timed: Timed) -> bytes | None:
    """Encode a record as one line of JSON in ASCII, with its newline."""
    encoded = encode(timed)
    if encoded is None:
        return None
    return json.dumps(encoded, allow_nan=False).encode("ascii") + b"\n"


def _occurrence(record: Onset | Event) -> dict[str, Any]:
    return {
        "id": record.id,
        "label": record.label,
        "peak_score": rounded(record.peak_score, 4),
        "mean_score": rounded(record.mean_score, 4),
        "level_dbfs": rounded(record.level_dbfs, 1),
        "laeq_db": rounded(record.laeq_db, 1),
        "top": [[label, rounded(score, 4)] for label, score in record.top],
        "model": record.model,
    }


def _gap_id(record: Gap, start_utc: datetime | None) -> str:
    # Sample indices begin again with every run; the time of day makes ids differ.
    when = "" if start_utc is None else f"-{start_utc.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    return f"{record.source}{when}-gap-{record.start}"


def _end(timed: Timed, stop: int, reason: str | None) -> dict[str, Any]:
    return {
        "end": utc_text(timed.end_utc),
        "stop_sample": stop,
        "end_seconds": rounded(timed.end_seconds, 3),
        "end_reason": reason,
    }
