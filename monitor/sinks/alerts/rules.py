"""The rules: from records to the alerts that they cause.

One rule: of the sounds and troubles that it hears of, which it tells, how often.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from monitor.config.alerts import AlertSettings
from monitor.records import (
    Event,
    Health,
    Ongoing,
    Onset,
    ScoreFrame,
    Timed,
)
from monitor.sinks.alerts.body import (
    Incident,
    digest_body,
    occurrence_body,
    utc_text,
)
from monitor.sinks.alerts.conditions import (
    HealthCases,
    Quota,
    addressed,
    find_zone,
    in_ms,
    is_quiet,
)
from monitor.sinks.alerts.outbox import Alert, AlertKind

logger = logging.getLogger(__name__)


ESCALATION_NUMBER = 0
"""Number of the escalation among the still_on alerts of a sound; repeats follow."""


@dataclass
class Case:
    """What the rule did about one sound."""

    source: str
    label: str
    told: bool = False
    """Somebody knows of it, and is told its end."""

    settled: bool = False
    """Its onset was told, or will never be."""

    escalated: bool = False
    repeats: int = 0


class Rule:
    """Makes the alerts of one rule.  Knows no clock: moments are passed in.

    It may be told of a sound as often as its facts change; a sound is told when all
    conditions hold for the first time, which may be after its onset.
    """

    def __init__(self, settings: AlertSettings) -> None:
        self.settings = settings
        self._zone = find_zone(settings.time_zone)
        self._cases: dict[str, Case] = {}
        self._last_ms: dict[tuple[str, str], int] = {}
        self._quota = Quota(settings.max_per_hour)
        self._health = HealthCases(settings, self._quota)

    def wants(self, incident: Incident) -> bool:
        """Whether the rule is about this label of this source."""
        settings = self.settings
        return (
            not settings.labels or incident.occurrence.label in settings.labels
        ) and (not settings.sources or incident.occurrence.source in settings.sources)

    def begin(self, incident: Incident, now: datetime) -> Iterator[Alert]:
        """Take a sound that has begun."""
        # A source hears a label once at a time: another one was never ended, as after
        # a database that was set aside.
        for key, case in list(self._cases.items()):
            if (case.source, case.label) == (
                incident.occurrence.source,
                incident.occurrence.label,
            ):
                del self._cases[key]
        self._cases[incident.occurrence.id] = Case(
            incident.occurrence.source, incident.occurrence.label
        )
        yield from self.follow(incident, now)

    def follow(self, incident: Incident, now: datetime) -> Iterator[Alert]:
        """Take what is known now of a sound that is going on."""
        case = self._cases.get(incident.occurrence.id)
        if case is None or not self._meets_conditions(incident) or self._is_quiet(now):
            return
        if "onset" in self.settings.on and not case.settled:
            case.settled = True
            if self._may_tell(incident, now):
                yield from self._tell(case, incident, "onset", now)
        if self._is_due_to_escalate(case, incident):
            case.escalated = True
            if self._has_room(incident, now):
                yield from self._tell(case, incident, "still_on", now, escalation=True)
        if case.told and self._repeats(incident) > case.repeats:
            case.repeats = self._repeats(incident)
            if self._has_room(incident, now):
                yield from self._tell(case, incident, "still_on", now)

    def end(self, incident: Incident, now: datetime) -> Iterator[Alert]:
        """Take a sound that is over.  Whoever was told of it is told its end.

        Also in quiet times: a program that has switched something on must hear when to
        switch it off.
        """
        case = self._cases.pop(incident.occurrence.id, None)
        if "end" not in self.settings.on:
            return
        if case is not None and case.told:
            yield from self._alerts("end", incident, 0, now, escalation=False)
            self._last_ms[incident.occurrence.source, incident.occurrence.label] = (
                in_ms(now)
            )
        elif (
            "onset" not in self.settings.on
            and self._meets_conditions(incident)
            and not self._is_quiet(now)
            and self._may_tell(incident, now)
        ):
            case = case or Case(incident.occurrence.source, incident.occurrence.label)
            yield from self._tell(case, incident, "end", now)

    def take_health(self, timed: Timed, now: datetime) -> Iterator[Alert]:
        """Take a trouble that is raised or cleared."""
        return self._health.take(timed, now, is_quiet=self._is_quiet(now))

    def tick(self, now: datetime) -> Iterator[Alert]:
        """Let time pass: tell what was held back, an hour after the first of it.

        And the troubles that could not be told when they were raised.
        """
        if not self._is_quiet(now):
            yield from self._health.tick(now)
            if self._quota.is_due(now):
                held = self._quota.release()
                body = digest_body(self.settings, asdict(held), held.since, self._zone)
                yield from addressed(
                    self.settings, "digest", str(held.since_ms), body, now
                )

    def state(self) -> dict[str, Any]:
        """What must be remembered over a restart."""
        return {
            "cases": {key: asdict(case) for key, case in self._cases.items()},
            "last_ms": [[*key, ms] for key, ms in self._last_ms.items()],
            "health": self._health.state(),
            **self._quota.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Add what `state` of an earlier run returned to what happened since."""
        for key, case in state["cases"].items():
            self._cases.setdefault(key, Case(**case))
        for source, label, ms in state["last_ms"]:
            self._last_ms.setdefault((source, label), ms)
        self._quota.restore(state)
        if "health" in state:  # older versions knew of none
            self._health.restore(state["health"])

    def _meets_conditions(self, incident: Incident) -> bool:
        settings = self.settings
        return (
            incident.occurrence.peak_score >= settings.min_score
            and (
                settings.min_level_dbfs is None
                or incident.occurrence.level_dbfs >= settings.min_level_dbfs
            )
            and incident.duration_seconds >= settings.min_duration_seconds
        )

    def _is_quiet(self, now: datetime) -> bool:
        return is_quiet(self.settings.quiet, self._zone, now)

    def _is_due_to_escalate(self, case: Case, incident: Incident) -> bool:
        after = self.settings.escalate_after_seconds
        return (
            after is not None
            and not case.escalated
            and incident.duration_seconds >= after
        )

    def _repeats(self, incident: Incident) -> int:
        every = self.settings.still_on_seconds
        return 0 if every is None else int(incident.duration_seconds // every)

    def _may_tell(self, incident: Incident, now: datetime) -> bool:
        last = self._last_ms.get(
            (incident.occurrence.source, incident.occurrence.label)
        )
        cooldown_ms = self.settings.cooldown_seconds * 1000
        if last is not None and 0 <= in_ms(now) - last < cooldown_ms:
            return False
        return self._has_room(incident, now)

    def _has_room(self, incident: Incident, now: datetime) -> bool:
        """Whether one more alert fits into the hour; else it is held back."""
        example = {
            "event_id": incident.occurrence.id,
            "start": utc_text(incident.start_utc),
            "peak_score": round(incident.occurrence.peak_score, 4),
        }
        return self._quota.has_room(
            incident.occurrence.source, incident.occurrence.label, example, now
        )

    def _tell(
        self,
        case: Case,
        incident: Incident,
        kind: AlertKind,
        now: datetime,
        *,
        escalation: bool = False,
    ) -> Iterator[Alert]:
        case.told = True
        # What has just been told is repeated at the next multiple, not at once.
        case.repeats = self._repeats(incident)
        self._last_ms[incident.occurrence.source, incident.occurrence.label] = in_ms(
            now
        )
        number = ESCALATION_NUMBER
        if kind == "still_on" and not escalation:
            number = case.repeats
        yield from self._alerts(kind, incident, number, now, escalation=escalation)

    def _alerts(
        self,
        kind: AlertKind,
        incident: Incident,
        number: int,
        now: datetime,
        *,
        escalation: bool,
    ) -> Iterator[Alert]:
        body = occurrence_body(self.settings, kind, incident, escalation=escalation)
        yield from addressed(
            self.settings,
            kind,
            incident.occurrence.id,
            body,
            now,
            number=number,
            event_id=incident.occurrence.id,
        )


STATE_VERSION = 1


class Rules:
    """All rules together.  Used by one thread; knows no clock and no endpoint."""

    def __init__(
        self,
        settings: Sequence[AlertSettings],
        thresholds: Mapping[str, float],
        sample_rate: int,
    ) -> None:
        """Begin with nothing remembered.

        Args:
            settings: The rules.
            thresholds: Onset threshold of each label; a window at or above it is a hit.
            sample_rate: Of the positions in records.
        """
        self._rules = {each.name: Rule(each) for each in settings}
        self._thresholds = thresholds
        self._sample_rate = sample_rate
        self._ongoing: dict[str, tuple[Ongoing, ...]] = {}
        self._started: dict[str, datetime | None] = {}

    def keep(self, names: Collection[str]) -> None:
        """Forget all rules but those of `names`: they tell nothing more."""
        self._rules = {n: rule for n, rule in self._rules.items() if n in names}

    def change(
        self,
        settings: Sequence[AlertSettings],
        thresholds: Mapping[str, float],
        sample_rate: int,
    ) -> None:
        """Go on with other rules, or for another model; the arguments are as above.

        A rule whose name stays remembers what it told; a new one hears of sounds that
        begin from now on.
        """
        remembered = self.state()
        self._rules = {each.name: Rule(each) for each in settings}
        self.restore(remembered)
        self._thresholds = thresholds
        self._sample_rate = sample_rate

    def step(self, batch: Sequence[Timed], now: datetime) -> list[Alert]:
        """Take records; return the alerts that follow, in the order to tell them."""
        return [alert for timed in batch for alert in self._alerts(timed, now)]

    def tick(self, now: datetime) -> list[Alert]:
        """Let time pass; return the alerts that follow."""
        return [alert for rule in self._rules.values() for alert in rule.tick(now)]

    def state(self) -> dict[str, Any]:
        """What must be remembered over a restart; changes only when something was told.

        JSON-able, and of bounded size.
        """
        rules = {name: rule.state() for name, rule in self._rules.items()}
        return {"version": STATE_VERSION, "rules": rules}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Add what `state` of an earlier run returned; rules that are gone are left."""
        if state.get("version") != STATE_VERSION:
            logger.warning("what the rules remembered is of another version: forgotten")
            return
        for name, remembered in state["rules"].items():
            if name in self._rules:
                self._rules[name].restore(remembered)

    def _alerts(self, timed: Timed, now: datetime) -> Iterator[Alert]:
        match timed.record:
            case ScoreFrame() as frame:
                self._ongoing[frame.source] = frame.ongoing
                for known in frame.ongoing:
                    if known.id in self._started:
                        incident = self._going_on(known, self._started[known.id])
                        yield from self._each(Rule.follow, incident, now)
            case Onset() as onset:
                self._started[onset.id] = timed.start_utc
                incident = self._going_on(self._newest(onset) or onset, timed.start_utc)
                yield from self._each(Rule.begin, incident, now)
            case Event() as event:
                self._started.pop(event.id, None)
                yield from self._each(Rule.end, self._ended(timed, event), now)
            case Health():
                for rule in self._rules.values():
                    yield from rule.take_health(timed, now)

    def _newest(self, of: Onset | Event) -> Ongoing | None:
        """The occurrence in the newest frame; None: it began before a crash."""
        ongoing = self._ongoing.get(of.source, ())
        return next((known for known in ongoing if known.id == of.id), None)

    def _going_on(self, known: Onset | Ongoing, start_utc: datetime | None) -> Incident:
        return Incident(
            known,
            start_utc,
            max(0, known.stop - known.start) / self._sample_rate,
            self._thresholds.get(known.label),
            known.hits if isinstance(known, Ongoing) else None,
            known.windows if isinstance(known, Ongoing) else None,
        )

    def _ended(self, timed: Timed, event: Event) -> Incident:
        known = self._newest(event)
        return Incident(
            event,
            timed.start_utc,
            timed.end_seconds - timed.start_seconds,
            self._thresholds.get(event.label),
            None if known is None else known.hits,
            None if known is None else known.windows,
            timed.end_utc,
        )

    def _each(
        self,
        take: Callable[[Rule, Incident, datetime], Iterator[Alert]],
        incident: Incident,
        now: datetime,
    ) -> Iterator[Alert]:
        for rule in self._rules.values():
            if rule.wants(incident):
                yield from take(rule, incident, now)
