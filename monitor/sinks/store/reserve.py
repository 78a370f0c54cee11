"""Space inside the database's own files, for what must be written to a full disk.

Another program that fills the disk cannot take it: free pages in the database, and a
write-ahead log that keeps its length and is written over from its beginning.
"""

import logging
import shutil
import sqlite3
from pathlib import Path

from monitor.sinks.store.database import transaction

logger = logging.getLogger(__name__)

RESERVE_BYTES = 2**20
"""Room for several hundred events with their alerts."""

ROOM_BYTES = 4 * 2**20
"""With less than this free, only what must be written is written."""


class Room:
    """Whether the disk has room for more than what must be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_there = True

    def look(self) -> bool:
        """Look at the disk, and say what has changed."""
        # Twice as much for the way back, or a disk at the edge would make many words.
        wanted = ROOM_BYTES if self._is_there else 2 * ROOM_BYTES
        room = self._free_bytes() >= wanted
        if room and not self._is_there:
            logger.warning("the disk of %s has room again", self._path)
        if not room and self._is_there:
            logger.warning(
                "the disk of %s is almost full: scores wait in memory, and onsets, "
                "events and alerts go into the space reserved for them",
                self._path,
            )
        self._is_there = room
        return room

    def _free_bytes(self) -> int:
        try:
            return shutil.disk_usage(self._path.parent).free
        except OSError:
            return 1 << 62  # who writes next finds out why


def is_reserved(path: Path) -> bool:
    """Whether the write-ahead log has its length."""
    try:
        return Path(f"{path}-wal").stat().st_size >= RESERVE_BYTES
    except OSError:
        return False


def reserve(connection: sqlite3.Connection) -> None:
    """Write zeros, and delete them again: their pages and the log stay behind.

    Raises:
        sqlite3.Error: They cannot be written.
    """
    # Two transactions: pages that one transaction takes and frees are never written.
    with transaction(connection):
        connection.execute("CREATE TABLE IF NOT EXISTS reserve (content BLOB)")
        connection.execute(
            "INSERT INTO reserve (content) VALUES (zeroblob(?))", (RESERVE_BYTES,)
        )
    with transaction(connection):
        connection.execute("DROP TABLE reserve")
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
