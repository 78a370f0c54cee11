"""The sender: delivers the alerts of one endpoint, from the outbox or from memory."""

import logging
import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime, timedelta

from monitor.clock import Clock
from monitor.sinks.alerts.hooks import Delivered, Hook, Outcome, Refused, Retry
from monitor.sinks.alerts.outbox import Alert, Attempt, Entry, Outbox
from monitor.sinks.alerts.pending import PendingAlerts

logger = logging.getLogger(__name__)

SHORTEST_BACK_OFF_SECONDS = 1.0
LONGEST_BACK_OFF_SECONDS = 3600.0

LOOK_SECONDS = 2.0
"""Longest pause between looks at the outbox: `alerts retry` may have changed it."""

DATABASE_RETRY_SECONDS = 0.5
"""Pause between attempts to use a database that fails."""

POLL_SECONDS = 0.1
CANCEL_SECONDS = 0.3
"""Time in which a cancelled delivery must end."""


def back_off_seconds(failures: int, draw: Callable[[], float]) -> float:
    """Time until the next attempt after `failures`: exponential with full jitter.

    A random share of 1, 2, 4, ... seconds, at most an hour, so that many monitors do
    not come back to one endpoint at once.  `draw` returns a number in [0, 1).
    """
    doubled = SHORTEST_BACK_OFF_SECONDS * 2.0 ** min(failures - 1, 30)
    limit = min(LONGEST_BACK_OFF_SECONDS, doubled)
    # Not at once, or a burst of failures would look like an attack.
    return max(0.05, draw()) * limit


class Delivery:
    """A delivery on a thread of its own, which may be left behind."""

    def __init__(self, hook: Hook, alert: Alert) -> None:
        self.outcome: Outcome | None = None
        self._hook = hook
        self._alert = alert
        self._thread = threading.Thread(
            target=self._run, name=f"deliver-{alert.endpoint}", daemon=True
        )
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """True until the hook has returned."""
        return self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Wait up to `seconds`; True if it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def cancel(self) -> Outcome:
        """End it; it may turn out to be delivered all the same."""
        self._hook.cancel()
        self.wait(CANCEL_SECONDS)
        if isinstance(self.outcome, Delivered):
            return self.outcome
        return Retry(f"took longer than {self._hook.total_seconds:g} s")

    def _run(self) -> None:
        try:
            self.outcome = self._hook.deliver(self._alert)
        except Exception as error:
            # An alert at which a hook, or a library under it, fails must not end the
            # monitor: it would start again, and fail again.
            logger.exception("the hook of %s failed unexpectedly", self._alert.endpoint)
            self.outcome = Retry(f"failed unexpectedly: {type(error).__name__}")


