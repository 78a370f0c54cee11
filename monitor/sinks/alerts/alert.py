"""An alert: what one endpoint is to be told, once, because of what was heard."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

AlertKind = Literal["onset", "still_on", "end", "digest", "health", "test"]

_NAMESPACE = uuid.UUID("8f8f0f9c-3a0e-5c53-9d5c-2f1d5a0c7b11")


@dataclass(frozen=True, slots=True)
class Alert:
    """What one endpoint is to be told."""

    id: str
    """Idempotency key: the same over retries and restarts, another per endpoint."""

    rule: str
    endpoint: str
    """RULE/KIND, as in `siren-to-operations/webhook`."""

    kind: AlertKind
    event_id: str | None
    """Of the occurrence it is about; None for a digest, health or a test."""

    body: Mapping[str, Any]
    """JSON-able; its `id` is that of the alert."""

    created: datetime
    deadline: datetime
    """After it the alert is of no use: what is not delivered by then is dead."""


def alert_id(endpoint: str, kind: AlertKind, subject: str, number: int = 0) -> str:
    """Derive the idempotency key, so that making an alert twice gives one id.

    Args:
        endpoint: RULE/KIND.
        kind: Of the alert.
        subject: Id of the event, or the time at which a digest begins.
        number: Which one of several alerts of one kind about one event.
    """
    return str(uuid.uuid5(_NAMESPACE, f"{endpoint}\n{kind}\n{subject}\n{number}"))
