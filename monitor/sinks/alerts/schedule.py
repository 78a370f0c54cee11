"""The schedule of an endpoint: which alert is tried when, and which is given up."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from monitor.sinks.alerts.alert import Entry
from monitor.sinks.store.records import from_ms, to_ms

SHORTEST_BACK_OFF_SECONDS = 1.0
LONGEST_BACK_OFF_SECONDS = 3600.0

GIVE_UP_SECONDS = 3600.0
"""An alert past its deadline is still tried until the endpoint has failed for so long
in this run, or for the time that the alert had, if that is shorter."""

PASS_OVER_ATTEMPTS = 5
"""An alert that has failed so often may be passed by those behind it."""

MOST_PASSED_OVER = 1000


def back_off_seconds(failures: int, draw: Callable[[], float]) -> float:
    """Time until the next attempt after `failures`: exponential with full jitter.

    A random share of 1, 2, 4, ... seconds, at most an hour, so that many monitors do
    not come back to one endpoint at once.  `draw` returns a number in [0, 1).
    """
    doubled = SHORTEST_BACK_OFF_SECONDS * 2.0 ** min(failures - 1, 30)
    limit = min(LONGEST_BACK_OFF_SECONDS, doubled)
    # Not at once, or a burst of failures would look like an attack.
    return max(0.05, draw()) * limit


@dataclass(frozen=True, slots=True)
class _Failure:
    """The failed attempts at one alert in this run."""

    first: float
    """Time of the first, monotonic seconds."""

    due: float
    """Earliest time of the next, monotonic seconds."""

    next_attempt_ms: int
    """The same as it is recorded; if it is changed, the user wants an attempt now."""


class Schedule:
    """Decides which alert is tried when.  Used by one thread; times are passed in.

    Waiting is measured by the monotonic clock: a step of the wall clock neither delays
    an alert nor ends it.  A deadline counts once both clocks have reached it and the
    endpoint has failed for a while in this run: whatever the clock shows after a
    restart, each alert gets its attempts.

    An alert that fails again and again is passed over if the endpoint takes the one
    behind it.  If it does not, it is the endpoint that fails, and the order stays.
    """

    def __init__(self, utc: datetime, now: float, draw: Callable[[], float]) -> None:
        """Begin at the time of day `utc` and the monotonic time `now`."""
        self.failures = 0
        """Failed attempts since the endpoint has last answered."""

        self._began_utc, self._began = utc, now
        self._draw = draw
        self._failures: dict[str, _Failure] = {}
        self._failing_since: float | None = None
        self._pause_until = now
        self._passed_over: dict[str, None] = {}
        self._suspect: str | None = None
        """The alert that is passed over if the endpoint takes the next one."""

    @property
    def passed_over(self) -> tuple[str, ...]:
        """Ids of the alerts that others pass, the longest waiting first."""
        return tuple(self._passed_over)

    def wait_seconds(self, entry: Entry, now: float) -> float:
        """Time until the next attempt at an alert; 0 or less if it is due."""
        failure = self._failures.get(entry.alert.id)
        if failure is None:
            return self._pause_until - now
        if failure.next_attempt_ms != to_ms(entry.next_attempt):
            return 0.0
        return max(failure.due, self._pause_until) - now

    def is_expired(self, entry: Entry, utc: datetime, now: float) -> bool:
        """Test whether an alert is given up.

        Its deadline has passed for real, and not because the wall clock was set.
        """
        alert = entry.alert
        failure = self._failures.get(alert.id)
        since = [] if failure is None else [failure.first]
        since += [] if self._failing_since is None else [self._failing_since]
        if not since:
            return False
        failing = now - min(since)
        lifetime = (alert.deadline - alert.created).total_seconds()
        if alert.created > utc:  # It was made while the clock was ahead.
            return failing >= lifetime
        steady_utc = self._began_utc + timedelta(seconds=now - self._began)
        is_past = min(utc, steady_utc) >= alert.deadline
        return is_past and failing >= min(lifetime, GIVE_UP_SECONDS)

    def due_among_passed_over(self, now: float) -> str | None:
        """Id of an alert passed over whose next attempt is due."""
        for key in self._passed_over if now >= self._pause_until else ():
            if self._failures[key].due <= now:
                return key
        return None

    def may_pass_over(self, entry: Entry) -> bool:
        """Test whether the alert behind `entry`, which has just failed, is tried."""
        return (
            entry.attempts >= PASS_OVER_ATTEMPTS
            # One that failed on trial alone shows nothing of itself.
            and entry.alert.id in self._failures
            and entry.alert.id not in self._passed_over
            and self._suspect is None
            and len(self._passed_over) < MOST_PASSED_OVER
        )

    def pass_over(self, entry: Entry) -> None:
        """Try the alert behind `entry` at once; its outcome shows what fails."""
        self._passed_over[entry.alert.id] = None
        self._suspect = entry.alert.id

    def clear_suspect(self) -> None:
        """Keep the order: there is no alert behind any more."""
        if self._suspect is not None:
            del self._passed_over[self._suspect]
            self._suspect = None

    def note_answer(self, key: str) -> str | None:
        """Note that the endpoint has taken or refused an alert.

        Returns:
            The id of an alert that is passed over from now on.
        """
        passed, self._suspect = self._suspect, None
        if passed == key:
            passed = None
        if passed is not None:
            # Once more at once: the endpoint may work since this moment.
            self._failures[passed] = replace(self._failures[passed], due=self._began)
        self._failing_since = None
        self.failures = 0
        self.forget(key)
        return passed

    def note_failure(
        self, entry: Entry, asked_seconds: float | None, utc: datetime, now: float
    ) -> datetime:
        """Note a failed attempt, counted in `entry`; return the time of the next.

        It is not before the endpoint has asked for, nor before our own pause is over;
        an attempt by hand, before its time, puts it off only if the endpoint asks.
        """
        key, is_head = entry.alert.id, entry.alert.id not in self._passed_over
        before = self._failures.get(key)
        if before is not None and now < before.due and asked_seconds is None:
            return from_ms(before.next_attempt_ms)
        if is_head and self._suspect is None:
            self.failures += 1
            if self._failing_since is None:
                self._failing_since = now
        # After a restart the count goes on.
        failures = max(self.failures if is_head else 0, entry.attempts)
        pause = max(back_off_seconds(failures, self._draw), asked_seconds or 0.0)
        if asked_seconds is not None:
            self._pause_until = now + pause
        next_attempt = utc + timedelta(seconds=pause)
        if is_head and self._suspect is not None:
            # The one behind fails too: it is not the alert but the endpoint.
            self.clear_suspect()
            return next_attempt
        self._failures[key] = _Failure(
            now if before is None else before.first, now + pause, to_ms(next_attempt)
        )
        return next_attempt

    def forget(self, key: str) -> None:
        """Forget an alert: it is settled, or pending no more."""
        self._failures.pop(key, None)
        self._passed_over.pop(key, None)
        if self._suspect == key:
            self._suspect = None
