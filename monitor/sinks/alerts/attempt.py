"""One attempt: a delivery on a thread of its own, and the pause after a failure."""

import logging
import threading
from collections.abc import Callable

from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.hooks.hook import Hook, Outcome, Retry

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
