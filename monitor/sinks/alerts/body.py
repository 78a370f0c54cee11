"""The bodies of alerts: every fact that shows why one was made, and a sentence.

The user's own templates are filled with the same facts, escaped as their type needs.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, tzinfo
from html import escape
from typing import Any
from urllib.parse import quote_plus

from monitor.config.alerts import AlertSettings
from monitor.config.hooks import NUMBER_FIELDS, TEXT_FIELDS, FieldTemplate, is_json
from monitor.records import EVERY_SOURCE, Event, HealthState, Occurrence
from monitor.sinks.alerts.conditions import Case
from monitor.text import duration, level, rounded, utc_text

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Incident:
    """The newest record of an occurrence, and further facts for an alert."""

    occurrence: Occurrence
    start: str | None
    """Start, UTC, ISO 8601; None: unknown, or known from its onset."""

    duration_seconds: float
    threshold: float | None
    """Score from which a window is a hit; None: unknown."""

    hits: int | None = None
    """Windows at or above the threshold; None: not counted, after a crash."""

    windows: int | None = None
    """Windows since it began."""

    end: str | None = None
    """End, UTC, ISO 8601; None: ongoing or unknown."""


def occurrence_body(
    settings: AlertSettings, kind: str, incident: Incident, *, escalation: bool
) -> dict[str, Any]:
    """State the occurrence, and those of its facts that met the rule's conditions.

    Times are UTC in ISO 8601, `end` is null while the sound goes on.  Scores have four
    digits, levels one, seconds three; null is what is unknown.
    """
    of = incident.occurrence
    return {
        "schema": SCHEMA,
        "type": "alert",
        "kind": kind,
        "escalation": escalation,
        "rule": settings.name,
        "message": _sentence(kind, incident, escalation=escalation),
        "label": of.label,
        "source": of.source,
        "event_id": of.id,
        "start": incident.start,
        "end": incident.end,
        "duration_seconds": rounded(incident.duration_seconds, 3),
        "end_reason": of.end_reason if isinstance(of, Event) else None,
        "peak_score": rounded(of.peak_score, 4),
        "mean_score": rounded(of.mean_score, 4),
        "threshold": incident.threshold,
        "hits": incident.hits,
        "windows": incident.windows,
        "level_dbfs": rounded(of.level_dbfs, 1),
        "laeq_db": rounded(of.laeq_db, 1),
        "top": [[label, rounded(score, 4)] for label, score in of.top],
        "model": of.model,
        "conditions": conditions(settings),
    }


def conditions(settings: AlertSettings) -> dict[str, Any]:
    """The conditions of the rule for an occurrence."""
    return {
        "labels": list(settings.labels),
        "sources": list(settings.sources),
        "min_score": settings.min_score,
        "min_level_dbfs": settings.min_level_dbfs,
        "min_duration_seconds": settings.min_duration_seconds,
        "cooldown_seconds": settings.cooldown_seconds,
        "escalate_after_seconds": settings.escalate_after_seconds,
    }


def health_body(
    settings: AlertSettings,
    case: Case,
    state: HealthState,
    *,
    detail: str,
    end: str | None = None,
    seconds: float | None = None,
) -> dict[str, Any]:
    """State a health problem of a source or the monitor, or that it is over."""
    what = (
        case.label if case.source == EVERY_SOURCE else f"{case.label} at {case.source}"
    )
    if seconds is not None:
        what += f" is over after {duration(seconds)}"
    return {
        "schema": SCHEMA,
        "type": "alert",
        "kind": "health",
        "escalation": False,
        "rule": settings.name,
        "message": f"{what}: {detail}" if detail else what,
        "label": None,
        "source": case.source,
        "health": case.label,
        "state": state,
        "detail": detail,
        "start": case.start,
        "end": end,
        "duration_seconds": None if seconds is None else rounded(seconds, 3),
        "conditions": {
            "kinds": list(settings.kinds),
            "sources": list(settings.sources),
            "cooldown_seconds": settings.cooldown_seconds,
        },
    }


def digest_body(
    settings: AlertSettings, held: Mapping[str, Any], since: datetime, zone: tzinfo
) -> dict[str, Any]:
    """Sum up the reports held back since `since`; `zone` is that of the sentence."""
    sounds = held["sounds"]
    named = ", ".join(
        f"{each['label']} at {each['source']} {each['count']} times"
        if each["count"] != 1
        else f"{each['label']} at {each['source']} once"
        for each in sounds[:5]
    )
    more = ", and others" if len(sounds) > 5 else ""
    return {
        "schema": SCHEMA,
        "type": "alert",
        "kind": "digest",
        "escalation": False,
        "rule": settings.name,
        "message": f"held back since {since.astimezone(zone):%H:%M}, more than "
        f"{settings.max_per_hour} alerts an hour: {named}{more}",
        "start": utc_text(since),
        "count": held["count"],
        "sounds": list(sounds),
        "examples": list(held["examples"]),
        "conditions": {**conditions(settings), "max_per_hour": settings.max_per_hour},
    }


def _sentence(kind: str, incident: Incident, *, escalation: bool) -> str:
    of = incident.occurrence
    seconds = duration(incident.duration_seconds)
    what = {
        "onset": f"{of.label} at {of.source}",
        "still_on": f"{of.label} at {of.source} is still on after {seconds}",
        "end": f"{of.label} at {of.source} ended after {seconds}",
    }[kind]
    mark = "escalation: " if escalation else ""
    return f"{mark}{what} (score {of.peak_score:.2f}, {level(of.level_dbfs, 1)} dBFS)"


def render(template: str, content_type: str, body: Mapping[str, Any]) -> str:
    """Fill a valid template with the facts of an alert, escaped for `content_type`."""
    texts = {
        name: _escaped("" if body.get(name) is None else str(body[name]), content_type)
        for name in TEXT_FIELDS
    }
    numbers = {name: json.dumps(body.get(name)) for name in NUMBER_FIELDS}
    whole = json.dumps(dict(body))
    numbers["json"] = whole if is_json(content_type) else _escaped(whole, content_type)
    return FieldTemplate(template).substitute(texts | numbers)


def facts(body: Mapping[str, Any]) -> dict[str, str]:
    """The fields of an alert but `json` as plain text; empty where unknown."""
    plain = {}
    for name in (*TEXT_FIELDS, *NUMBER_FIELDS):
        value = body.get(name)
        if name != "json":
            text = value if isinstance(value, str) else json.dumps(value)
            plain[name] = "" if value is None else text
    return plain


def _escaped(text: str, content_type: str) -> str:
    kind = content_type.partition(";")[0].strip().lower()
    if is_json(content_type):
        return json.dumps(text)[1:-1]
    if kind == "application/x-www-form-urlencoded":
        return quote_plus(text)
    if kind.endswith(("/xml", "+xml", "/html")):
        return escape(text)
    return text
