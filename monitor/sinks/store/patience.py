"""How long the store waits for a database, and when it tries again."""

from monitor.sinks.store.writer import PATIENCE_SECONDS

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 15.0
"""A try writes everything that waits, so it must not come too often."""

IMPATIENCE_SECONDS = 0.1
"""How long another writer is waited for when the last try already failed."""

END_SECONDS = 0.5
"""How long another writer is waited for at the end, which must come soon."""


class Patience:
    """Learns from each try whether it succeeded.  Moments are passed in."""

    def __init__(self) -> None:
        self.is_failing = False
        """Whether the latest try failed."""

        self._retry_at = 0.0
        self._retry_seconds = FIRST_RETRY_SECONDS

    def seconds(self, *, ends: bool = False) -> float:
        """How long another writer is waited for; `ends`: at the end of the run."""
        if ends:
            return END_SECONDS
        return IMPATIENCE_SECONDS if self.is_failing else PATIENCE_SECONDS

    def is_due(self, now: float, *, is_wanted: bool) -> bool:
        """Whether to try: when it is wanted, and after a failure when it is time."""
        return now >= self._retry_at if self.is_failing else is_wanted

    def succeed(self) -> None:
        """Take note that a try succeeded."""
        self.is_failing = False
        self._retry_seconds = FIRST_RETRY_SECONDS

    def fail(self, now: float) -> None:
        """Take note that a try failed; the pause before the next grows."""
        self.is_failing = True
        self._retry_at = now + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, LAST_RETRY_SECONDS)
