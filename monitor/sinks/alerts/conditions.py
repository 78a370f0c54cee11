"""How many alerts a rule may make in an hour, and what becomes of the others.

Quiet times: stretches of the week, on a clock that is changed twice a year.

The troubles of sources and of the monitor, as one rule tells them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, time, timedelta, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from monitor.config.alerts import WEEKDAYS, AlertSettings, QuietSettings, minutes_of
from monitor.records import EVERY_SOURCE, Health, HealthKind, Timed
from monitor.sinks.alerts.body import health_body, utc_text
from monitor.sinks.alerts.outbox import Alert, AlertKind, alert_id

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


MACHINE_ZONE = Path("/etc/localtime")


def find_zone(name: str | None, machine_zone: Path = MACHINE_ZONE) -> tzinfo:
    """Find the time zone called `name`; None: that of the machine, UTC if unknown.

    Not the machine's present offset, which would be wrong after the next clock change.
    """
    if name is not None:
        return ZoneInfo(name)
    try:
        with machine_zone.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError, ZoneInfoNotFoundError):
        return UTC


def is_quiet(quiet: Sequence[QuietSettings], zone: tzinfo, moment: datetime) -> bool:
    """Whether `moment` lies in one of the quiet times.

    Each is one stretch: from the first moment at which the clock shows or has passed
    its begin to the last at which it shows its end.  So where an hour comes twice, the
    quiet time does not end in between; where it is left out, what would begin or end
    in it does so at the change.
    """
    today = moment.astimezone(zone).date()
    for each in quiet:
        begin, end = minutes_of(each.begin), minutes_of(each.end)
        for date in (today - timedelta(days=1), today):
            if WEEKDAYS[date.weekday()] not in each.weekdays:
                continue
            midnight = datetime.combine(date, time())
            last = midnight + timedelta(minutes=end, days=end < begin)
            first = midnight + timedelta(minutes=begin)
            if _instant(first, zone, fold=0) <= moment < _instant(last, zone, fold=1):
                return True
    return False


def _instant(local: datetime, zone: tzinfo, *, fold: int) -> datetime:
    """When clocks in `zone` show `local`: the first or the last time.

    Where they never do, because the hour is left out: the moment of the change.
    """
    first, last = (
        local.replace(tzinfo=zone, fold=each).astimezone(UTC) for each in (0, 1)
    )
    if first <= last:
        return (first, last)[fold]
    before, after = last, first
    offset = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


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
