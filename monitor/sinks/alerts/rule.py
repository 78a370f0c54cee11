"""One alert rule: when it reports what, and what it remembers."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

from monitor.config.alerts import AlertSettings
from monitor.records import (
    EVERY_SOURCE,
    Health,
    Timed,
)
from monitor.sinks.alerts.alert import Alert, AlertKind, alert_id
from monitor.sinks.alerts.body import (
    Incident,
    digest_body,
    health_body,
    occurrence_body,
)
from monitor.sinks.alerts.conditions import (
    MUTE,
    Case,
    Cases,
    Mute,
    Quota,
    find_zone,
    is_quiet,
)
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

    def __init__(self, settings: AlertSettings, mute: Mute | None = None) -> None:
        self.settings = settings
        self.mute = mute
        """None: it is not muted."""

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
        if (
            case is None
            or not self._meets_conditions(incident)
            or self._is_held_back(case, now)
        ):
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
            and not self._is_held_back(case, now)
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
            if not self._is_held_back(case, now):
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
        if self.mute is not None and self.mute.is_over(now):
            name, withheld = self.settings.name, self.mute.withheld
            logger.info("rule %s is not muted any more; %d withheld", name, withheld)
            self.mute = None
        if self.mute is not None or self._is_quiet(now):
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
        if self.mute is not None:
            self.mute.since_ms += step_ms

    def state(self) -> dict[str, Any]:
        """Return what must be remembered over a restart."""
        return {
            **self._occurrences.state(),
            **self._quota.state(),
            "health": self._health.state(),
            "mute": None if self.mute is None else asdict(self.mute),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take over the state of an earlier run."""
        self._occurrences.restore(state)
        self._quota.restore(state)
        if "health" in state:  # unknown to older versions
            self._health.restore(state["health"])
        self.mute = MUTE.validate_python(state.get("mute"))

    def _meets_conditions(self, incident: Incident) -> bool:
        settings, of = self.settings, incident.occurrence
        least = settings.min_level_dbfs
        return (
            of.peak_score >= settings.min_score
            and (least is None or of.level_dbfs >= least)
            and incident.duration_seconds >= settings.min_duration_seconds
        )

    def _is_held_back(self, case: Case, now: datetime) -> bool:
        if self._is_quiet(now):
            return True
        if self.mute is None or self.mute.is_over(now):
            return False
        if not case.reported:
            self.mute.withhold(case)
        return True

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
