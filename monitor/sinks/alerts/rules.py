"""The alert rules: turn records into alerts."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from monitor.config.alerts import AlertSettings
from monitor.records import (
    EVERY_SOURCE,
    Event,
    Health,
    Ongoing,
    Onset,
    ScoreFrame,
    Timed,
)
from monitor.sinks.alerts.alert import Alert, AlertKind, alert_id
from monitor.sinks.alerts.body import (
    Incident,
    digest_body,
    health_body,
    occurrence_body,
)
from monitor.sinks.alerts.conditions import Case, Cases, Quota, find_zone, is_quiet
from monitor.text import utc_text

logger = logging.getLogger(__name__)

ESCALATION_NUMBER = 0
"""Number of the escalation among an occurrence's still_on alerts; repeats follow."""


class Rule:
    """Makes the alerts of one rule.  Has no clock: moments are passed in.

    An occurrence is passed in again whenever its facts change.  Its first alert is made
    when all conditions hold for the first time, which may be after its onset.  Health
    problems follow the same course, but wait for the end of a cooldown.
    """

    def __init__(self, settings: AlertSettings) -> None:
        self.settings = settings
        self._zone = find_zone(settings.time_zone)
        self._occurrences = Cases(settings.cooldown_seconds)
        self._health = Cases(settings.cooldown_seconds)
        self._quota = Quota(settings.max_per_hour)

    def wants(self, incident: Incident) -> bool:
        """Test whether the rule is about this label of this source."""
        settings, of = self.settings, incident.occurrence
        return (not settings.labels or of.label in settings.labels) and (
            not settings.sources or of.source in settings.sources
        )

    def begin(self, incident: Incident, now: datetime) -> Iterator[Alert]:
        """Take an occurrence that has begun."""
        of, going_on = incident.occurrence, self._occurrences.going_on
        # A label goes on once in a source: another case was never ended, as after a
        # database that was set aside.
        for key, case in list(going_on.items()):
            if (case.source, case.label) == (of.source, of.label):
                del going_on[key]
        going_on[of.id] = Case(of.source, of.label, incident.start)
        yield from self.follow(incident, now)

    def follow(self, incident: Incident, now: datetime) -> Iterator[Alert]:
        """Take the present facts of an occurrence that goes on."""
        case = self._occurrences.going_on.get(incident.occurrence.id)
        if case is None or not self._meets_conditions(incident) or self._is_quiet(now):
            return
        incident = replace(incident, start=case.start)
        if "onset" in self.settings.on and not case.settled:
            case.settled = True
            if self._may_report(case, incident, now):
                yield from self._report(case, incident, "onset", now)
        if self._is_due_to_escalate(case, incident):
            case.escalated = True
            if self._has_room(case, incident, now):
                yield from self._report(
                    case, incident, "still_on", now, escalation=True
                )
        if case.reported and self._repeats(incident) > case.repeats:
            case.repeats = self._repeats(incident)
            if self._has_room(case, incident, now):
                yield from self._report(case, incident, "still_on", now)

    def end(self, incident: Incident, now: datetime) -> Iterator[Alert]:
        """Take an occurrence that is over.  One that was reported gets its end alert.

        Also in quiet times: a program that has switched something on must learn when to
        switch it off.
        """
        of = incident.occurrence
        case = self._occurrences.going_on.pop(of.id, Case(of.source, of.label))
        if "end" not in self.settings.on:
            return
        if case.reported or (
            "onset" not in self.settings.on
            and self._meets_conditions(incident)
            and not self._is_quiet(now)
            and self._may_report(case, incident, now)
        ):
            yield from self._report(case, incident, "end", now)

    def take_health(
        self, health: Health, timed: Timed, now: datetime
    ) -> Iterator[Alert]:
        """Take a health problem that is raised or cleared.

        One that goes on when a quiet time or a cooldown ends is reported then.
        """
        if not self._wants_health(health):
            return
        if health.state == "raised":
            start = utc_text(timed.start_utc)
            case = Case(health.source, health.kind, start, health.detail)
            self._health.going_on[health.id] = case
            if not self._is_quiet(now):
                yield from self._report_health(health.id, case, now)
            return
        before = self._health.going_on.pop(health.id, None)
        if before is not None and before.reported:
            self._health.note_report(before, now)
            body = health_body(
                self.settings,
                before,
                "cleared",
                detail=health.detail,
                end=utc_text(timed.end_utc),
                seconds=timed.end_seconds - timed.start_seconds,
            )
            yield from self._alerts("health", health.id, body, now, number=1)

    def tick(self, now: datetime) -> Iterator[Alert]:
        """Let time pass: report what was held back or could not be reported before.

        Reports over the quota come in one digest, an hour after the first of them.
        """
        if self._is_quiet(now):
            return
        for key, case in self._health.going_on.items():
            yield from self._report_health(key, case, now)
        held = self._quota.take_due(now)
        if held is not None:
            body = digest_body(self.settings, asdict(held), held.since, self._zone)
            yield from self._alerts("digest", str(held.since_ms), body, now)

    def shift(self, step_ms: int) -> None:
        """Have cooldown and quota last as long as if the clock had not been set."""
        for each in (self._occurrences, self._health, self._quota):
            each.shift(step_ms)

    def state(self) -> dict[str, Any]:
        """Return what must be remembered over a restart."""
        return {
            **self._occurrences.state(),
            **self._quota.state(),
            "health": self._health.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the state of an earlier run."""
        self._occurrences.restore(state)
        self._quota.restore(state)
        if "health" in state:  # unknown to older versions
            self._health.restore(state["health"])

    def _meets_conditions(self, incident: Incident) -> bool:
        settings, of = self.settings, incident.occurrence
        least = settings.min_level_dbfs
        return (
            of.peak_score >= settings.min_score
            and (least is None or of.level_dbfs >= least)
            and incident.duration_seconds >= settings.min_duration_seconds
        )

    def _is_quiet(self, now: datetime) -> bool:
        return is_quiet(self.settings.quiet, self._zone, now)

    def _is_due_to_escalate(self, case: Case, incident: Incident) -> bool:
        after = self.settings.escalate_after_seconds
        is_due = after is not None and incident.duration_seconds >= after
        return is_due and not case.escalated

    def _repeats(self, incident: Incident) -> int:
        every = self.settings.still_on_seconds
        return 0 if every is None else int(incident.duration_seconds // every)

    def _may_report(self, case: Case, incident: Incident, now: datetime) -> bool:
        is_cooling_down = self._occurrences.is_cooling_down(case, now)
        return not is_cooling_down and self._has_room(case, incident, now)

    def _has_room(self, case: Case, incident: Incident, now: datetime) -> bool:
        """Take room for one more alert in the hour; without any, hold it back."""
        example = {
            "event_id": incident.occurrence.id,
            "start": incident.start,
            "peak_score": round(incident.occurrence.peak_score, 4),
        }
        return self._quota.has_room(case, example, now)

    def _report(
        self,
        case: Case,
        incident: Incident,
        kind: AlertKind,
        now: datetime,
        *,
        escalation: bool = False,
    ) -> Iterator[Alert]:
        self._occurrences.note_report(case, now)
        # The next repeat is due at the next multiple, not at once.
        case.repeats = self._repeats(incident)
        is_repeat = kind == "still_on" and not escalation
        body = occurrence_body(self.settings, kind, incident, escalation=escalation)
        key = incident.occurrence.id
        number = case.repeats if is_repeat else ESCALATION_NUMBER
        yield from self._alerts(kind, key, body, now, number=number, event_id=key)

    def _wants_health(self, health: Health) -> bool:
        settings = self.settings
        return (
            "health" in settings.on
            and (not settings.kinds or health.kind in settings.kinds)
            and (
                not settings.sources
                or health.source in (EVERY_SOURCE, *settings.sources)
            )
        )

    def _report_health(self, key: str, case: Case, now: datetime) -> Iterator[Alert]:
        if case.settled or self._health.is_cooling_down(case, now):
            return
        case.settled = True
        example = {"start": case.start, "detail": case.detail}
        if self._quota.has_room(case, example, now):
            self._health.note_report(case, now)
            body = health_body(self.settings, case, "raised", detail=case.detail)
            yield from self._alerts("health", key, body, now)

    def _alerts(
        self,
        kind: AlertKind,
        subject: str,
        body: Mapping[str, Any],
        now: datetime,
        *,
        number: int = 0,
        event_id: str | None = None,
    ) -> Iterator[Alert]:
        """Make an alert for each endpoint; `subject` and `number`: see `alert_id`."""
        deadline = now + timedelta(seconds=self.settings.deadline_seconds)
        for endpoint in self.settings.endpoints:
            key = alert_id(endpoint, kind, subject, number)
            facts = {"id": key, "created": utc_text(now), **body}
            name = self.settings.name
            yield Alert(key, name, endpoint, kind, event_id, facts, now, deadline)


STATE_VERSION = 2
READABLE_VERSIONS = (1, 2)


class Rules:
    """All rules together.  Used by one thread; has no clock and reaches no endpoint."""

    def __init__(
        self,
        settings: Sequence[AlertSettings],
        thresholds: Mapping[str, float],
        sample_rate: int,
    ) -> None:
        """Begin without any state; a window at or above its threshold is a hit."""
        self._rules = {each.name: Rule(each) for each in settings}
        self._thresholds = thresholds
        self._sample_rate = sample_rate
        self._ongoing: dict[str, tuple[Ongoing, ...]] = {}

    def step(self, batch: Sequence[Timed], now: datetime) -> list[Alert]:
        """Take records; return the alerts that follow, in the order to send them."""
        return [alert for timed in batch for alert in self._alerts(timed, now)]

    def tick(self, now: datetime) -> list[Alert]:
        """Let time pass; return the alerts that follow."""
        return [alert for rule in self._rules.values() for alert in rule.tick(now)]

    def shift(self, step: timedelta) -> None:
        """Note that the wall clock, whose times are passed in, was set by `step`."""
        for rule in self._rules.values():
            rule.shift(round(step / timedelta(milliseconds=1)))

    def state(self) -> dict[str, Any]:
        """Return what must be remembered over a restart, JSON-able, of bounded size.

        It changes only when something begins, ends or is reported.
        """
        rules = {name: rule.state() for name, rule in self._rules.items()}
        return {"version": STATE_VERSION, "rules": rules}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the state of an earlier run, but for rules that are gone.

        A rule whose state is damaged begins anew.
        """
        if state.get("version") not in READABLE_VERSIONS:
            logger.warning("the alert rules' state is of another version: ignored")
            return
        remembered: Any = state.get("rules")
        for name, rule in self._rules.items():
            if isinstance(remembered, dict) and name not in remembered:
                continue
            try:
                rule.restore(remembered[name])
            except (AttributeError, LookupError, TypeError, ValueError):
                logger.error(
                    "the stored state of the alert rule %s is damaged: it begins anew",
                    name,
                )
                self._rules[name] = Rule(rule.settings)

    def forget(self) -> None:
        """Begin anew: the user deleted what was before."""
        self._rules = {name: Rule(rule.settings) for name, rule in self._rules.items()}

    def _alerts(self, timed: Timed, now: datetime) -> Iterator[Alert]:
        match timed.record:
            case ScoreFrame() as frame:
                self._ongoing[frame.source] = frame.ongoing
                for known in frame.ongoing:
                    incident = self._going_on(known, None)
                    yield from self._each(Rule.follow, incident, now)
            case Onset() as onset:
                start = utc_text(timed.start_utc)
                incident = self._going_on(self._newest(onset) or onset, start)
                yield from self._each(Rule.begin, incident, now)
            case Event() as event:
                yield from self._each(Rule.end, self._ended(timed, event), now)
            case Health() as health:
                for rule in self._rules.values():
                    yield from rule.take_health(health, timed, now)

    def _newest(self, of: Onset | Event) -> Ongoing | None:
        """The occurrence in the newest frame; None: it began before a crash."""
        ongoing = self._ongoing.get(of.source, ())
        return next((known for known in ongoing if known.id == of.id), None)

    def _going_on(self, known: Onset | Ongoing, start: str | None) -> Incident:
        return Incident(
            known,
            start,
            max(0, known.stop - known.start) / self._sample_rate,
            self._thresholds.get(known.label),
            known.hits if isinstance(known, Ongoing) else None,
            known.windows if isinstance(known, Ongoing) else None,
        )

    def _ended(self, timed: Timed, event: Event) -> Incident:
        known = self._newest(event)
        return Incident(
            event,
            utc_text(timed.start_utc),
            timed.end_seconds - timed.start_seconds,
            self._thresholds.get(event.label),
            None if known is None else known.hits,
            None if known is None else known.windows,
            utc_text(timed.end_utc),
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
