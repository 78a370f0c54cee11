"""The sender: carries the alerts of one endpoint from the outbox to its hook.

One attempt: a delivery on a thread of its own, and the pause after a failure.
"""

import logging
import queue
import random
import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Protocol

from monitor.sinks.alerts.hooks.hook import Delivered, Hook, Outcome, Refused, Retry
from monitor.sinks.alerts.outbox import Alert, Attempt, Entry, Outbox
from monitor.sinks.alerts.pending import Waiting

logger = logging.getLogger(__name__)


SHORTEST_BACK_OFF_SECONDS = 1.0
LONGEST_BACK_OFF_SECONDS = 3600.0


def back_off_seconds(failures: int, draw: Callable[[], float]) -> float:
    """Time until the next attempt: exponential with full jitter.

    A random share of 1, 2, 4, ... seconds, at most an hour, so that many monitors do
    not come back to one endpoint at once.

    Args:
        failures: Attempts in a row that failed, at least 1.
        draw: A random number in [0, 1).
    """
    doubled = SHORTEST_BACK_OFF_SECONDS * 2.0 ** min(failures - 1, 30)
    limit = min(LONGEST_BACK_OFF_SECONDS, doubled)
    # Not at once, or a burst of failures would look like an attack.
    return max(0.05, draw()) * limit


class Delivery:
    """A delivery on a thread of its own, which may be left behind."""

    def __init__(self, hook: Hook, alert: Alert, endpoint: str) -> None:
        self.outcome: Outcome | None = None
        self._hook = hook
        self._alert = alert
        self._thread = threading.Thread(
            target=self._run, name=f"deliver-{endpoint}", daemon=True
        )
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the hook has not come back."""
        return self._thread.is_alive()

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within `seconds`."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.outcome = self._hook.deliver(self._alert)
        except Exception as error:
            # One alert that a hook, or a library under it, stumbles over must not make
            # the monitor deaf: it would end, start, and stumble again.
            logger.exception("the hook of %s failed unexpectedly", self._alert.endpoint)
            self.outcome = Retry(f"failed unexpectedly: {type(error).__name__}")


LOOK_SECONDS = 2.0
"""The outbox is looked at so often, for what a command has put back into it."""

TROUBLE_SECONDS = 0.5
"""After so long it is tried again to write to a database that does not work."""

POLL_SECONDS = 0.1
GRACE_SECONDS = 0.3
"""Time in which a delivery that is broken off must end."""


class Clock(Protocol):
    """What a sender knows of time."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never steps."""

    def utc(self) -> datetime:
        """What the clock on the wall says; may step."""


