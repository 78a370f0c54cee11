"""The collector: from a broker into the fleet's database, until it is stopped."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Event

import psycopg

from monitor.fleet.collect.database import Arrival, FleetDatabase, Keep
from monitor.fleet.collect.missing import look_for_missing
from monitor.fleet.collect.schema import PARTITIONED, drop_before
from monitor.fleet.collect.subscription import Subscription
from monitor.sinks.publish.record import encode_wanted
from monitor.text import duration, first_line

BATCH = 500
BATCH_SECONDS = 0.5
"""A batch has so many messages, or what came in so long."""

RETRY_SECONDS = 2.0
"""Pause before a batch is tried again on a database that was away."""

CLEAN_SECONDS = 3600.0

SEEN_SECONDS = 180.0
"""A monitor is asked by collectors that have had a record of it within so long: another
one may be at another broker."""

SILENT_SECONDS = 300.0
"""Time without any record, while connected, that is logged: three digests and more."""

_OLD_ROWS = (
    "DELETE FROM deleted WHERE at < %s",
    "DELETE FROM raw WHERE sent < %s",
    "DELETE FROM missing WHERE filled < %s",
    "DELETE FROM refused WHERE last < %s",
    "DELETE FROM changes WHERE reported < %s AND EXISTS (SELECT FROM changes AS newer "
    "WHERE newer.monitor = changes.monitor AND newer.id > changes.id)",
)

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Collector:
    """One of the collectors of a fleet; used by one thread."""

    database: FleetDatabase
    subscription: Subscription
    ask_after: timedelta = timedelta(seconds=30)
    """Age of a missing range for which its monitor is asked."""

    most_asked: int = 6
    """Times that a monitor is asked in vain before a range is given up."""

    look_seconds: float = 10.0
    """Interval in which missing ranges are looked for."""

    _is_away: bool = field(default=False, init=False)
    """Whether the database was away at the last try."""

    _last_seen: dict[str, float] = field(default_factory=dict, init=False)
    """When a record of each monitor arrived here, monotonic seconds."""

    _silent_since: float = field(default_factory=time.monotonic, init=False)
    _has_logged_silence: bool = field(default=False, init=False)

    def run(self, stop: Event) -> None:
        """Collect until `stop`; returns soon after it."""
        look_at = clean_at = time.monotonic()
        while not stop.is_set():
            arrivals = self.subscription.receive(BATCH, BATCH_SECONDS)
            self._note(arrivals)
            if arrivals:
                self._store(arrivals, stop)
            now = time.monotonic()
            if now >= look_at:
                look_at = now + self.look_seconds
                self._try(self._look)
            if now >= clean_at:
                clean_at = now + CLEAN_SECONDS
                self._try(self._clean)

    def _note(self, arrivals: list[Arrival]) -> None:
        """Note who sends; log it if that is nobody."""
        now = time.monotonic()
        self._last_seen.update(dict.fromkeys((it.monitor for it in arrivals), now))
        if arrivals or not self.subscription.is_connected:
            self._silent_since = now
            self._has_logged_silence &= not arrivals
        elif (
            now >= self._silent_since + SILENT_SECONDS and not self._has_logged_silence
        ):
            self._has_logged_silence = True
            logger.warning(
                "connected, and no record for %s: nobody publishes to this broker and "
                "prefix, or this user may not read the records, as that of a monitor",
                duration(now - self._silent_since),
            )

    def _store(self, arrivals: list[Arrival], stop: Event) -> None:
        """Store a batch and acknowledge it, once the database takes it."""
        while not stop.is_set():
            if self._try(lambda: self.database.write(arrivals)):
                self.subscription.acknowledge(arrivals)
                return
            stop.wait(RETRY_SECONDS)

    def _try(self, action: Callable[[], None]) -> bool:
        """Do something with the database; return False if it is away."""
        try:
            action()
        except psycopg.errors.TransactionRollback:
            return self._try(action)  # a deadlock, which the other one survived
        except psycopg.Error as error:
            self.database.close()
            if not self._is_away:
                logger.warning(
                    "the database is away, nothing is acknowledged: %s; trying again",
                    first_line(error),
                )
            self._is_away = True
            return False
        if self._is_away:
            logger.info("the database is back")
            self._is_away = False
        return True

    def _look(self) -> None:
        connection = self.database.connection()
        since = time.monotonic() - SEEN_SECONDS
        self._last_seen = {
            name: at for name, at in self._last_seen.items() if at >= since
        }
        for wanted in look_for_missing(
            connection, self.ask_after, self._last_seen, self.most_asked
        ):
            payload = encode_wanted(wanted.epoch, wanted.ranges)
            self.subscription.send_wanted(wanted.monitor, payload)

    def _clean(self) -> None:
        """Drop what is older than records are kept."""
        remove_old(self.database.connection(), self.database.keep, datetime.now(UTC))


def remove_old(connection: psycopg.Connection, keep: Keep, now: datetime) -> None:
    """Drop the partitions, and delete the rows, that are older than `keep` says."""
    for table in PARTITIONED:
        # The day after the last that is kept may still be needed by a batch.
        drop_before(connection, table, keep.since(table, now) - timedelta(days=1))
    for statement in _OLD_ROWS:
        connection.execute(statement.encode(), [keep.since("", now)])
