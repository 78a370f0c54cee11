"""The rules: from records to the alerts that they cause."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from monitor.config.alerts import AlertSettings
from monitor.records import Event, Health, Onset, ScoreFrame, Timed
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.rule import Rule
from monitor.sinks.alerts.sounds import Sound, Sounds

logger = logging.getLogger(__name__)

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