class Sender:
    """Delivers the alerts of one endpoint in their order, each at least once.

    An alert is the first until it is delivered, refused, dropped or past its deadline.

    Each delivery runs on a thread of its own, so that one that hangs where nothing can
    wake it, such as in the resolver, keeps neither the sender from stopping nor the
    time limit from holding.
    """

    def __init__(
        self,
        endpoint: str,
        hook: Hook,
        outbox: Outbox,
        clock: Clock,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; nothing is read before `run`, whose end closes hook and outbox."""
        self.endpoint = endpoint
        self._hook = hook
        self._is_retired = False
        self._pending = PendingAlerts(endpoint, outbox, clock.monotonic)
        self._clock = clock
        self._draw = draw
        self._wakeup = threading.Event()
        self._is_idle = False
        self._failures = 0
        self._dead = 0
        self._delivery: Delivery | None = None

    def retire(self) -> None:
        """End with the delivery at hand; pending alerts stay.  Any thread."""
        self._is_retired = True
        self._wakeup.set()

    def wake(self) -> None:
        """Look at the outbox now.  Any thread."""
        self._wakeup.set()

    @property
    def is_idle(self) -> bool:
        """True while nothing is due.  Any thread."""
        return self._is_idle and not self._wakeup.is_set()

    def offer(self, alerts: Iterable[Alert]) -> None:
        """Take alerts that were made and are about to be stored.  Worker's thread.

        If storing does not succeed soon, as on a full disk, they are delivered from
        memory.
        """
        self._pending.offer(alerts)

    def confirm(self) -> None:
        """Forget the offered alerts, which are stored now.  Worker's thread."""
        self._pending.confirm()
        self._wakeup.set()

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` or its retirement.  Runs on the sender's thread."""
        try:
            while not (stop.is_set() or self._is_retired):
                wait_seconds = self._step(stop)
                self._is_idle = wait_seconds > 0
                self._wait(wait_seconds, stop)
        finally:
            self._hook.close()
            self._pending.close()

    def _step(self, stop: threading.Event) -> float:
        """Do what is due; return the seconds for which nothing will be."""
        self._is_idle = False
        self._wakeup.clear()
        entry = self._pending.first()
        if entry is None:
            return (
                DATABASE_RETRY_SECONDS if self._pending.holds_memory else LOOK_SECONDS
            )
        now = self._clock.utc()
        if entry.alert.deadline <= now:
            self._expire(entry, now)
            return 0.0
        due = entry.next_attempt
        # Further ahead than any back-off: the wall clock was set back.
        if now < due <= now + timedelta(seconds=LONGEST_BACK_OFF_SECONDS):
            return min((due - now).total_seconds(), LOOK_SECONDS)
        self._attempt(entry, stop)
        return 0.0

    def _attempt(self, entry: Entry, stop: threading.Event) -> None:
        at, began = self._clock.utc(), self._clock.monotonic()
        outcome = self._deliver(entry.alert, stop)
        if outcome is None:
            return
        seconds = self._clock.monotonic() - began
        entry = replace(entry, attempts=entry.attempts + 1)
        match outcome:
            case Delivered(detail):
                self._note_success()
                entry = replace(entry, state="delivered")
                attempt = Attempt(at, "delivered", detail, seconds)
            case Refused(reason):
                self._note_dead(entry, f"was refused: {reason}")
                entry = replace(entry, state="dead", last_error=reason)
                attempt = Attempt(at, "refused", reason, seconds)
            case Retry(reason, after_seconds):
                pause = timedelta(seconds=self._fail(entry, reason, after_seconds))
                next_attempt = self._clock.utc() + pause
                entry = replace(entry, next_attempt=next_attempt, last_error=reason)
                attempt = Attempt(at, "retry", reason, seconds)
        self._pending.record(entry, attempt)

    def _deliver(self, alert: Alert, stop: threading.Event) -> Outcome | None:
        """Deliver within the time limit; None: the sender was stopped meanwhile."""
        if self._delivery is not None and self._delivery.is_running:
            # It has hung since the last attempt, where it could not be cancelled.
            return Retry("the attempt before has not come back")
        delivery = self._delivery = Delivery(self._hook, alert)
        until = self._clock.monotonic() + self._hook.total_seconds
        while not delivery.wait(POLL_SECONDS):
            if stop.is_set() or self._clock.monotonic() >= until:
                break
        else:
            return delivery.outcome
        outcome = delivery.cancel()
        is_delivered = isinstance(outcome, Delivered)
        return None if stop.is_set() and not is_delivered else outcome

    def _note_success(self) -> None:
        if self._failures or self._dead:
            logger.info(
                "%s accepts alerts again, after %d failed attempts; %d alerts failed",
                self.endpoint,
                self._failures,
                self._dead,
            )
        self._failures = self._dead = 0

    def _fail(self, entry: Entry, reason: str, after_seconds: float | None) -> float:
        """Count a failure; return the seconds until the next attempt."""
        if not self._failures:
            logger.warning(
                "alert %s did not reach %s: %s; trying again until %s",
                entry.alert.id,
                self.endpoint,
                reason,
                entry.alert.deadline.isoformat(timespec="seconds"),
            )
        # After a restart the count goes on.
        self._failures = max(self._failures + 1, entry.attempts)
        wait = back_off_seconds(self._failures, self._draw)
        return wait if after_seconds is None else max(after_seconds, 0.05)

    def _expire(self, entry: Entry, now: datetime) -> None:
        reason = "not delivered by its deadline"
        if entry.last_error:
            reason += f"; the last error: {entry.last_error}"
        self._note_dead(entry, f"was {reason}")
        entry = replace(entry, state="dead", last_error=reason)
        self._pending.record(entry, Attempt(now, "expired", reason, 0.0))

    def _note_dead(self, entry: Entry, what: str) -> None:
        """Log the first, count the others."""
        if not self._dead:
            logger.error(
                "alert %s to %s %s; it is given up, see 'alerts list --state dead'",
                entry.alert.id,
                self.endpoint,
                what,
            )
        self._dead += 1

    def _wait(self, seconds: float, stop: threading.Event) -> None:
        until = self._clock.monotonic() + seconds
        while not (stop.is_set() or self._is_retired):
            left = until - self._clock.monotonic()
            if left <= 0 or self._wakeup.wait(min(left, POLL_SECONDS)):
                return
