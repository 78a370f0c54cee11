"""Telling: the rules, and the threads that carry their alerts."""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitor.clock import Clock
from monitor.config.alerts import AlertSettings
from monitor.config.config import Config
from monitor.errors import ConfigError
from monitor.model.classifier import Classifier
from monitor.records import Timed
from monitor.runtime.assembly import rules_of
from monitor.runtime.threads import Running, Threads, join
from monitor.sinks.alerts.build import (
    build_hooks,
    build_senders,
    close_hooks,
    find_faults,
    warn_of_orphans,
)
from monitor.sinks.alerts.hooks.hook import Hook
from monitor.sinks.alerts.outbox import Alert
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


@dataclass(frozen=True, slots=True)
class Orders:
    """What is told to whom: checked, and not begun."""

    rules: Sequence[AlertSettings]
    labels: Sequence[str]
    """Of the model."""

    thresholds: Mapping[str, float]
    """Onset threshold of each label."""

    sample_rate: int
    """Of the model."""

    hooks: Mapping[str, Hook]
    """By endpoint."""

    def close(self) -> None:
        """Give back the hooks: they are not used."""
        close_hooks(self.hooks)


class Alerting:
    """Makes alerts on the worker's thread, and delivers them on threads of its own."""

    def __init__(self, orders: Orders, database: Database, clock: Clock) -> None:
        """Prepare; nothing runs before `start`.

        Args:
            orders: To whom what is told.
            database: To which the store writes the alerts.
            clock: Of the machine.
        """
        self._rules = Rules(orders.rules, orders.thresholds, orders.sample_rate)
        self.rules = OfferingRules(self._rules, self._offer)
        """Makes the alerts; for the store."""

        self._clock = clock
        self._database = database
        # Replaced as a whole: several threads look at it.
        self._senders = build_senders(orders.hooks, database, clock)
        self._threads = Threads()
        self._running: dict[str, Running] = {}

    @property
    def failure(self) -> Exception | None:
        """What ended a sender, which should not have."""
        return self._threads.failure

    def wake(self) -> None:
        """Let the senders look for what has just been stored.  Worker's thread."""
        for sender in self._senders.values():
            sender.confirm()

    def _offer(self, alerts: Sequence[Alert]) -> None:
        for sender in self._senders.values():
            sender.offer(alerts)

    def start(self) -> None:
        """Start a thread for each endpoint that has none; the store has opened first.

        Not on the worker's thread: it looks at the database.
        """
        warn_of_orphans(list(self._senders), self._database, self._clock)
        for endpoint, sender in self._senders.items():
            if endpoint not in self._running:
                self._running[endpoint] = self._threads.start(
                    f"alerts-{endpoint}", sender.run
                )

    def let_go(self, orders: Orders) -> None:
        """End the senders of endpoints that `orders` has no more.

        What waits for them stays in the database.  Not on the worker's thread: it
        waits for a delivery to be broken off.
        """
        gone = self._running.keys() - orders.hooks.keys()
        running = [self._running.pop(endpoint) for endpoint in gone]
        for each in running:
            each.stop.set()
        for endpoint in gone:
            self._senders[endpoint].wake()
        # A delivery that hangs is left behind: it ends with the process.
        join(running, STOP_SECONDS)

    def keep(self, orders: Orders) -> None:
        """Make no more alerts of rules that `orders` has no more.  Worker's thread."""
        self._rules.keep([rule.name for rule in orders.rules])

    def change(self, orders: Orders) -> None:
        """Go on with other orders, after `let_go`; then `start`.  Worker's thread.

        Rules and endpoints whose name stays go on where they are.
        """
        self._rules.change(orders.rules, orders.thresholds, orders.sample_rate)
        new = {
            endpoint: hook
            for endpoint, hook in orders.hooks.items()
            if endpoint not in self._senders
        }
        senders = build_senders(new, self._database, self._clock)
        for endpoint in orders.hooks.keys() - new.keys():
            senders[endpoint] = self._senders[endpoint]
            senders[endpoint].change(orders.hooks[endpoint])
        self._senders = senders

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
        while not all(sender.is_idle for sender in self._senders.values()):
            if self.failure or hurry() or time.monotonic() >= until:
                break
            time.sleep(POLL_SECONDS)
        self._threads.stop.set()
        for sender in self._senders.values():
            sender.wake()
        return self._threads.join(STOP_SECONDS)


def build_orders(
    config: Config, classifier: Classifier, environ: Mapping[str, str] = os.environ
) -> Orders:
    """Check what the alerts of `config` need, and read their secrets.

    Raises:
        ConfigError: A rule cannot work: a sentence in a line for each fault.
    """
    if config.alerts and config.store.path is None:
        raise ConfigError("alerts need a database, and store.path is null")
    faults = find_faults(config.alerts, classifier.labels, environ)
    if faults:
        raise ConfigError("\n".join(faults))
    rules = rules_of(config, classifier)
    return Orders(
        config.alerts,
        classifier.labels,
        {label: rule.onset_threshold for label, rule in rules.items()},
        classifier.spec.sample_rate,
        build_hooks(config.alerts, environ),
    )
