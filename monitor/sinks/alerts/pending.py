"""The pending alerts of one endpoint: of the outbox, else of memory."""

import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Collection, Iterable

from monitor.errors import StoreUnavailableError
from monitor.sinks.alerts.outbox import Alert, Attempt, Entry, Outbox

logger = logging.getLogger(__name__)

STORING_SECONDS = 2.0
"""An alert that is not stored by then is delivered from memory."""

MEMORY_ALERTS = 1000


class PendingAlerts:
    """The alerts of one endpoint in their order: of the outbox, else of memory.

    While the database works, memory is empty but for alerts about to be stored.  While
    it fails, new alerts are taken from memory, and what became of them is recorded when
    it works again: else they would be delivered again and again.  Used by the sender's
    thread; `offer` and `confirm` by the worker's.
    """

    def __init__(
        self, endpoint: str, outbox: Outbox, monotonic: Callable[[], float]
    ) -> None:
        self._endpoint = endpoint
        self._outbox = outbox
        self._monotonic = monotonic
        self._offered: deque[tuple[float, Alert]] = deque(maxlen=MEMORY_ALERTS)
        self._unrecorded: dict[str, tuple[Entry, Attempt]] = {}
        self._database_fails = False

    def offer(self, alerts: Iterable[Alert]) -> None:
        """Take alerts that are about to be stored.  Worker's thread."""
        now = self._monotonic()
        self._offered.extend((now, a) for a in alerts if a.endpoint == self._endpoint)

    def confirm(self) -> None:
        """Forget the offered alerts, which are stored now.  Worker's thread."""
        self._offered.clear()

    @property
    def holds_memory(self) -> bool:
        """True while something in memory should be in the database."""
        return bool(self._unrecorded or self._offered or self._database_fails)

    def first(self, without: Collection[str] = ()) -> Entry | None:
        """The oldest pending alert but for the ids in `without`."""
        entry = None
        left_out = list(without)
        left_out += [
            key for key, (it, _) in self._unrecorded.items() if it.state != "pending"
        ]
        works = self._write_unrecorded()
        try:
            # A full disk can still be read.
            entry = self._outbox.head(self._endpoint, left_out)
        except (sqlite3.Error, StoreUnavailableError) as error:
            self._note_failure(error)
            works = False
        if works and self._database_fails:
            logger.info("alerts to %s: the database works again", self._endpoint)
            self._database_fails = False
        entry = entry or self._first_offered(left_out)
        if entry is None or entry.alert.id not in self._unrecorded:
            return entry
        return self._unrecorded[entry.alert.id][0]

    def find(self, key: str) -> Entry | None:
        """The pending alert with this id."""
        if key in self._unrecorded:
            entry = self._unrecorded[key][0]
            return entry if entry.state == "pending" else None
        try:
            return self._outbox.pending(key)
        except (sqlite3.Error, StoreUnavailableError) as error:
            self._note_failure(error)
            return None

    def record(self, entry: Entry, attempt: Attempt) -> None:
        """Take an entry as it is after an attempt; keep it until it is written."""
        self._unrecorded[entry.alert.id] = (entry, attempt)
        while len(self._unrecorded) > MEMORY_ALERTS:
            del self._unrecorded[next(iter(self._unrecorded))]
        self._write_unrecorded()

    def close(self) -> None:
        """Close the outbox."""
        self._outbox.close()

    def _first_offered(self, left_out: list[str]) -> Entry | None:
        """The oldest alert that should have been stored by now."""
        before = self._monotonic() - STORING_SECONDS
        for offered, alert in tuple(self._offered):
            if offered > before:
                break
            if alert.id not in left_out:
                return Entry(alert, "pending", 0, alert.created, None)
        return None

    def _write_unrecorded(self) -> bool:
        """Write what is not recorded; True if the database works."""
        offered = {alert.id for _, alert in tuple(self._offered)}
        try:
            for key, (entry, attempt) in list(self._unrecorded.items()):
                # An alert that is still offered will be stored, and recorded then.
                if self._outbox.record(entry, attempt) or key not in offered:
                    del self._unrecorded[key]
        except (sqlite3.Error, StoreUnavailableError) as error:
            self._note_failure(error)
            return False
        return True

    def _note_failure(self, error: Exception) -> None:
        """Log the first failure."""
        if not self._database_fails:
            logger.error(
                "alerts to %s: the database does not work; they go on from memory as "
                "far as they can: %s",
                self._endpoint,
                error,
            )
        self._database_fails = True