class Sender:
    """Delivers the alerts of one endpoint in their order, each at least once.

    An alert stands in front until it is delivered, refused, dropped or past its
    deadline.

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
        """Prepare; nothing is read before `run`.

        Args:
            endpoint: RULE/KIND.
            hook: Carries the alerts; closed at the end of `run`.
            outbox: Of this sender alone; closed at the end of `run`.
            clock: Of the machine.
            draw: A random number in [0, 1), for the jitter.
        """
        self.endpoint = endpoint
        self.delivered = 0
        """Alerts that arrived since the start."""

        self._hook = hook
        self._next_hook: queue.SimpleQueue[Hook] = queue.SimpleQueue()
        self._waiting = Waiting(endpoint, outbox, clock.monotonic)
        self._clock = clock
        self._draw = draw
        self._wakeup = threading.Event()
        self._is_idle = False
        self._failures = 0
        self._given_up = 0
        self._delivery: Delivery | None = None

    def change(self, hook: Hook) -> None:
        """Deliver through another hook from the next attempt on.  Any thread.

        The one before is closed.  What waits stays, and so does the pause after a
        failure: the endpoint may be the same.
        """
        self._next_hook.put(hook)
        self._wakeup.set()

    def wake(self) -> None:
        """Look at the outbox now.  Any thread."""
        self._wakeup.set()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is due now.  Any thread."""
        return self._is_idle and not self._wakeup.is_set()

    def offer(self, alerts: Iterable[Alert]) -> None:
        """Take alerts that were made and are about to be stored.  Worker's thread.

        If that does not succeed soon, as on a full disk, they are told from memory.
        """
        self._waiting.offer(alerts)

    def confirm(self) -> None:
        """Learn that all that was offered is stored now.  Worker's thread."""
        self._waiting.confirm()
        self._wakeup.set()

    def run(self, stop: threading.Event) -> None:
        """Deliver until `stop` is set.  Runs on the sender's thread."""
        try:
            while not stop.is_set():
                wait_seconds = self._step(stop)
                self._is_idle = wait_seconds > 0
                self._wait(wait_seconds, stop)
        finally:
            self._take_next_hook()
            self._hook.close()
            self._waiting.close()

    def _step(self, stop: threading.Event) -> float:
        """Do what is due; return how long nothing will be, seconds."""
        self._is_idle = False
        self._wakeup.clear()
        self._take_next_hook()
        entry = self._waiting.front()
        if entry is None:
            return TROUBLE_SECONDS if self._waiting.is_troubled else LOOK_SECONDS
        now = self._clock.utc()
        if entry.alert.deadline <= now:
            self._give_up(entry, now)
            return 0.0
        due = entry.next_attempt
        # Further ahead than any back-off: the clock on the wall was set back.
        if now < due <= now + timedelta(seconds=LONGEST_BACK_OFF_SECONDS):
            left = min(due, entry.alert.deadline) - now
            return min(left.total_seconds(), LOOK_SECONDS)
        self._attempt(entry, stop)
        return 0.0

    def _take_next_hook(self) -> None:
        while not self._next_hook.empty():
            self._hook.close()
            self._hook = self._next_hook.get()

    def _attempt(self, entry: Entry, stop: threading.Event) -> None:
        at, began = self._clock.utc(), self._clock.monotonic()
        outcome = self._deliver(entry.alert, stop)
        if outcome is None:
            return
        seconds = self._clock.monotonic() - began
        match outcome:
            case Delivered(detail):
                self._succeed()
                attempt = Attempt(at, "delivered", detail, seconds)
                self._waiting.record(entry, attempt, "delivered")
            case Refused(reason):
                self._say_given_up(entry, f"was refused: {reason}")
                attempt = Attempt(at, "refused", reason, seconds)
                self._waiting.record(entry, attempt, "dead")
            case Retry(reason, after_seconds):
                wait = self._fail(entry, reason, after_seconds)
                next_attempt = self._clock.utc() + timedelta(seconds=wait)
                attempt = Attempt(at, "retry", reason, seconds)
                self._waiting.record(entry, attempt, "pending", next_attempt)

    def _deliver(self, alert: Alert, stop: threading.Event) -> Outcome | None:
        """Deliver within the time limit; None: the sender was stopped meanwhile."""
        if self._delivery is not None and self._delivery.is_running:
            # It hangs since the last attempt, where it could not be broken off.
            return Retry("the attempt before has not come back")
        delivery = self._delivery = Delivery(self._hook, alert, self.endpoint)
        until = self._clock.monotonic() + self._hook.total_seconds
        while not delivery.wait(POLL_SECONDS):
            if stop.is_set() or self._clock.monotonic() >= until:
                break
        else:
            return delivery.outcome
        self._hook.cancel()
        delivery.wait(GRACE_SECONDS)
        if isinstance(delivery.outcome, Delivered):
            return delivery.outcome
        if stop.is_set():
            return None
        return Retry(f"took longer than {self._hook.total_seconds:g} s")

    def _succeed(self) -> None:
        self.delivered += 1
        if self._failures or self._given_up:
            logger.info(
                "%s takes alerts again, after %d failed attempts; %d alerts were given "
                "up",
                self.endpoint,
                self._failures,
                self._given_up,
            )
        self._failures = self._given_up = 0

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
        # After a restart the count goes on where it was.
        self._failures = max(self._failures, entry.attempts) + 1
        wait = back_off_seconds(self._failures, self._draw)
        return wait if after_seconds is None else max(after_seconds, 0.05)

    def _give_up(self, entry: Entry, now: datetime) -> None:
        reason = "not delivered by its deadline"
        if entry.last_error:
            reason += f"; the last error: {entry.last_error}"
        self._say_given_up(entry, f"was {reason}")
        self._waiting.record(entry, Attempt(now, "expired", reason, 0.0), "dead")

    def _say_given_up(self, entry: Entry, what: str) -> None:
        """Say the first, count the others."""
        if not self._given_up:
            logger.error(
                "alert %s to %s %s; it is given up, see 'alerts list --state dead'",
                entry.alert.id,
                self.endpoint,
                what,
            )
        self._given_up += 1

    def _wait(self, seconds: float, stop: threading.Event) -> None:
        until = self._clock.monotonic() + seconds
        while not stop.is_set():
            left = until - self._clock.monotonic()
            if left <= 0 or self._wakeup.wait(min(left, POLL_SECONDS)):
                return
