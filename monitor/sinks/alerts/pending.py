"""What waits for an endpoint: in the outbox, and in memory while that does not work."""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from monitor.errors import StoreUnavailableError
from monitor.sinks.alerts.outbox import Alert, AlertState, Attempt, Entry, Outbox

logger = logging.getLogger(__name__)


PATIENCE_SECONDS = 2.0
"""An alert that is not stored by then is told from memory."""

MEMORY_ALERTS = 1000


class Waiting:
    """The alerts of one endpoint in their order.

    While the database works, only one is in memory; while it does not, what is new is
    given from memory, and what became of it is recorded when it works again.  Used by
    the sender's thread; `offer` and `confirm` by the worker's.
    """

    def __init__(
        self, endpoint: str, outbox: Outbox, monotonic: Callable[[], float]
    ) -> None:
        """Prepare; nothing is read before `front`.

        Args:
            endpoint: RULE/KIND.
            outbox: Of this endpoint's sender alone.
            monotonic: Seconds since some fixed moment.
        """
        self._endpoint = endpoint
        self._outbox = outbox
        self._monotonic = monotonic
        self._offered: deque[tuple[float, Alert]] = deque(maxlen=MEMORY_ALERTS)
        self._unrecorded: dict[str, _Unrecorded] = {}
        self._database_fails = False

    def offer(self, alerts: Iterable[Alert]) -> None:
        """Take alerts that were made and are about to be stored.  Worker's thread."""
        now = self._monotonic()
        self._offered.extend(
            (now, alert) for alert in alerts if alert.endpoint == self._endpoint
        )

    def confirm(self) -> None:
        """Learn that all that was offered is stored now.  Worker's thread."""
        self._offered.clear()

    @property
    def is_troubled(self) -> bool:
        """Whether there is something in memory that the database should have."""
        return bool(self._unrecorded or self._offered or self._database_fails)

    def front(self) -> Entry | None:
        """What stands in front: in the database, else in memory."""
        entry = None
        works = self._keep_records()
        try:
            # On a full disk it can be read all the same.
            entry = self._outbox.head(self._endpoint, self._settled)
        except (sqlite3.Error, StoreUnavailableError) as error:
            self._say_trouble(error)
            works = False
        if works and self._database_fails:
            logger.info("alerts to %s: the database works again", self._endpoint)
            self._database_fails = False
        entry = entry or self._from_memory()
        known = None if entry is None else self._unrecorded.get(entry.alert.id)
        if entry is None or known is None or known.next_attempt is None:
            return entry
        return replace(entry, next_attempt=known.next_attempt)

    def record(
        self,
        entry: Entry,
        attempt: Attempt,
        state: AlertState,
        next_attempt: datetime | None = None,
    ) -> None:
        """Keep what became of an attempt, in memory until the database has it.

        Else what is delivered while the disk is full would be so again and again.
        """
        self._unrecorded[entry.alert.id] = _Unrecorded(
            entry, attempt, state, next_attempt
        )
        while len(self._unrecorded) > MEMORY_ALERTS:
            del self._unrecorded[next(iter(self._unrecorded))]
        self._keep_records()

    def close(self) -> None:
        """Close the outbox."""
        self._outbox.close()

    def _from_memory(self) -> Entry | None:
        """The oldest alert that should have been stored by now, and was not told."""
        settled = set(self._settled)
        before = self._monotonic() - PATIENCE_SECONDS
        for offered, alert in tuple(self._offered):
            if alert.id not in settled:
                if offered > before:
                    return None
                return Entry(alert, "pending", 0, alert.created, None)
        return None

    @property
    def _settled(self) -> list[str]:
        """Ids of alerts that are done with, which the database does not know yet."""
        return [
            key for key, each in self._unrecorded.items() if each.state != "pending"
        ]

    def _keep_records(self) -> bool:
        """Write what is not recorded; whether the database took it."""
        offered = {alert.id for _, alert in tuple(self._offered)}
        try:
            for key, each in list(self._unrecorded.items()):
                found = self._outbox.record(
                    each.entry, each.attempt, each.state, each.next_attempt
                )
                # One that is offered still will be stored, and then recorded.
                if found or key not in offered:
                    del self._unrecorded[key]
        except (sqlite3.Error, StoreUnavailableError) as error:
            self._say_trouble(error)
            return False
        return True

    def _say_trouble(self, error: Exception) -> None:
        """Say it once."""
        if not self._database_fails:
            logger.error(
                "alerts to %s: the database does not work; they go on from memory as "
                "far as they can: %s",
                self._endpoint,
                error,
            )
        self._database_fails = True
        # The file may have been set aside, and another one be in its place.
        self._outbox.close()


@dataclass(frozen=True, slots=True)
class _Unrecorded:
    """What became of an attempt, on its way to the database."""

    entry: Entry
    attempt: Attempt
    state: AlertState
    next_attempt: datetime | None
