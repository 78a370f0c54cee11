"""Alerting: the rules, and a sender on a thread of its own for each endpoint."""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from monitor.clock import Clock, both_clocks
from monitor.config.config import Config
from monitor.detection.rules import LabelRule
from monitor.errors import ConfigError
from monitor.model.catalogue import LabelChoice
from monitor.records import Timed
from monitor.runtime.loading import with_labels
from monitor.runtime.threads import RunningThread, Threads
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.build import (
    build_hooks,
    check_rules,
    close_hooks,
    warn_of_orphans,
)
from monitor.sinks.alerts.hooks import Hook, KeptClips
from monitor.sinks.alerts.outbox import Outbox
from monitor.sinks.alerts.rules import Rules
from monitor.sinks.alerts.secrets import digest_of_contents
from monitor.sinks.alerts.sender import Sender
from monitor.sinks.status_client import Document
from monitor.sinks.store.database import Database
from monitor.spec import ModelSpec
from monitor.text import utc_text

POLL_SECONDS = 0.02
SMALLEST_STEP = timedelta(milliseconds=100)
"""A smaller one is a delay between looks at the two clocks, or the clock is slewed."""

STOP_SECONDS = 1.0
"""Longest time for the senders to end, even in the middle of a delivery."""


class Alerting:
    """Makes alerts on the thread of the store, and delivers them on its own threads.

    The store uses it as its rules: the senders see each alert before it is stored, so
    that they can deliver it while the disk is full.
    """

    def __init__(
        self,
        rules: Rules,
        hooks: Mapping[str, Hook],
        database: Database,
        clock: Clock,
        built_from: Mapping[str, object] | None = None,
    ) -> None:
        """Prepare; nothing runs before `start`.  The senders close their hooks.

        `built_from` has the settings and the secrets of each endpoint, to compare.
        """
        self._built_from = built_from or {}
        self._rules = rules
        self._hooks = hooks
        self._database = database
        self._clock = clock
        self._clock_zero = self._find_clock_zero()
        self._senders = {
            endpoint: Sender(endpoint, hook, Outbox(database), clock)
            for endpoint, hook in hooks.items()
        }
        self._running: dict[str, RunningThread] = {}
        self.mutes: Sequence[Document] = ()
        """The mutes, for the status document; replaced as a whole.  Any thread."""

    # The thread that calls the store: the files thread.

    def step(self, batch: Sequence[Timed], now: datetime) -> list[Alert]:
        """Return the alerts that follow from `batch`; the senders see them at once."""
        self._follow_clock()
        return self._offered(self._rules.step(batch, now))

    def tick(self, now: datetime) -> list[Alert]:
        """Return the alerts that follow from time passing; the senders see them."""
        self._follow_clock()
        alerts = self._rules.tick(now)
        self._note_mutes()
        return self._offered(alerts)

    def state(self) -> dict[str, Any]:
        """Return the state of the rules."""
        return self._rules.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restore the state of the rules."""
        self._rules.restore(state)
        self._note_mutes()

    def forget(self) -> None:
        """Have the rules begin anew: the user deleted what was before."""
        self._rules.forget()

    def mute(self, rule: str, seconds: float) -> None:
        """Mute a rule for so long, or unmute it with 0; see `Rules.mute`."""
        self._follow_clock()
        self._rules.mute(rule, seconds, self._clock.utc())
        self._note_mutes()

    def take_damage(self) -> Exception | None:
        """Return, once, the damage of the database that a sender ran into."""
        return self._database.take_reported()

    def confirm(self) -> None:
        """Have the senders look for the alerts that have just been stored."""
        for sender in self._senders.values():
            sender.confirm()

    def _note_mutes(self) -> None:
        self.mutes = tuple(
            {"rule": rule, "until": utc_text(mute.until), "withheld": mute.withheld}
            for rule, mute in self._rules.mutes().items()
        )

    # Any other thread.

    def try_now(self, alert_id: str) -> None:
        """Have the endpoint of an alert tried now, if the alert is pending."""
        for sender in self._senders.values():
            sender.try_now(alert_id)

    def start(self, threads: Threads, before: "Alerting | None" = None) -> None:
        """Start a thread for each endpoint; the store has opened the database.

        Args:
            threads: Threads of all senders.
            before: The alerting in use until now.  Its senders end with the delivery
                at hand, and then those of the same endpoints begin: no alert is sent
                twice because of the change, and the order remains.  The pauses of an
                endpoint whose settings are the same go on.
        """
        running = {} if before is None else before._running
        for sender in () if before is None else before._senders.values():
            sender.retire()
        warn_of_orphans(list(self._senders), self._database)
        for endpoint, sender in self._senders.items():
            own = self._built_from.get(endpoint)
            former = None
            if before is not None and before._built_from.get(endpoint) == own:
                former = before._senders.get(endpoint)
            run = partial(_run_after, running.get(endpoint), former, sender)
            self._running[endpoint] = threads.start(f"alerts-{endpoint}", run)

    def close(self) -> None:
        """Close the hooks of an alerting that was never started."""
        close_hooks(self._hooks)

    def finish(
        self, threads: Threads, seconds: float, hurry: Callable[[], bool]
    ) -> list[str]:
        """Deliver the alerts that are due, up to `seconds`; end the threads.

        It ends early once `hurry` returns True.  Pending alerts stay in the database.

        Returns:
            The names of threads that still run.
        """
        until = time.monotonic() + seconds
        while not all(sender.is_idle for sender in self._senders.values()):
            if threads.failure or hurry() or time.monotonic() >= until:
                break
            time.sleep(POLL_SECONDS)
        threads.stop.set()
        for sender in self._senders.values():
            sender.wake()
        return threads.join(STOP_SECONDS)

    def _follow_clock(self) -> None:
        """Tell the rules by how much the wall clock was set since the last look."""
        zero = self._find_clock_zero()
        step = zero - self._clock_zero
        self._clock_zero = zero
        if abs(step) > SMALLEST_STEP:
            self._rules.shift(step)

    def _find_clock_zero(self) -> datetime:
        """Time of day at which the monotonic clock was 0, by the wall clock of now."""
        now, utc = both_clocks(self._clock)
        return utc - timedelta(seconds=now)

    def _offered(self, alerts: list[Alert]) -> list[Alert]:
        for sender in self._senders.values() if alerts else ():
            sender.offer(alerts)
        return alerts


def _run_after(
    before: RunningThread | None,
    former: Sender | None,
    sender: Sender,
    stop: threading.Event,
) -> None:
    while before is not None and not before.join(POLL_SECONDS) and not stop.is_set():
        pass
    if former is not None:
        sender.succeed(former)
    sender.run(stop)


def build_alerting(
    config: Config,
    rules: Mapping[str, LabelRule],
    spec: ModelSpec,
    database: Database,
    clock: Clock,
    state_dir: Path,
    environ: Mapping[str, str] = os.environ,
) -> Alerting:
    """Check what the alerts of `config` need, and read their secrets.

    Args:
        config: The configuration, without groups in its rules.
        rules: The detection rule of each label.
        spec: Input format of the leading model.
        database: Keeps the alerts.
        clock: Clock of the monitor.
        state_dir: The folder in which its clips are.
        environ: Environment variables of the process, for secrets.

    Raises:
        ConfigError: A rule cannot work: a sentence in a line for each fault.
    """
    thresholds = {label: rule.onset_threshold for label, rule in rules.items()}
    alert_rules = Rules(config.alerts, thresholds, spec.sample_rate)
    clips = KeptClips(state_dir / config.clips.path, config.clips)
    hooks = build_hooks(config.alerts, environ, tuple(rules), clips)
    built_from = {
        f"{rule.name}/{kind}": (
            section,
            digest_of_contents(section.model_dump(), environ),
        )
        for rule in config.alerts
        for kind, section in rule.hooks.items()
    }
    return Alerting(alert_rules, hooks, database, clock, built_from)


def without_groups(
    config: Config, labels: LabelChoice, environ: Mapping[str, str]
) -> Config:
    """Replace the groups in rules; name other faults of the rules with theirs.

    Raises:
        ConfigError: A rule cannot work: a sentence in a line for each fault.
    """
    try:
        return with_labels(config, labels)
    except ConfigError as error:
        _, faults = check_rules(config.alerts, environ, None)
        raise ConfigError("\n".join([str(error), *faults])) from None
