"""The pending alerts of one endpoint: of the outbox, else of memory."""

import logging
import sqlite3
from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import replace

from monitor.clock import Clock
from monitor.errors import StoreUnavailableError
from monitor.sinks.alerts.alert import Alert, Attempt, BadEntry, Entry
from monitor.sinks.alerts.outbox import Outbox

logger = logging.getLogger(__name__)

STORING_SECONDS = 2.0
"""An alert that is not stored by then is delivered from memory."""

MEMORY_ALERTS = 1000
"""Alerts that are about to be stored."""

SETTLED_ALERTS = 10_000
"""Alerts that were delivered from memory; the store keeps no more to be stored."""


class PendingAlerts:
    """The alerts of one endpoint in their order: of the outbox, else of memory.

    While the database works, memory is empty but for alerts about to be stored.  While
    it fails, new alerts are taken from memory, and what became of them, and of those
    that can still be read, is recorded when it works again: else they would be
    delivered again and again.  Used by the sender's thread; `offer` and `confirm` by
    that of the store, the files thread.
    """

    def __init__(self, endpoint: str, outbox: Outbox, clock: Clock) -> None:
        self._endpoint = endpoint
        self._outbox = outbox
        self._clock = clock
        self._offered: deque[tuple[float, Alert]] = deque(maxlen=MEMORY_ALERTS)
        self._is_confirmed = False
        self._unrecorded: dict[str, tuple[Entry, Attempt]] = {}
        self._bad: dict[int, BadEntry] = {}
        self._passed = 0
        """Up to this sequence, everything is settled, though not all is recorded."""

        self._database_fails = False

    def offer(self, alerts: Iterable[Alert]) -> None:
        """Take alerts that are about to be stored.  Files thread."""
        now = self._clock.monotonic()
        self._offered.extend((now, a) for a in alerts if a.endpoint == self._endpoint)

    def confirm(self) -> None:
        """Forget the offered alerts, which are stored now.  Files thread."""
        self._offered.clear()
        self._is_confirmed = True

    @property
    def holds_memory(self) -> bool:
        """True while something in memory should be in the database."""
        return bool(self._unrecorded or self._offered or self._database_fails)

    def first(self, without: Collection[str] = ()) -> Entry | None:
        """The oldest pending alert but for the ids in `without`."""
        entry = None
        works = self._write_unrecorded()
        try:
            # A full disk can still be read.
            entry = self._first_stored(without)
        except (sqlite3.Error, StoreUnavailableError) as error:
            self._note_failure(error)
            works = False
        if works and self._database_fails:
            logger.info("alerts to %s: the database works again", self._endpoint)
            self._database_fails = False
        entry = entry or self._first_offered(without)
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
        if entry.state != "pending":
            # What is settled may be as much as there is in the database.
            entry = replace(entry, alert=replace(entry.alert, body={}))
        self._unrecorded[entry.alert.id] = (entry, attempt)
        if entry.sequence == 0 and len(self._unrecorded) > SETTLED_ALERTS:
            self._drop_oldest()
        self._write_unrecorded()

    def close(self) -> None:
        """Close the outbox."""
        self._outbox.close()

    def _first_stored(self, without: Collection[str]) -> Entry | None:
        """The oldest in the database that is not settled; bad ones are passed."""
        after, is_all_settled = self._passed, True
        while (entry := self._outbox.head(self._endpoint, after)) is not None:
            after = entry.sequence
            if isinstance(entry, BadEntry):
                self._take_bad(entry)
            elif not self._is_settled(entry.alert):
                if entry.alert.id not in without:
                    return entry
                is_all_settled = False
            if is_all_settled:
                self._passed = after
        return None

    def _first_offered(self, without: Collection[str]) -> Entry | None:
        """The oldest alert that should have been stored by now."""
        before = self._clock.monotonic() - STORING_SECONDS
        for offered, alert in tuple(self._offered):
            if offered > before:
                break
            if alert.id not in without and not self._is_settled(alert):
                return Entry(alert, "pending", 0, alert.created, None)
        return None

    def _is_settled(self, alert: Alert) -> bool:
        known = self._unrecorded.get(alert.id)
        return known is not None and known[0].state != "pending"

    def _take_bad(self, bad: BadEntry) -> None:
        if bad.sequence not in self._bad:
            logger.error(
                "alert number %d to %s is given up, and the others go on: %s",
                bad.sequence,
                self._endpoint,
                bad.reason,
            )
        self._bad[bad.sequence] = bad

    def _write_unrecorded(self) -> bool:
        """Write what is not recorded; True if the database works."""
        is_confirmed, self._is_confirmed = self._is_confirmed, False
        try:
            for key, (entry, attempt) in list(self._unrecorded.items()):
                # An alert that is not stored yet will be, and is recorded then.
                is_awaited = entry.sequence == 0 and not is_confirmed
                if self._outbox.record(entry, attempt) or not is_awaited:
                    del self._unrecorded[key]
            for bad in list(self._bad.values()):
                if not bad.is_unreadable:
                    self._outbox.bury(bad, self._clock.utc())
                    del self._bad[bad.sequence]
        except (sqlite3.Error, StoreUnavailableError) as error:
            self._is_confirmed = is_confirmed or self._is_confirmed
            self._note_failure(error)
            return False
        self._passed = 0
        return True

    def _drop_oldest(self) -> None:
        """Forget the oldest that was delivered from memory."""
        for key, (entry, _) in self._unrecorded.items():
            if entry.sequence == 0:
                del self._unrecorded[key]
                return

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
