"""The sender: delivers the alerts of one endpoint, from the outbox or from memory."""

import logging
import random
import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from monitor.clock import Clock
from monitor.sinks.alerts.alert import Alert, Attempt, Entry
from monitor.sinks.alerts.hooks import Delivered, Hook, Outcome, Refused, Retry
from monitor.sinks.alerts.outbox import Outbox
from monitor.sinks.alerts.pending import PendingAlerts
from monitor.sinks.alerts.schedule import Schedule

logger = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
"""Longest pause between looks at the outbox: `alerts retry` may have changed it."""

DATABASE_RETRY_SECONDS = 0.5
"""Pause between attempts to use a database that fails."""

MOST_WANTED = 100
"""Attempts by hand that wait for their turn."""

POLL_SECONDS = 0.1
CANCEL_SECONDS = 0.3
"""Time in which a cancelled delivery must end."""


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

    An alert is the first until it is delivered, refused, dropped or past its deadline;
    or passed over, because it alone fails: see `Schedule`.

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
        self._pending = PendingAlerts(endpoint, outbox, clock)
        self._clock = clock
        self._schedule = Schedule(clock.utc(), clock.monotonic(), draw)
        self._wakeup = threading.Event()
        self._wanted: deque[str] = deque(maxlen=MOST_WANTED)
        self._is_idle = False
        self._dead = 0
        self._delivery: Delivery | None = None

    def succeed(self, before: "Sender") -> None:
        """Go on with the schedule of a sender to the same endpoint, which has ended.

        Without it, each reload would send at once what waits for an endpoint that
        fails, or that has asked for a pause.
        """
        self._schedule = before._schedule
        self._dead, self._delivery = before._dead, before._delivery

    def retire(self) -> None:
        """End with the delivery at hand; pending alerts stay.  Any thread."""
        self._is_retired = True
        self._wakeup.set()

    def wake(self) -> None:
        """Look at the outbox now.  Any thread."""
        self._wakeup.set()

    def try_now(self, alert_id: str) -> None:
        """Make an attempt at once, if the alert is one of this endpoint.  Any thread.

        If older ones are before it, at the first of them: the order stays.
        """
        self._wanted.append(alert_id)
        self._wakeup.set()

    @property
    def is_idle(self) -> bool:
        """True while nothing is due.  Any thread."""
        return self._is_idle and not self._wakeup.is_set()

    def offer(self, alerts: Iterable[Alert]) -> None:
        """Take alerts that were made and are about to be stored.  Files thread.

        If storing does not succeed soon, as on a full disk, they are delivered from
        memory.
        """
        self._pending.offer(alerts)

    def confirm(self) -> None:
        """Forget the offered alerts, which are stored now.  Files thread."""
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
        wait_seconds = LOOK_SECONDS
        entry = self._pending.first(self._schedule.passed_over)
        wanted = self._pending.find(self._wanted.popleft()) if self._wanted else None
        if wanted is not None and wanted.alert.endpoint == self.endpoint:
            is_passed_over = wanted.alert.id in self._schedule.passed_over
            self._attempt(wanted if is_passed_over else entry or wanted, stop)
            wait_seconds = 0.0
        elif entry is not None:
            wait_seconds = self._handle(entry, stop)
        else:
            self._schedule.clear_suspect()
            if self._pending.holds_memory:
                wait_seconds = DATABASE_RETRY_SECONDS
        if self._wanted:
            wait_seconds = 0.0
        key = self._schedule.due_among_passed_over(self._clock.monotonic())
        if key is None or stop.is_set():
            return wait_seconds
        passed_over = self._pending.find(key)
        if passed_over is None:
            self._schedule.forget(key)
        else:
            self._handle(passed_over, stop)
        return 0.0

    def _handle(self, entry: Entry, stop: threading.Event) -> float:
        """Try an alert or give it up, if that is due; return the seconds to wait."""
        utc, now = self._clock.utc(), self._clock.monotonic()
        if self._schedule.is_expired(entry, utc, now):
            self._expire(entry, utc)
            return 0.0
        wait_seconds = self._schedule.wait_seconds(entry, now)
        if wait_seconds > 0:
            return min(wait_seconds, LOOK_SECONDS)
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
                self._note_answer(entry)
                entry = replace(entry, state="delivered")
                attempt = Attempt(at, "delivered", detail, seconds)
            case Refused(reason):
                self._note_dead(entry, f"was refused: {reason}")
                self._note_answer(entry)
                entry = replace(entry, state="dead", last_error=reason)
                attempt = Attempt(at, "refused", reason, seconds)
            case Retry(reason, asked_seconds):
                next_attempt = self._fail(entry, reason, asked_seconds)
                entry = replace(entry, next_attempt=next_attempt, last_error=reason)
                attempt = Attempt(at, "retry", reason, seconds)
        self._pending.record(entry, attempt)
        if isinstance(outcome, Retry) and self._schedule.may_pass_over(entry):
            without = (*self._schedule.passed_over, entry.alert.id)
            if self._pending.first(without) is not None:
                self._schedule.pass_over(entry)

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

    def _note_answer(self, entry: Entry) -> None:
        passed = self._schedule.note_answer(entry.alert.id)
        if passed is not None:
            logger.warning(
                "alert %s alone does not reach %s: it is tried on until its deadline, "
                "and the others pass it",
                passed,
                self.endpoint,
            )

    def _note_success(self) -> None:
        if self._schedule.failures or self._dead:
            logger.info(
                "%s accepts alerts again, after %d failed attempts; %d alerts failed",
                self.endpoint,
                self._schedule.failures,
                self._dead,
            )
        self._dead = 0

    def _fail(self, entry: Entry, reason: str, asked_seconds: float | None) -> datetime:
        """Count a failure; return the time of the next attempt."""
        is_passed_over = entry.alert.id in self._schedule.passed_over
        if not self._schedule.failures and not is_passed_over:
            logger.warning(
                "alert %s did not reach %s: %s; trying again until %s",
                entry.alert.id,
                self.endpoint,
                reason,
                entry.alert.deadline.isoformat(timespec="seconds"),
            )
        utc, now = self._clock.utc(), self._clock.monotonic()
        return self._schedule.note_failure(entry, asked_seconds, utc, now)

    def _expire(self, entry: Entry, now: datetime) -> None:
        reason = "not delivered by its deadline"
        if entry.last_error:
            reason += f"; the last error: {entry.last_error}"
        self._note_dead(entry, f"was {reason}")
        self._schedule.forget(entry.alert.id)
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
