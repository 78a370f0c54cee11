"""What is too old, or too much, is deleted, a little at a time.

What the database needs now and then: old rows deleted, space kept in reserve.
"""

import logging
import sqlite3
from collections.abc import Iterator
from datetime import timedelta

from monitor.config.outputs import StoreSettings
from monitor.errors import StoreUnavailableError
from monitor.sinks.store.database import Room
from monitor.sinks.store.records import to_ms
from monitor.sinks.store.session import Clock
from monitor.sinks.store.writer import Writer

logger = logging.getLogger(__name__)


BITE_ROWS = 200
"""Rows of each table deleted in one transaction, so that none lasts long."""

BITE_PAGES = 500
"""Pages given back to the file system in one transaction; so many stay in reserve."""

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


class Retention:
    """Keeps the database within the settings.  Used by one thread.

    Age goes first.  If the rest is still too large, the oldest scores go, then the
    oldest events, gaps, troubles and alerts.  What is going on and alerts that are
    still to be delivered stay.
    """

    def __init__(self, settings: StoreSettings, bite_rows: int = BITE_ROWS) -> None:
        self._keep_ms = _milliseconds(settings.keep_days)
        self._keep_scores_ms = _milliseconds(settings.keep_scores_days)
        self._max_bytes = int(settings.max_mib * 2**20)
        self._bite_rows = bite_rows
        self._said_that_it_is_full = False

    def bite(self, connection: sqlite3.Connection, now_ms: int) -> bool:
        """Delete a little, inside a transaction; return whether there may be more."""
        return (
            self._delete_old(connection, now_ms)
            or self._delete_surplus(connection)
            or _shrink(connection)
        )

    def _delete_old(self, connection: sqlite3.Connection, now_ms: int) -> bool:
        deleted = 0
        for table in _DELETIONS:
            keep_ms = self._keep_scores_ms if table == "scores" else self._keep_ms
            deleted += self._delete(connection, table, now_ms - keep_ms)
        return deleted > 0

    def _delete_surplus(self, connection: sqlite3.Connection) -> bool:
        if used_bytes(connection) <= self._max_bytes:
            self._said_that_it_is_full = False
            return False
        if self._delete(connection, "scores", _EVER):
            return True
        rest = ("events", "gaps", "health", "alerts")
        if sum(self._delete(connection, table, _EVER) for table in rest):
            return True
        if not self._said_that_it_is_full:
            logger.warning(
                "the database is larger than store.max_mib, %.0f, and nothing in it "
                "may be deleted",
                self._max_bytes / 2**20,
            )
        self._said_that_it_is_full = True
        return False

    def _delete(self, connection: sqlite3.Connection, table: str, until: int) -> int:
        values = (until, self._bite_rows)
        return connection.execute(_DELETIONS[table], values).rowcount


def used_bytes(connection: sqlite3.Connection) -> int:
    """Size of the database without the pages that are free."""
    pages, free, size = _pragmas(
        connection, "page_count", "freelist_count", "page_size"
    )
    return (pages - free) * size


def _shrink(connection: sqlite3.Connection) -> bool:
    """Give free pages back to the file system; what comes next would need some."""
    free, pages = _pragmas(connection, "freelist_count", "page_count")
    if free <= max(BITE_PAGES, pages // 10):
        return False
    for _ in range(BITE_PAGES):
        # One page each: the module steps such a statement only once.
        connection.execute("PRAGMA incremental_vacuum(1)")
    return True


def _pragmas(connection: sqlite3.Connection, *names: str) -> Iterator[int]:
    for name in names:
        yield connection.execute(f"PRAGMA {name}").fetchone()[0]


def _milliseconds(days: float) -> int:
    return timedelta(days=days) // timedelta(milliseconds=1)


PATIENCE_SECONDS = 0.1
"""How long another writer is waited for: this can be done later."""

EVERY_SECONDS = 600.0
SOON_SECONDS = 1.0


class Upkeep:
    """Looks after the database every ten minutes, while there is more to do sooner."""

    def __init__(
        self, writer: Writer, settings: StoreSettings, room: Room, clock: Clock
    ) -> None:
        self._writer = writer
        self._retention = Retention(settings)
        self._room = room
        self._clock = clock
        self._due = clock.monotonic()

    def change(self, settings: StoreSettings) -> None:
        """Keep as much as other settings say, beginning soon."""
        self._retention = Retention(settings)
        self._due = self._clock.monotonic()

    def do_some(self) -> None:
        """Do a little if it is time; trouble is left to the next commit to tell."""
        now = self._clock.monotonic()
        if now < self._due:
            return
        self._due = now + EVERY_SECONDS
        now_ms = to_ms(self._clock.utc())
        try:
            is_more = self._writer.write(
                lambda connection, _: self._retention.bite(connection, now_ms),
                synced=False,
                patience_seconds=PATIENCE_SECONDS,
            )
            if self._room.look():
                self._writer.reserve()
        except StoreUnavailableError:
            return
        if is_more:
            self._due = now + SOON_SECONDS
