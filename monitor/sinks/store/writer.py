"""The writing connection, and the records that wait for it."""

import contextlib
import logging
import sqlite3
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from monitor.clock import Clock
from monitor.errors import StoreBusyError, StoreUnavailableError
from monitor.records import Timed
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.outbox import write_alerts
from monitor.sinks.store.database import Database, PathConnection, transaction
from monitor.sinks.store.outgoing import follow_publishing
from monitor.sinks.store.records import Session, begin_session, to_ms, write_record
from monitor.sinks.store.salvage import is_damage, is_read_only
from monitor.sinks.store.side_files import LOG_BYTES, DiskReserve, WriterLock

logger = logging.getLogger(__name__)

T = TypeVar("T")

LOCK_SECONDS = 1.0
"""Longest wait for another writer, such as a command: the analysis waits with it."""

FAILING_LOCK_SECONDS = 0.1
"""Longest wait after a try that failed, and of a command, which can try again."""

FINAL_LOCK_SECONDS = 3.0
"""Longest wait at the end of the run."""

FIRST_RETRY_SECONDS = 1.0
LAST_RETRY_SECONDS = 15.0
"""Bounds of the pause between tries, each of which writes all waiting records."""


class Writer:
    """Runs transactions on the database at the path.  Used by one thread at a time.

    A file that was moved away or deleted is followed by a new one at the path; one that
    turns out to be damaged is set aside.
    """

    def __init__(self, path: Path, session: Session, clock: Clock) -> None:
        """Open nothing yet; `session` is the run that writes."""
        self.database = Database(path, clock.utc)
        self.disk = DiskReserve(path)
        self._session = session
        self._clock = clock
        self._lock = WriterLock(path)
        self._connection = PathConnection(self.database)
        self._session_key = 0
        self._may_be_damage = True
        """A wrong statement is the sign of a damaged schema, but not a second time."""

    def write(
        self,
        work: Callable[[sqlite3.Connection, int], T],
        *,
        synced: bool,
        lock_seconds: float = LOCK_SECONDS,
    ) -> T:
        """Run `work(connection, key of the session)` as one transaction.

        If `synced`, it is on the disk when this returns.  It is run again in a new
        database if this one turns out to be damaged.

        Raises:
            StoreError: Another monitor writes to it, or a newer version wrote it.
            StoreUnavailableError: It cannot be written now; nothing of it is.
        """
        with self._unavailable_on_error():
            try:
                return self._write(work, synced, lock_seconds)
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
                if not is_damage(error):
                    if not (_is_of_schema(error) and self._may_be_damage):
                        raise
                    self._may_be_damage = False
                self.set_aside(error)
                return self._write(work, synced, lock_seconds)

    def set_aside(self, error: Exception) -> None:
        """Set the file aside, at which a reader failed; see `Database.set_aside`.

        Raises:
            StoreUnavailableError: It cannot be done now.
        """
        self.disconnect()
        self.database.set_aside(error)

    def fill_reserve(self) -> None:
        """Reserve space for records and alerts, while the disk has some.

        Raises:
            StoreError: As `write`.
        """
        if self.disk.has_space() and not self.disk.is_filled:
            with self._unavailable_on_error():
                self.disk.fill(self._connected())

    def hold_lock(self) -> None:
        """Keep other monitors out, even if the lock file was removed by hand.

        Raises:
            StoreError: Another monitor writes to the database.
        """
        with contextlib.suppress(StoreUnavailableError), self._unavailable_on_error():
            self._lock.acquire()

    def disconnect(self) -> None:
        """Close the connection; the next `write` opens the file at the path."""
        self._connection.close()

    def close(self) -> None:
        """Close the connection, and let another monitor write."""
        self.disconnect()
        self._lock.release()

    def _write(
        self,
        work: Callable[[sqlite3.Connection, int], T],
        synced: bool,
        lock_seconds: float,
    ) -> T:
        connection = self._connected()
        connection.execute(f"PRAGMA busy_timeout = {round(1000 * lock_seconds)}")
        connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES}")
        with transaction(connection):
            key = self._session_key
            if not key:
                now_ms = to_ms(self._clock.utc())
                key = begin_session(connection, self._session, now_ms)
                follow_publishing(connection, key, self._session.published, now_ms)
            result = work(connection, key)
        self._session_key = key
        return result

    def _connected(self) -> sqlite3.Connection:
        if not self._connection.is_at_path:
            self._session_key = 0
            # First the lock: two monitors must not set aside one damaged file.
            self._lock.acquire()
            self.database.prepare()
        return self._connection.get()

    @contextlib.contextmanager
    def _unavailable_on_error(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.OperationalError, OSError) as error:
            if is_read_only(error):
                self.disconnect()
            code = getattr(error, "sqlite_errorcode", 0) & 0xFF
            is_busy = code == sqlite3.SQLITE_BUSY
            raise (StoreBusyError if is_busy else StoreUnavailableError)(
                f"database {self.database.path} cannot be written: {error}"
            ) from None


