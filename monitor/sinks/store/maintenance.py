"""Maintenance: deletes old rows a little at a time, and fills the disk reserve."""

import logging
import sqlite3
from collections import Counter
from datetime import timedelta

from monitor.clock import DOUBTED_SECONDS, Clock, WallClockCheck
from monitor.config.outputs import StoreSettings
from monitor.errors import StoreUnavailableError
from monitor.sinks.store.records import from_ms, to_ms
from monitor.sinks.store.writer import Writer
from monitor.text import duration

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
LOG_SECONDS = 86_400.0
"""Time from a log line about deleted rows to the next."""

_DELETIONS = {
    "scores": "DELETE FROM scores WHERE id IN "
    "(SELECT id FROM scores WHERE start_ms < ? ORDER BY start_ms LIMIT ?)",
    "embeddings": "DELETE FROM embeddings WHERE id IN "
    "(SELECT id FROM embeddings WHERE start_ms < ? ORDER BY start_ms LIMIT ?)",
    "events": "DELETE FROM events WHERE sequence IN "
    "(SELECT sequence FROM events WHERE at_ms < ? AND end_reason IS NOT NULL "
    "AND id NOT IN (SELECT event_id FROM reviews WHERE locked) "
    "ORDER BY at_ms LIMIT ?)",
    "gaps": "DELETE FROM gaps WHERE sequence IN "
    "(SELECT sequence FROM gaps WHERE at_ms < ? ORDER BY at_ms LIMIT ?)",
    "health": "DELETE FROM health WHERE sequence IN "
    "(SELECT sequence FROM health WHERE at_ms < ? AND state = 'cleared' "
    "ORDER BY at_ms LIMIT ?)",
    "level_hours": "DELETE FROM level_hours WHERE id IN "
    "(SELECT id FROM level_hours WHERE hour_ms < ? ORDER BY hour_ms LIMIT ?)",
    "alerts": "DELETE FROM alerts WHERE sequence IN "
    "(SELECT sequence FROM alerts WHERE created_ms < ? AND state != 'pending' "
    "ORDER BY created_ms LIMIT ?)",
    # What was not published before its row went is published as deleted, and after
    # keep_days as deleted without its type.
    "published scores": "DELETE FROM outgoing WHERE sequence IN "
    "(SELECT sequence FROM outgoing WHERE type IN ('scores', 'digest') AND at_ms < ? "
    "AND sequence <= (SELECT acknowledged FROM publishing) LIMIT ?)",
    "published records": "DELETE FROM outgoing WHERE sequence IN "
    "(SELECT sequence FROM outgoing WHERE at_ms < ? ORDER BY sequence LIMIT ?)",
}
_EVER = 1 << 62

_FRAMES = ("scores", "embeddings")
"""Tables of large rows, about a minute each."""

_OLDEST_FRAMES = """
SELECT start_ms FROM (
    SELECT start_ms FROM scores UNION ALL SELECT start_ms FROM embeddings
) ORDER BY start_ms LIMIT 1 OFFSET ?
"""

ORPHAN_DAYS = 7
"""Days after its deadline in which a sender would have taken an alert."""

_EXPIRY = (
    "UPDATE alerts SET state = 'dead', "
    "last_error = 'its endpoint is not configured any more' "
    "WHERE state = 'pending' AND deadline_ms < ?"
)

_NEWEST = """
SELECT max(ms) FROM (
    SELECT max(start_ms) AS ms FROM scores WHERE start_ms <= ?1
    UNION ALL SELECT max(at_ms) FROM events WHERE at_ms <= ?1
    UNION ALL SELECT max(at_ms) FROM gaps WHERE at_ms <= ?1
    UNION ALL SELECT max(started_ms) FROM sessions WHERE started_ms <= ?1
    UNION ALL SELECT max(ended_ms) FROM sessions WHERE ended_ms <= ?1
)
"""
"""Time of the newest record up to a time."""


