"""Records as JSON that other programs read: schema 1, documented in the README."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from monitor.records import Event, Gap, Health, LabelScore, Onset, Timed

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
"""Every object has all of them, in this order; of type health it has three more."""

HEALTH_KEYS = ("kind", "state", "detail")


def encode(timed: Timed) -> dict[str, object] | None:
    """Put a record into schema 1; None for score frames and states of sources.

    Times are UTC in ISO 8601 with milliseconds, null where unknown; scores have four
    digits, levels one, seconds three; a number that is not finite is null.

    An onset has no end yet: `end`, `stop_sample`, `end_seconds` and `end_reason` are
    null, and what it tells of scores and levels holds so far.  Its event has its `id`.

    A gap's `end_reason` says why the samples were lost; `label`, `model`, scores and
    levels are null, `top` is empty.

    Of health, `kind` says what is wrong, `state` whether it is raised or cleared, and
    `detail` is a sentence, maybe empty.  Raised, it has no end yet, as an onset; the
    `cleared` with its `id` says when it began and ended.
    """
    record = timed.record
    if isinstance(record, Gap):
        body = _gap(record, timed)
    elif isinstance(record, Health):
        body = _health(record, timed)
    elif isinstance(record, Onset):
        body = {"type": "onset", **_occurrence(record)}
    elif isinstance(record, Event):
        body = {
            "type": "event",
            **_occurrence(record),
            **_end(timed, record.stop, record.end_reason),
        }
    else:
        return None
    known = {
        "schema": SCHEMA,
        "source": record.source,
        "start": _utc(timed.start_utc),
        "start_sample": record.start,
        "start_seconds": _rounded(timed.start_seconds, 3),
        "top": [],
        **body,
    }
    keys = (*KEYS, *HEALTH_KEYS) if isinstance(record, Health) else KEYS
    return {key: known.get(key) for key in keys}


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
        "peak_score": _rounded(record.peak_score, 4),
        "mean_score": _rounded(record.mean_score, 4),
        "level_dbfs": _rounded(record.level_dbfs, 1),
        "laeq_db": _rounded(record.laeq_db, 1),
        "top": _top(record.top),
        "model": record.model,
    }


def _gap(record: Gap, timed: Timed) -> dict[str, Any]:
    return {
        "type": "gap",
        "id": _gap_id(record, timed.start_utc),
        **_end(timed, record.stop, record.reason),
    }


def _health(record: Health, timed: Timed) -> dict[str, Any]:
    is_over = record.state == "cleared"
    return {
        "type": "health",
        "id": record.id,
        "kind": record.kind,
        "state": record.state,
        "detail": record.detail,
        # Raised, its stop is where it was told.
        **(_end(timed, record.stop, None) if is_over else {}),
    }


def _gap_id(record: Gap, start_utc: datetime | None) -> str:
    # Sample indices begin again with every run; the time of day tells runs apart.
    when = "" if start_utc is None else f"-{start_utc.astimezone(UTC):%Y%m%dT%H%M%SZ}"
    return f"{record.source}{when}-gap-{record.start}"


def _end(timed: Timed, stop: int, reason: str | None) -> dict[str, Any]:
    return {
        "end": _utc(timed.end_utc),
        "stop_sample": stop,
        "end_seconds": _rounded(timed.end_seconds, 3),
        "end_reason": reason,
    }


def _top(top: Sequence[LabelScore]) -> list[list[str | float | None]]:
    return [[label, _rounded(score, 4)] for label, score in top]


def _utc(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    text = moment.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


def _rounded(value: float, digits: int) -> float | None:
    """Round to `digits`; None for what JSON cannot say: infinities, not a number."""
    if not math.isfinite(value):
        return None
    return round(float(value), digits) + 0.0  # -0.0 + 0.0 is 0.0