def _is_of_schema(error: Exception) -> bool:
    """Return True if a statement was wrong: none is, for a schema that is whole."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR


class RetryTimer:
    """Decides when the database is tried again.  Times are passed in."""

    def __init__(self) -> None:
        self.is_failing = False
        """True if the latest try failed."""

        self._retry_at = 0.0
        self._retry_seconds = FIRST_RETRY_SECONDS

    def lock_seconds(self, *, ends: bool = False) -> float:
        """Return the longest wait for another writer; `ends`: at the end of the run."""
        if ends:
            return FINAL_LOCK_SECONDS
        return FAILING_LOCK_SECONDS if self.is_failing else LOCK_SECONDS

    def is_due(self, now: float, *, is_wanted: bool) -> bool:
        """Return True if wanted or, after a failure, if it is time to try again."""
        return now >= self._retry_at if self.is_failing else is_wanted

    def succeed(self) -> None:
        """Count a success."""
        self.is_failing = False
        self._retry_seconds = FIRST_RETRY_SECONDS

    def fail(self, now: float) -> None:
        """Count a failure; the pause before the next try grows."""
        self.is_failing = True
        self._retry_at = now + self._retry_seconds
        self._retry_seconds = min(2 * self._retry_seconds, LAST_RETRY_SECONDS)


class Backlog:
    """Records and alerts that are not committed yet, the oldest first."""

    def __init__(self, capacity: int) -> None:
        """Begin empty; records and alerts may be up to `capacity` each."""
        self.records: deque[tuple[Timed, int]] = deque()
        """Records with their time of arrival, milliseconds UTC."""

        self.alerts: deque[Alert] = deque()
        self.capacity = capacity
        self.lost = 0
        """Dropped since the last `clear`."""

    def __bool__(self) -> bool:
        return bool(self.records or self.alerts)

    def add_first(self, batch: Sequence[Timed], received_ms: int) -> None:
        """Put records before all others, for they are older."""
        self.records.extendleft((timed, received_ms) for timed in reversed(batch))

    def write(self, connection: sqlite3.Connection, session: int) -> None:
        """Store everything inside a transaction; then `clear`, if it was committed.

        A record whose row has been damaged is left out.
        """
        for timed, received_ms in self.records:
            try:
                write_record(connection, session, timed, received_ms)
            except sqlite3.IntegrityError as error:
                logger.error("a record of %s is lost: %s", timed.record.source, error)
        write_alerts(connection, self.alerts)

    def clear(self) -> None:
        """Begin anew: everything is stored."""
        self.records.clear()
        self.alerts.clear()
        self.lost = 0

    def drop_oldest(self) -> None:
        """Drop what is beyond the capacity; log it the first time."""
        excess = 0
        for pending in (self.records, self.alerts):
            while len(pending) > self.capacity:
                pending.popleft()
                excess += 1
        if excess and not self.lost:
            logger.error(
                "memory for %d records that cannot be stored is full: the oldest are "
                "lost",
                self.capacity,
            )
        self.lost += excess
