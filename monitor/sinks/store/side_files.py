"""The files beside the database: its lock, and its log as a reserve of space."""

import fcntl
import logging
import os
import shutil
import sqlite3
from pathlib import Path

from monitor.errors import StoreError
from monitor.private_files import FOLDER_MODE, open_private
from monitor.sinks.store.database import transaction

logger = logging.getLogger(__name__)

RESERVE_BYTES = 2**20
"""Space for several hundred events with their alerts."""

LOG_BYTES = 4 * RESERVE_BYTES
"""The write-ahead log is cut to this length when a reader that kept it from being begun
anew has gone."""

MIN_FREE_BYTES = 4 * 2**20
"""Free space below which scores are not written, only records and alerts."""

_SPACE_AGAIN = "the disk of %s has space again"
_ALMOST_FULL = (
    "the disk of %s is almost full: scores wait in memory, and onsets, events and "
    "alerts go into the space reserved for them"
)


class DiskReserve:
    """Space for what must be written, inside the database's own files.

    Another program that fills the disk cannot take it: free pages in the database, and
    a write-ahead log that keeps its length and is written over from its beginning.
    """

    def __init__(self, path: Path) -> None:
        """Take no space yet; `path` is that of the database."""
        self._path = path
        self._has_space = True

    def has_space(self) -> bool:
        """Return True if the disk has space for more than records and alerts.

        A change is logged.
        """
        # Twice as much on the way back, or a disk at the edge would fill the log.
        wanted = MIN_FREE_BYTES if self._has_space else 2 * MIN_FREE_BYTES
        has_space = self._free_bytes() >= wanted
        if has_space != self._has_space:
            logger.warning(_SPACE_AGAIN if has_space else _ALMOST_FULL, self._path)
        self._has_space = has_space
        return has_space

    @property
    def is_almost_full(self) -> bool:
        """True while scores are not written, or would not be now.  Any thread."""
        return not self._has_space or self._free_bytes() < MIN_FREE_BYTES

    @property
    def is_filled(self) -> bool:
        """True if the write-ahead log has its length."""
        try:
            return Path(f"{self._path}-wal").stat().st_size >= RESERVE_BYTES
        except OSError:
            return False

    @staticmethod
    def fill(connection: sqlite3.Connection) -> None:
        """Write zeros, and delete them again: their pages and the log stay behind.

        Raises:
            sqlite3.Error: They cannot be written.
        """
        # Two transactions: pages that one transaction takes and frees are not written.
        with transaction(connection):
            connection.execute("CREATE TABLE IF NOT EXISTS reserve (content BLOB)")
            connection.execute(
                "INSERT INTO reserve (content) VALUES (zeroblob(?))", (RESERVE_BYTES,)
            )
        with transaction(connection):
            connection.execute("DROP TABLE reserve")
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._path.parent).free
        except OSError:
            return 1 << 62  # the next write finds out why


class WriterLock:
    """Lock of the monitor that writes; released when its process ends in any way.

    Without it a second monitor would take the sounds that the first one is detecting
    for the remains of a crash.  Readers and the commands do not need it.
    """

    def __init__(self, database: Path) -> None:
        """Take nothing yet."""
        self._database = database
        self._path = Path(f"{database}.lock")
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock; once it is held, make its file anew if it was removed.

        Raises:
            StoreError: Another monitor holds it.
            OSError: The lock file cannot be created.
        """
        while not self._is_held():
            self._path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
            descriptor = open_private(self._path, os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if not isinstance(error, BlockingIOError):
                    raise
                raise StoreError(
                    f"database {self._database} is being written by another monitor; "
                    "give this one another state_dir or store.path"
                ) from None
            self.release()
            self._descriptor = descriptor

    def release(self) -> None:
        """Let another monitor write."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _is_held(self) -> bool:
        """Return True if the file at the path is the one that is locked."""
        try:
            return self._descriptor is not None and os.path.samestat(
                os.fstat(self._descriptor), self._path.stat()
            )
        except FileNotFoundError:
            return False
