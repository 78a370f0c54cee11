"""The connection of the one who writes: opened, kept at the path, mended."""

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from monitor.errors import StoreUnavailableError
from monitor.sinks.store.database import Database, is_damage, transaction
from monitor.sinks.store.lock import WriterLock
from monitor.sinks.store.ports import Clock
from monitor.sinks.store.reserve import is_reserved, reserve
from monitor.sinks.store.rows import to_ms
from monitor.sinks.store.session import Session, begin_session

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
