"""How many alerts a rule may make in an hour, and what becomes of the others."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from monitor.config.alerts import AlertSettings
from monitor.sinks.alerts.alert import Alert, AlertKind, alert_id
from monitor.sinks.alerts.body import utc_text

HOUR_MS = 3_600_000
MOST_EXAMPLES = 20


@dataclass
class Held:
    """What was held back because there were too many alerts."""

    since_ms: int
    count: int = 0
    sounds: list[dict[str, Any]] = field(default_factory=list)
    """By source and label; of a trouble the label is its kind."""

    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, source: str, label: str, example: Mapping[str, Any]) -> None:
        """Count what is not told; `example` is what else is known of it."""
        self.count += 1
        for each in self.sounds:
            if (each["source"], each["label"]) == (source, label):
                each["count"] += 1
                break
        else:
            self.sounds.append({"source": source, "label": label, "count": 1})
        if len(self.examples) < MOST_EXAMPLES:
            self.examples.append({"source": source, "label": label, **example})

    @property
    def since(self) -> datetime:
        """When the first was held back."""
        return datetime.fromtimestamp(self.since_ms / 1000, UTC)


class Quota:
    """The alerts of one rule in the last hour.  Knows no clock."""

    def __init__(self, most: int | None) -> None:
        """Allow `most` alerts an hour; None: any number."""
        self._most = most
        self._told_ms: list[int] = []
        self._held: Held | None = None

    def has_room(
        self, source: str, label: str, example: Mapping[str, Any], now: datetime
    ) -> bool:
        """Whether one more alert fits into the hour; else what it tells is held back.

        Args:
            source: Of what is to be told.
            label: Of a sound, or the kind of a trouble.
            example: What else a digest says of it.
            now: This moment.
        """
        now_ms = in_ms(now)
        if self._most is None:
            return True
        self._told_ms = [ms for ms in self._told_ms if 0 <= now_ms - ms < HOUR_MS]
        if len(self._told_ms) < self._most:
            self._told_ms.append(now_ms)
            return True
        if self._held is None:
            self._held = Held(now_ms)
        self._held.add(source, label, example)
        return False

    def is_due(self, now: datetime) -> bool:
        """Whether something was held back, the first of it an hour ago."""
        held = self._held
        return held is not None and not 0 <= in_ms(now) - held.since_ms < HOUR_MS

    def release(self) -> Held:
        """Return what was held back, and forget it; there is something."""
        held, self._held = self._held, None
        assert held is not None, "asked only if it is due"
        return held

    def state(self) -> dict[str, Any]:
        """What must be remembered over a restart."""
        return {
            "told_ms": list(self._told_ms),
            "held": None if self._held is None else asdict(self._held),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Add what `state` of an earlier run returned to what happened since."""
        self._told_ms = [*state["told_ms"], *self._told_ms]
        if self._held is None and state["held"] is not None:
            self._held = Held(**state["held"])


def addressed(
    settings: AlertSettings,
    kind: AlertKind,
    subject: str,
    body: Mapping[str, Any],
    now: datetime,
    *,
    number: int = 0,
    event_id: str | None = None,
) -> Iterator[Alert]:
    """Make one alert for each endpoint of a rule; for the rest see `alert_id`."""
    for endpoint in settings.endpoints:
        key = alert_id(endpoint, kind, subject, number)
        yield Alert(
            id=key,
            rule=settings.name,
            endpoint=endpoint,
            kind=kind,
            event_id=event_id,
            body={"id": key, "created": utc_text(now), **body},
            created=now,
            deadline=now + timedelta(seconds=settings.deadline_seconds),
        )


def in_ms(moment: datetime) -> int:
    """Milliseconds since 1970."""
    return round(moment.timestamp() * 1000)
