"""The troubles of sources and of the monitor, as one rule tells them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from monitor.config.alerts import AlertSettings
from monitor.records import EVERY_SOURCE, Health, HealthKind, Timed
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.body import health_body, utc_text
from monitor.sinks.alerts.limits import Quota, addressed, in_ms


@dataclass
class Case:
    """What the rule did about one trouble that goes on."""

    source: str
    kind: HealthKind
    detail: str
    start: str | None
    """UTC, ISO 8601."""

    told: bool = False
    """Somebody knows of it, and is told its end."""

    settled: bool = False
    """It was told, or will never be."""


class HealthCases:
    """Makes alerts of troubles: one when it is raised, one when it is cleared.

    A trouble that goes on when a quiet time or a cooldown ends is told then.  Whoever
    was told of it is told its end, also in a quiet time.
    """

    def __init__(self, settings: AlertSettings, quota: Quota) -> None:
        """Begin with nothing; `quota` is that of the rule."""
        self._settings = settings
        self._quota = quota
        self._cases: dict[str, Case] = {}
        self._last_ms: dict[tuple[str, str], int] = {}

    def take(self, timed: Timed, now: datetime, *, is_quiet: bool) -> Iterator[Alert]:
        """Take a trouble that is raised or cleared."""
        record = timed.record
        assert isinstance(record, Health)
        if not self._wants(record):
            return
        if record.state == "raised":
            start = utc_text(timed.start_utc)
            case = Case(record.source, record.kind, record.detail, start)
            self._cases[record.id] = case
            if not is_quiet:
                yield from self._try_to_tell(record.id, case, now)
            return
        before = self._cases.pop(record.id, None)
        if before is not None and before.told:
            seconds = timed.end_seconds - timed.start_seconds
            body = health_body(
                self._settings,
                asdict(before),
                "cleared",
                detail=record.detail,
                end=utc_text(timed.end_utc),
                seconds=seconds,
            )
            self._last_ms[before.source, before.kind] = in_ms(now)
            yield from self._addressed(record.id, 1, body, now)

    def tick(self, now: datetime) -> Iterator[Alert]:
        """Let time pass outside of quiet times: tell what could not be told before."""
        for key, case in self._cases.items():
            yield from self._try_to_tell(key, case, now)

    def state(self) -> dict[str, Any]:
        """What must be remembered over a restart."""
        return {
            "cases": {key: asdict(case) for key, case in self._cases.items()},
            "last_ms": [[*key, ms] for key, ms in self._last_ms.items()],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Add what `state` of an earlier run returned to what happened since."""
        for key, case in state["cases"].items():
            self._cases.setdefault(key, Case(**case))
        for source, kind, ms in state["last_ms"]:
            self._last_ms.setdefault((source, kind), ms)

    def _wants(self, record: Health) -> bool:
        settings = self._settings
        return (
            "health" in settings.on
            and (not settings.kinds or record.kind in settings.kinds)
            and (
                not settings.sources
                or record.source in (EVERY_SOURCE, *settings.sources)
            )
        )

    def _try_to_tell(self, key: str, case: Case, now: datetime) -> Iterator[Alert]:
        if case.settled or self._is_cooling_down(case, now):
            return
        case.settled = True
        example = {"start": case.start, "detail": case.detail}
        if self._quota.has_room(case.source, case.kind, example, now):
            case.told = True
            self._last_ms[case.source, case.kind] = in_ms(now)
            body = health_body(
                self._settings, asdict(case), "raised", detail=case.detail
            )
            yield from self._addressed(key, 0, body, now)

    def _is_cooling_down(self, case: Case, now: datetime) -> bool:
        last = self._last_ms.get((case.source, case.kind))
        cooldown_ms = self._settings.cooldown_seconds * 1000
        return last is not None and 0 <= in_ms(now) - last < cooldown_ms

    def _addressed(
        self, key: str, number: int, body: Mapping[str, Any], now: datetime
    ) -> Iterator[Alert]:
        return addressed(self._settings, "health", key, body, now, number=number)
