"""Telling: the rules, and the threads that carry their alerts."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor.config.config import Config
from monitor.errors import ConfigError
from monitor.model.classifier import Classifier
from monitor.records import Timed
from monitor.runtime.assembly import rules_of
from monitor.runtime.clock import Clock
from monitor.runtime.threads import Threads
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.delivery import (
    build_hooks,
    build_senders,
    find_faults,
    look_for_strays,
)
from monitor.sinks.alerts.hooks.hook import Hook
from monitor.sinks.alerts.rules import Rules
from monitor.sinks.store.database import Database

POLL_SECONDS = 0.02
STOP_SECONDS = 1.0
"""Time in which the senders must have ended, in the middle of a delivery too."""


class OfferingRules:
    """Rules whose alerts are shown to the senders before they are stored."""

    def __init__(self, rules: Rules, offer: Callable[[Sequence[Alert]], None]) -> None:
        self._rules = rules
        self._offer = offer

    def step(self, batch: Sequence[Timed], now: datetime) -> list[Alert]:
        """See `Rules.step`."""
        return self._offered(self._rules.step(batch, now))

    def tick(self, now: datetime) -> list[Alert]:
        """See `Rules.tick`."""
        return self._offered(self._rules.tick(now))

    def state(self) -> dict[str, Any]:
        """See `Rules.state`."""
        return self._rules.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """See `Rules.restore`."""
        self._rules.restore(state)

    def _offered(self, alerts: list[Alert]) -> list[Alert]:
        if alerts:
            self._offer(alerts)
        return alerts


class Telling:
    """Makes alerts on the worker's thread, and delivers them on threads of its own."""

    def __init__(
        self,
        rules: Rules,
        hooks: Mapping[str, Hook],
        database: Database,
        clock: Clock,
    ) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            rules: For the store.
            hooks: By endpoint.
            database: To which the store writes the alerts.
            clock: Of the machine.
        """
        self.rules = OfferingRules(rules, self._offer)
        """Makes the alerts; for the store."""

        self._clock = clock
        self._database = database
        self._senders = build_senders(hooks, database, clock)
        self._threads = Threads()

    @property
    def failure(self) -> Exception | None:
        """What ended a sender, which should not have."""
        return self._threads.failure

    def wake(self) -> None:
        """Let the senders look for what has just been stored.  Worker's thread."""
        for sender in self._senders:
            sender.confirm()

    def _offer(self, alerts: Sequence[Alert]) -> None:
        for sender in self._senders:
            sender.offer(alerts)

    def start(self) -> None:
        """Start a thread for each endpoint; the store has opened the database."""
        look_for_strays(
            [sender.endpoint for sender in self._senders], self._database, self._clock
        )
        for sender in self._senders:
            self._threads.start(f"alerts-{sender.endpoint}", sender.run)

    def finish(self, seconds: float, hurry: Callable[[], bool]) -> list[str]:
        """Deliver what can be delivered soon, then end the threads.

        What is left waits in the database for the next start.

        Args:
            seconds: Longest time for deliveries.
            hurry: Asked now and then: whether there is no time after all.

        Returns:
            The names of threads that still run.
        """
        until = time.monotonic() + seconds
        while not all(sender.is_idle for sender in self._senders):
            if self.failure or hurry() or time.monotonic() >= until:
                break
            time.sleep(POLL_SECONDS)
        self._threads.stop.set()
        for sender in self._senders:
            sender.wake()
        return self._threads.join(STOP_SECONDS)


def build_telling(
    config: Config,
    classifier: Classifier,
    state_dir: Path,
    clock: Clock,
    environ: Mapping[str, str] = os.environ,
) -> Telling | None:
    """Build what the alerts of `config` need; None: it has none.

    Raises:
        ConfigError: A rule cannot work: a sentence in a line for each fault.
    """
    if not config.alerts:
        return None
    if config.store.path is None:
        raise ConfigError("alerts need a database, and store.path is null")
    faults = find_faults(config.alerts, classifier.labels, environ)
    if faults:
        raise ConfigError("\n".join(faults))
    rules = Rules(
        config.alerts,
        classifier.labels,
        {
            label: rule.onset_threshold
            for label, rule in rules_of(config, classifier).items()
        },
        classifier.spec.sample_rate,
    )
    hooks = build_hooks(config.alerts, environ)
    database = Database(state_dir / config.store.path, clock.utc)
    return Telling(rules, hooks, database, clock)
