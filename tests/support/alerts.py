"""Alerts, rules and hooks for tests."""

from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.config.alerts import AlertSettings
from monitor.sinks.alerts.alert import Alert, AlertKind, alert_id

NOW = datetime(2026, 11, 23, 5, 56, 30, tzinfo=UTC)
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSwMfKQ9r8GKYo="


def rule(name: str = "siren", **settings: Any) -> AlertSettings:
    if not {"webhook", "command"} & set(settings):
        settings["webhook"] = {"url": "http://localhost:1/hook"}
    return AlertSettings.model_validate({"name": name, **settings})


def alert(
    number: int = 1,
    endpoint: str = "siren/webhook",
    kind: AlertKind = "onset",
    created: datetime = NOW,
    seconds: float = 86_400,
    **facts: Any,
) -> Alert:
    event_id = f"session-street-{number}"
    key = alert_id(endpoint, kind, event_id)
    body = {
        "id": key,
        "kind": kind,
        "rule": endpoint.partition("/")[0],
        "label": "siren",
        "source": "street",
        "event_id": event_id,
        "message": "siren at street",
        "peak_score": 0.93,
        "number": number,
        **facts,
    }
    return Alert(
        id=key,
        rule=endpoint.partition("/")[0],
        endpoint=endpoint,
        kind=kind,
        event_id=event_id,
        body=body,
        created=created,
        deadline=created + timedelta(seconds=seconds),
    )
