"""The connection of the one who writes: opened, kept at the path, mended.

How long the store waits for a database, and when it tries again.

What is still to be stored: at most so much of it.
"""

import contextlib
import logging
import os
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from monitor.errors import StoreUnavailableError
from monitor.records import Gap, Health, Timed
from monitor.sinks.store.database import (
    Database,
    WriterLock,
    is_damage,
    is_reserved,
    reserve,
    transaction,
)
from monitor.sinks.store.records import to_ms, write_gap, write_health, write_occurrence
from monitor.sinks.store.session import (
    AlertLike,
    Clock,
    Session,
    begin_session,
    write_alerts,
)

logger = logging.getLogger(__name__)


T = TypeVar("T")

PATIENCE_SECONDS = 5.0


class Writer:
    """Runs transactions on the database at the path.  Used by one thread at a time.

    A file that was moved away or deleted is followed by a new one at the path; one that
    turns out to be damaged is set aside.
    """

    def __init__(self, path: Path, session: Session, clock: Clock) -> None:
        self.database = Database(path, clock.utc)
        self._session = session
        self._clock = clock
        self._lock = WriterLock(path)
        self._connection: sqlite3.Connection | None = None
        self._session_key = 0
        self._file: os.stat_result | None = None

    def write(
        self,
        work: Callable[[sqlite3.Connection, int], T],
        *,
        synced: bool,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> T:
        """Run `work(connection, key of the session)` as one transaction.

        It is run again in a new database if this one turns out to be damaged.

        Args:
            work: Changes the database.
            synced: Whether it must be on the disk when this returns.
            patience_seconds: How long another writer, such as a command, is waited
                for.

        Raises:
            StoreError: Another monitor writes to it, or a newer version wrote it.
            StoreUnavailableError: It cannot be written now; nothing of it is.
        """
        try:
            return self._write(work, synced=synced, patience_seconds=patience_seconds)
        except sqlite3.OperationalError as error:
            raise self._unavailable(error) from None
        except sqlite3.DatabaseError as error:
            if not is_damage(error):
                raise
            self.disconnect()
            self.database.set_aside(str(error))
        try:
            return self._write(work, synced=synced, patience_seconds=patience_seconds)
        except sqlite3.OperationalError as error:
            raise self._unavailable(error) from None

    def begin(self, session: Session) -> None:
        """Go on as another session, whose row the next `write` makes."""
        self._session = session
        self._session_key = 0

    def reserve(self) -> None:
        """See that what must be written can be, when the disk is full later.

        Raises:
            StoreError: As `write`.
        """
        if is_reserved(self.database.path):
            return
        try:
            reserve(self._connected())
        except sqlite3.OperationalError as error:
            raise self._unavailable(error) from None

    def disconnect(self) -> None:
        """Close the connection; the next `write` opens the file at the path."""
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
        self._connection = None

    def close(self) -> None:
        """Close the connection, and let another monitor write."""
        self.disconnect()
        self._lock.release()

    def _write(
        self,
        work: Callable[[sqlite3.Connection, int], T],
        *,
        synced: bool,
        patience_seconds: float,
    ) -> T:
        connection = self._connected()
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * patience_seconds)}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
        with transaction(connection):
            if not self._session_key:
                now_ms = to_ms(self._clock.utc())
                self._session_key = begin_session(connection, self._session, now_ms)
            return work(connection, self._session_key)

    def _connected(self) -> sqlite3.Connection:
        """The connection to the file that stands at the path now."""
        if self._connection is not None and not self._is_at_path():
            self.disconnect()
        if self._connection is None:
            self._session_key = 0
            self.database.prepare()
            self._lock_it()
            self._connection = self.database.connect()
            self._file = self.database.path.stat()
        return self._connection

    def _lock_it(self) -> None:
        try:
            self._lock.acquire()
        except OSError as error:
            raise self._unavailable(error) from None

    def _is_at_path(self) -> bool:
        try:
            now = self.database.path.stat()
        except OSError:
            return False
        return self._file is not None and os.path.samestat(now, self._file)

    def _unavailable(self, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(
            f"database {self.database.path} cannot be written: {error}"
        )


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
