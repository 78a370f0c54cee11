"""The alert rules: turn records into alerts."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from monitor.config.alerts import AlertSettings
from monitor.records import Event, Health, Ongoing, Onset, ScoreFrame, Timed
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.body import Incident
from monitor.sinks.alerts.conditions import Mute
from monitor.sinks.alerts.rule import Rule
from monitor.sinks.store.records import to_ms
from monitor.text import utc_text

logger = logging.getLogger(__name__)

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
        """Begin anew, but for mutes: the user deleted what was before."""
        self._rules = {
            name: Rule(rule.settings, rule.mute) for name, rule in self._rules.items()
        }

    def mute(self, name: str, seconds: float, now: datetime) -> None:
        """Have a rule report nothing that begins in the next seconds; 0: unmute it.

        It is as a quiet time: what was reported before gets its end, and what still
        goes on afterwards is reported then.
        """
        mute = Mute(to_ms(now), seconds) if seconds else None
        self._rules[name].mute = mute

    def mutes(self) -> dict[str, Mute]:
        """Return the mutes by the name of their rule."""
        return {name: it.mute for name, it in self._rules.items() if it.mute}

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
