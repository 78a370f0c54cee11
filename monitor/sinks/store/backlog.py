"""What is still to be stored: at most so much of it."""

import logging
import sqlite3
from collections import deque
from collections.abc import Iterable, Sequence

from monitor.records import Gap, Health, Timed
from monitor.sinks.store.health_rows import write_health
from monitor.sinks.store.ports import AlertLike, write_alerts
from monitor.sinks.store.rows import write_gap, write_occurrence

logger = logging.getLogger(__name__)

_WRITERS = {Gap: write_gap, Health: write_health}


class Backlog:
    """Records and alerts that are not committed yet, the oldest first."""

    def __init__(self, capacity: int) -> None:
        """Begin empty; records and alerts may be up to `capacity` each."""
        self.records: deque[tuple[Timed, int]] = deque()
        """Each with the milliseconds UTC at which it was told."""

        self.alerts: deque[AlertLike] = deque()
        self.capacity = capacity
        self.lost_now = 0
        """Given up since the last `clear`."""

        self.lost = 0
        """Given up in all."""

    def __bool__(self) -> bool:
        return bool(self.records or self.alerts)

    def add_older(self, batch: Sequence[Timed], told_ms: int) -> None:
        """Put records before all others."""
        self.records.extendleft((timed, told_ms) for timed in reversed(batch))

    def add(self, timed: Timed, told_ms: int) -> None:
        """Put a record behind all others."""
        self.records.append((timed, told_ms))

    def add_alerts(self, alerts: Iterable[AlertLike]) -> None:
        """Put alerts behind all others."""
        self.alerts.extend(alerts)

    def write(self, connection: sqlite3.Connection, session: int) -> None:
        """Store everything inside a transaction; then `clear`, if it was committed."""
        for timed, told_ms in self.records:
            write = _WRITERS.get(type(timed.record), write_occurrence)
            write(connection, session, timed, told_ms)
        write_alerts(connection, self.alerts)

    def clear(self) -> None:
        """Begin anew: everything is stored."""
        self.records.clear()
        self.alerts.clear()
        self.lost_now = 0

    def drop_oldest(self) -> None:
        """Give up what is beyond the capacity; say it the first time."""
        excess = 0
        for waiting in (self.records, self.alerts):
            while len(waiting) > self.capacity:
                waiting.popleft()
                excess += 1
        if excess and not self.lost_now:
            logger.error(
                "memory for %d records that cannot be stored is full: the oldest are "
                "lost",
                self.capacity,
            )
        self.lost_now += excess
        self.lost += excess