class Maintenance:
    """Keeps the database within the settings.  Used by one thread.

    Every ten minutes, and every second while there is more to do, it deletes a little.
    Age goes first, once the wall clock is believed: see `WallClockCheck`.  If the rest
    is still too large, the oldest scores and embeddings go, then the oldest events,
    gaps, health problems and alerts, and the levels of hours, a row of less than 1 KB
    each, when nothing else is left.  Events and problems that are going on, events
    that are locked and alerts that are pending stay; a week after its deadline no alert
    is pending any more.  What was deleted is logged, at most once a day.
    """

    def __init__(self, writer: Writer, settings: StoreSettings, clock: Clock) -> None:
        """Prepare; the first run is due at once."""
        self._writer = writer
        self._clock = clock
        self._is_full_logged = False
        self._settings = settings
        self._due = clock.monotonic()
        self._wall_clock = WallClockCheck(clock)
        self._has_looked_for_newest = False
        self._deleted: Counter[str] = Counter()
        """Rows that were deleted since the last log line, by table and reason."""

        self._log_due = clock.monotonic()

    def take_over(self, before: "Maintenance") -> None:
        """Know the clock as `before` does, which has kept this database until now."""
        self._wall_clock = before._wall_clock
        self._has_looked_for_newest = before._has_looked_for_newest

    def run_if_due(self) -> None:
        """Do a little if it is time; the next commit reports an error."""
        now = self._clock.monotonic()
        if now < self._due:
            return
        self._due = now + INTERVAL_SECONDS
        try:
            is_more, deleted = self._writer.write(
                lambda connection, _: self._delete_some(connection),
                synced=False,
                lock_seconds=LOCK_SECONDS,
            )
            self._writer.fill_reserve()
        except StoreUnavailableError:
            return
        self._deleted += deleted
        if is_more:
            self._due = now + BUSY_INTERVAL_SECONDS
        elif self._deleted and now >= self._log_due:
            self._log_due = now + LOG_SECONDS
            rows = (f"{n} of {what}" for what, n in sorted(self._deleted.items()))
            logger.info("deleted rows of the database: %s", "; ".join(rows))
            self._deleted.clear()

    def _delete_some(self, connection: sqlite3.Connection) -> tuple[bool, Counter[str]]:
        """Delete a little, inside a transaction.

        Returns:
            Whether there may be more, and the rows that are deleted.
        """
        is_believed = self._is_believed(connection)
        deleted = self._delete_old(connection) if is_believed else Counter[str]()
        deleted = deleted or self._delete_surplus(connection)
        return bool(deleted) or _shrink(connection), deleted

    def _is_believed(self, connection: sqlite3.Connection) -> bool:
        check = self._wall_clock
        if not self._has_looked_for_newest:
            self._has_looked_for_newest = True
            until_ms = to_ms(check.doubted_since)
            (newest_ms,) = connection.execute(_NEWEST, (until_ms,)).fetchone()
            # A damaged time may lie before every calendar.
            newest = None if newest_ms is None else from_ms(max(0, newest_ms))
            check.note_newest(newest)
            if check.is_leap:
                logger.warning(
                    "by the clock, nothing was recorded for %.0f days: the monitor was "
                    "off for so long, or the clock is wrong; no record is deleted "
                    "because of its age until the clock has run for %.0f hours without "
                    "being set",
                    check.leap / timedelta(days=1),
                    DOUBTED_SECONDS / 3600,
                )
        leap = check.leap
        is_believed = check.is_believed()
        if check.leap != leap:
            step = (check.leap - leap).total_seconds()
            direction = "forward" if step > 0 else "back"
            logger.warning("the clock was set %s by %s", direction, duration(abs(step)))
        return is_believed

    def _delete_old(self, connection: sqlite3.Connection) -> Counter[str]:
        now_ms = to_ms(self._clock.utc())
        deleted: Counter[str] = Counter()
        connection.execute(_EXPIRY, (now_ms - ORPHAN_DAYS * DAY_MS,))
        for table in _DELETIONS:
            is_short = table in (*_FRAMES, "published scores")
            key = "keep_scores_days" if is_short else "keep_days"
            # In milliseconds, for a date may lie before the calendar begins.
            keep_ms = round(getattr(self._settings, key) * DAY_MS)
            reason = f"{table} (older than store.{key}, {keep_ms / DAY_MS:g})"
            deleted[reason] += _delete(connection, table, now_ms - keep_ms)
        return +deleted

    def _delete_surplus(self, connection: sqlite3.Connection) -> Counter[str]:
        used_pages = _pragma(connection, "page_count") - _free_pages(connection)
        used_mib = used_pages * _pragma(connection, "page_size") / 2**20
        most_mib = self._settings.max_mib
        deleted: Counter[str] = Counter()
        if used_mib <= most_mib:
            self._is_full_logged = False
            return deleted
        groups = {
            _FRAMES: _end_of_oldest_frames(connection),
            ("events", "gaps", "health", "alerts"): _EVER,
            ("level_hours", "published records"): _EVER,
        }
        for tables, until_ms in groups.items():
            for table in tables:
                reason = f"{table} (the oldest, above store.max_mib, {most_mib:g})"
                deleted[reason] += _delete(connection, table, until_ms)
            if deleted := +deleted:
                return deleted
        if not self._is_full_logged:
            logger.warning(
                "the database is larger than store.max_mib, %.0f, and nothing in it "
                "may be deleted",
                self._settings.max_mib,
            )
        self._is_full_logged = True
        return deleted


def _delete(connection: sqlite3.Connection, table: str, until_ms: int) -> int:
    return connection.execute(_DELETIONS[table], (until_ms, MAX_ROWS)).rowcount


def _end_of_oldest_frames(connection: sqlite3.Connection) -> int:
    """Return the time before which there are few rows of frames, in all tables.

    All are kept equally long, although embeddings may have been switched on later.
    """
    row = connection.execute(_OLDEST_FRAMES, (MAX_ROWS - 1,)).fetchone()
    return _EVER if row is None else int(row[0]) + 1


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
