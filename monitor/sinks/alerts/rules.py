"""The rules: from records to the alerts that they cause.

One rule: of the sounds and troubles that it hears of, which it tells, how often.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from monitor.config.alerts import AlertSettings
from monitor.records import Event, Health, Onset, ScoreFrame, Timed
from monitor.sinks.alerts.body import digest_body, sound_body, utc_text
from monitor.sinks.alerts.conditions import (
    HealthCases,
    Quota,
    addressed,
    find_zone,
    in_ms,
    is_quiet,
)
from monitor.sinks.alerts.ongoing import Sound, Sounds
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

    def wants(self, sound: Sound) -> bool:
        """Whether the rule is about this label of this source."""
        settings = self.settings
        return (not settings.labels or sound.label in settings.labels) and (
            not settings.sources or sound.source in settings.sources
        )

    def begin(self, sound: Sound, now: datetime) -> Iterator[Alert]:
        """Take a sound that has begun."""
        # A source hears a label once at a time: another one was never ended, as after
        # a database that was set aside.
        for key, case in list(self._cases.items()):
            if (case.source, case.label) == (sound.source, sound.label):
                del self._cases[key]
        self._cases[sound.id] = Case(sound.source, sound.label)
        yield from self.follow(sound, now)

    def follow(self, sound: Sound, now: datetime) -> Iterator[Alert]:
        """Take what is known now of a sound that is going on."""
        case = self._cases.get(sound.id)
        if case is None or not self._meets_conditions(sound) or self._is_quiet(now):
            return
        if "onset" in self.settings.on and not case.settled:
            case.settled = True
            if self._may_tell(sound, now):
                yield from self._tell(case, sound, "onset", now)
        if self._is_due_to_escalate(case, sound):
            case.escalated = True
            if self._has_room(sound, now):
                yield from self._tell(case, sound, "still_on", now, escalation=True)
        if case.told and self._repeats(sound) > case.repeats:
            case.repeats = self._repeats(sound)
            if self._has_room(sound, now):
                yield from self._tell(case, sound, "still_on", now)

    def end(self, sound: Sound, now: datetime) -> Iterator[Alert]:
        """Take a sound that is over.  Whoever was told of it is told its end.

        Also in quiet times: a program that has switched something on must hear when to
        switch it off.
        """
        case = self._cases.pop(sound.id, None)
        if "end" not in self.settings.on:
            return
        if case is not None and case.told:
            yield from self._alerts("end", sound, 0, now, escalation=False)
            self._last_ms[sound.source, sound.label] = in_ms(now)
        elif (
            "onset" not in self.settings.on
            and self._meets_conditions(sound)
            and not self._is_quiet(now)
            and self._may_tell(sound, now)
        ):
            case = case or Case(sound.source, sound.label)
            yield from self._tell(case, sound, "end", now)

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

    def _meets_conditions(self, sound: Sound) -> bool:
        settings = self.settings
        return (
            sound.peak_score >= settings.min_score
            and (
                settings.min_level_dbfs is None
                or sound.level_dbfs >= settings.min_level_dbfs
            )
            and sound.duration_seconds >= settings.min_duration_seconds
        )

    def _is_quiet(self, now: datetime) -> bool:
        return is_quiet(self.settings.quiet, self._zone, now)

    def _is_due_to_escalate(self, case: Case, sound: Sound) -> bool:
        after = self.settings.escalate_after_seconds
        return (
            after is not None and not case.escalated and sound.duration_seconds >= after
        )

    def _repeats(self, sound: Sound) -> int:
        every = self.settings.still_on_seconds
        return 0 if every is None else int(sound.duration_seconds // every)

    def _may_tell(self, sound: Sound, now: datetime) -> bool:
        last = self._last_ms.get((sound.source, sound.label))
        cooldown_ms = self.settings.cooldown_seconds * 1000
        if last is not None and 0 <= in_ms(now) - last < cooldown_ms:
            return False
        return self._has_room(sound, now)

    def _has_room(self, sound: Sound, now: datetime) -> bool:
        """Whether one more alert fits into the hour; else it is held back."""
        example = {
            "event_id": sound.id,
            "start": utc_text(sound.start_utc),
            "peak_score": round(sound.peak_score, 4),
        }
        return self._quota.has_room(sound.source, sound.label, example, now)

    def _tell(
        self,
        case: Case,
        sound: Sound,
        kind: AlertKind,
        now: datetime,
        *,
        escalation: bool = False,
    ) -> Iterator[Alert]:
        case.told = True
        # What has just been told is repeated at the next multiple, not at once.
        case.repeats = self._repeats(sound)
        self._last_ms[sound.source, sound.label] = in_ms(now)
        number = ESCALATION_NUMBER
        if kind == "still_on" and not escalation:
            number = case.repeats
        yield from self._alerts(kind, sound, number, now, escalation=escalation)

    def _alerts(
        self,
        kind: AlertKind,
        sound: Sound,
        number: int,
        now: datetime,
        *,
        escalation: bool,
    ) -> Iterator[Alert]:
        body = sound_body(self.settings, kind, sound, escalation=escalation)
        yield from addressed(
            self.settings,
            kind,
            sound.id,
            body,
            now,
            number=number,
            event_id=sound.id,
        )


STATE_VERSION = 1


class Rules:
    """All rules together.  Used by one thread; knows no clock and no endpoint."""

    def __init__(
        self,
        settings: Sequence[AlertSettings],
        labels: Sequence[str],
        thresholds: Mapping[str, float],
        sample_rate: int,
    ) -> None:
        """Begin with nothing remembered.

        Args:
            settings: The rules.
            labels: Of the model: what the scores of frames stand for.
            thresholds: Onset threshold of each label; a window at or above it is a hit.
            sample_rate: Of the positions in records.
        """
        self._rules = {each.name: Rule(each) for each in settings}
        self._sounds = Sounds(labels, thresholds, sample_rate)

    def keep(self, names: Collection[str]) -> None:
        """Forget all rules but those of `names`: they tell nothing more."""
        self._rules = {n: rule for n, rule in self._rules.items() if n in names}

    def change(
        self,
        settings: Sequence[AlertSettings],
        labels: Sequence[str],
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
        self._sounds.change(labels, thresholds, sample_rate)

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
                for sound in self._sounds.hear(frame):
                    yield from self._each(Rule.follow, sound, now)
            case Onset() as onset:
                sound = self._sounds.begin(timed, onset)
                yield from self._each(Rule.begin, sound, now)
            case Event() as event:
                sound = self._sounds.end(timed, event)
                yield from self._each(Rule.end, sound, now)
            case Health():
                for rule in self._rules.values():
                    yield from rule.take_health(timed, now)

    def _each(
        self,
        take: Callable[[Rule, Sound, datetime], Iterator[Alert]],
        sound: Sound,
        now: datetime,
    ) -> Iterator[Alert]:
        for rule in self._rules.values():
            if rule.wants(sound):
                yield from take(rule, sound, now)
