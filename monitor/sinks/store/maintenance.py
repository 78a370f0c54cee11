"""Maintenance: deletes old rows a little at a time, and fills the disk reserve."""

import logging
import sqlite3

from monitor.clock import Clock
from monitor.config.outputs import StoreSettings
from monitor.errors import StoreUnavailableError
from monitor.sinks.store.records import to_ms
from monitor.sinks.store.writer import Writer

logger = logging.getLogger(__name__)

MAX_ROWS = 200
"""Rows of each table deleted in one transaction, so that none lasts long."""

MAX_PAGES = 500
"""Pages given back to the file system in one transaction; so many stay free."""

LOCK_SECONDS = 0.1
"""Longest wait for another writer: maintenance can be done later."""

DAY_MS = 86_400_000
INTERVAL_SECONDS = 600.0
BUSY_INTERVAL_SECONDS = 1.0

_DELETIONS = {
    "scores": "DELETE FROM scores WHERE id IN "
    "(SELECT id FROM scores WHERE start_ms < ? ORDER BY start_ms LIMIT ?)",
    "events": "DELETE FROM events WHERE sequence IN "
    "(SELECT sequence FROM events WHERE at_ms < ? AND end_reason IS NOT NULL "
    "ORDER BY at_ms LIMIT ?)",
    "gaps": "DELETE FROM gaps WHERE sequence IN "
    "(SELECT sequence FROM gaps WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
    "health": "DELETE FROM health WHERE sequence IN "
    "(SELECT sequence FROM health WHERE at_ms < ? AND state = 'cleared' "
    "ORDER BY at_ms LIMIT ?)",
    "alerts": "DELETE FROM alerts WHERE sequence IN "
    "(SELECT sequence FROM alerts WHERE created_ms < ? AND state != 'pending' "
    "ORDER BY created_ms LIMIT ?)",
}
_EVER = 1 << 62


class Maintenance:
    """Keeps the database within the settings.  Used by one thread.

    Every ten minutes, and every second while there is more to do, it deletes a little.
    Age goes first.  If the rest is still too large, the oldest scores go, then the
    oldest events, gaps, health problems and alerts.  Events and problems that are going
    on and alerts that are pending stay.
    """

    def __init__(self, writer: Writer, settings: StoreSettings, clock: Clock) -> None:
        """Prepare; the first run is due at once."""
        self._writer = writer
        self._clock = clock
        self._is_full_logged = False
        self._settings = settings
        self._due = clock.monotonic()

    def run_if_due(self) -> None:
        """Do a little if it is time; the next commit reports an error."""
        now = self._clock.monotonic()
        if now < self._due:
            return
        self._due = now + INTERVAL_SECONDS
        try:
            is_more = self._writer.write(
                lambda connection, _: self._delete_some(connection),
                synced=False,
                lock_seconds=LOCK_SECONDS,
            )
            self._writer.fill_reserve()
        except StoreUnavailableError:
            return
        if is_more:
            self._due = now + BUSY_INTERVAL_SECONDS

    def _delete_some(self, connection: sqlite3.Connection) -> bool:
        """Delete a little, inside a transaction; return whether there may be more."""
        return (
            self._delete_old(connection)
            or self._delete_surplus(connection)
            or _shrink(connection)
        )

    def _delete_old(self, connection: sqlite3.Connection) -> bool:
        now_ms = to_ms(self._clock.utc())
        deleted = 0
        for table in _DELETIONS:
            key = "keep_scores_days" if table == "scores" else "keep_days"
            # In milliseconds, for a date may lie before the calendar begins.
            keep_ms = round(getattr(self._settings, key) * DAY_MS)
            deleted += _delete(connection, table, now_ms - keep_ms)
        return deleted > 0

    def _delete_surplus(self, connection: sqlite3.Connection) -> bool:
        used_pages = _pragma(connection, "page_count") - _free_pages(connection)
        used_mib = used_pages * _pragma(connection, "page_size") / 2**20
        if used_mib <= self._settings.max_mib:
            self._is_full_logged = False
            return False
        for tables in (["scores"], ["events", "gaps", "health", "alerts"]):
            if sum(_delete(connection, table, _EVER) for table in tables):
                return True
        if not self._is_full_logged:
            logger.warning(
                "the database is larger than store.max_mib, %.0f, and nothing in it "
                "may be deleted",
                self._settings.max_mib,
            )
        self._is_full_logged = True
        return False


def _delete(connection: sqlite3.Connection, table: str, until_ms: int) -> int:
    return connection.execute(_DELETIONS[table], (until_ms, MAX_ROWS)).rowcount


def _shrink(connection: sqlite3.Connection) -> bool:
    """Give free pages back to the file system; the next rows would need some."""
    if _free_pages(connection) <= max(
        MAX_PAGES, _pragma(connection, "page_count") // 10
    ):
        return False
    for _ in range(MAX_PAGES):
        # One page each: the module steps such a statement only once.
        connection.execute("PRAGMA incremental_vacuum(1)")
    return True


def _free_pages(connection: sqlite3.Connection) -> int:
    return _pragma(connection, "freelist_count")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
