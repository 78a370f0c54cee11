"""Queries of the fleet's database, PostgreSQL, as its collector fills it.

Times are UTC.  Every query is bounded by days or by a number of rows, so that a page
costs the same in a large fleet as in a small one, but for one row a monitor.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, LiteralString

import psycopg
from psycopg.rows import dict_row

from monitor.clock import EARLIEST, LATEST
from monitor.errors import StoreError

Row = Mapping[str, Any]

SCHEMA_VERSION = 1
"""Version of the tables that these queries read."""

CLOCK_SECONDS = 2.0
"""A clock that is further off counts as wrong."""

PAGE_EVENTS = 50
MOST_LABELS = 600
"""More than the models know; the most frequent ones are shown."""

MOST_LEVEL_ROWS = 50_000
"""Minutes of one monitor and day, of all its sources, whose levels are read."""

LONGEST = timedelta(days=1)
"""Sounds that began longer ago than this, and still go on, are not looked for."""


@dataclass(frozen=True, slots=True)
class FleetFilters:
    """The events of a list; what is empty or None chooses all."""

    label: str = ""
    monitor: str = ""
    site: str = ""
    since: datetime | None = None
    until: datetime | None = None
    min_score: float | None = None


_EVENTS: LiteralString = """
SELECT monitor, id, label, source, started, ended, at, peak_score, laeq_db, end_reason,
    level_offset_db
FROM {table} AS each
WHERE at >= %(since)s AND at < %(until)s
    AND (%(before)s::timestamptz IS NULL OR (at, monitor, id)
        < (%(before)s::timestamptz, %(before_monitor)s::text, %(before_id)s::text))
    AND (%(label)s = '' OR label = %(label)s)
    AND (%(monitor)s = '' OR monitor = %(monitor)s)
    AND (%(site)s = '' OR monitor IN
        (SELECT monitor FROM monitors WHERE site = %(site)s))
    AND (%(min_score)s::double precision IS NULL OR peak_score >= %(min_score)s)
ORDER BY at DESC, monitor DESC, id DESC LIMIT %(limit)s
"""

_HOURS: LiteralString = """
SELECT label, extract(hour FROM started AT TIME ZONE %(zone)s)::integer AS hour,
    count(*) AS events, sum(greatest(0, extract(epoch FROM ended - started)))
        ::double precision AS seconds  -- after a step of the clock, an end is earlier
FROM events
WHERE at >= %(since)s AND at < %(until)s AND started IS NOT NULL
    AND (%(monitor)s = '' OR monitor = %(monitor)s)
    AND (%(site)s = '' OR monitor IN
        (SELECT monitor FROM monitors WHERE site = %(site)s))
GROUP BY 1, 2 ORDER BY events DESC LIMIT %(limit)s
"""

_BY_MONITOR: LiteralString = """
SELECT monitors.monitor, monitors.site,
    coalesce(detected.events, 0) AS events, detected.labels,
    coalesce(lost.seconds, 0) AS lost_seconds
FROM monitors
LEFT JOIN LATERAL (
    SELECT sum(count)::bigint AS events,
        (array_agg(label ORDER BY count DESC, label))[1:3] AS labels
    FROM (
        SELECT label, count(*) AS count FROM events
        WHERE at >= %(since)s AND at < %(until)s AND monitor = monitors.monitor
        GROUP BY label
    ) AS every
) AS detected ON true
LEFT JOIN LATERAL (
    SELECT sum(greatest(0, least(left_out_seconds, extract(epoch FROM
        least(ended, %(until)s) - greatest(started, %(since)s)))))::double precision
        AS seconds
    FROM gaps
    WHERE at >= %(since)s - interval '32 days' AND at < %(until)s
        AND ended > %(since)s AND monitor = monitors.monitor
) AS lost ON true
WHERE (%(monitor)s = '' OR monitors.monitor = %(monitor)s)
    AND (%(site)s = '' OR site = %(site)s)
ORDER BY events DESC, monitors.monitor
"""

_LEVELS: LiteralString = """
SELECT session, source, scores.started, ended, start_sample, window_samples,
    hop_samples, frames, format, data, sample_rate
FROM scores JOIN sessions USING (monitor, session)
WHERE monitor = %(monitor)s AND scores.at >= %(since)s AND scores.at < %(until)s
ORDER BY source, scores.started LIMIT %(limit)s
"""


def check_version(connection: psycopg.Connection[Any]) -> None:
    """Check that a database has the tables of this version.

    Raises:
        StoreError: It has not.
    """
    try:
        found = connection.execute("SELECT version FROM schema_version").fetchone()
    except psycopg.errors.UndefinedTable:
        found = None
    if found is None:
        raise StoreError(
            "the database holds no fleet yet: `sound-monitor collect` creates it"
        )
    if found[0] != SCHEMA_VERSION:
        raise StoreError(
            f"the fleet's database has version {found[0]}, this program has "
            f"{SCHEMA_VERSION}: a collector of the newer one updates it"
        )


def listened(monitors: Sequence[Row]) -> float | None:
    """Share of the last day that all sources together listened; None: unknown."""
    shares = [
        (max(1, it["sources"]), it["listened_24h"])
        for it in monitors
        if it["listened_24h"] is not None
    ]
    sources = sum(weight for weight, _ in shares)
    return sum(weight * share for weight, share in shares) / sources if shares else None


def deaf_since(monitors: Sequence[Row]) -> datetime | None:
    """Since when the first of them is deaf; None: all listen."""
    return min((it["deaf_since"] for it in monitors if it["deaf"]), default=None)


class FleetReader:
    """Reads the fleet's database.  Used by one thread."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        """Read by a connection, which stays open."""
        self._connection = connection

    def monitors(self, site: str = "") -> list[Row]:
        """Return the monitors, deaf ones first, those that are deaf longest."""
        return self._rows(
            "SELECT * FROM fleet WHERE %(site)s = '' OR site = %(site)s "
            "ORDER BY deaf IS NULL, deaf_since, monitor",
            site=site,
        )

    def sites(self) -> list[str]:
        """Return the names of all sites."""
        found = self._rows(
            "SELECT DISTINCT site FROM monitors WHERE site IS NOT NULL ORDER BY site"
        )
        return [row["site"] for row in found]

    def names(self) -> list[str]:
        """Return the ids of all monitors."""
        found = self._rows("SELECT monitor FROM monitors ORDER BY monitor")
        return [row["monitor"] for row in found]

    def labels(self, since: datetime) -> list[str]:
        """Return the labels of the events since then."""
        query: LiteralString = (
            "SELECT label FROM events WHERE at >= %(since)s "
            "GROUP BY label ORDER BY count(*) DESC, label LIMIT %(limit)s"
        )
        found = self._rows(query, since=since, limit=MOST_LABELS)
        return sorted(row["label"] for row in found)

    def events(
        self,
        filters: FleetFilters,
        before: tuple[datetime, str, str] | None,
        now: datetime,
    ) -> tuple[list[Row], bool]:
        """Return events, and sounds that go on, the newest first; and if more follow.

        Args:
            filters: The events of the list.
            before: Time, monitor and id of the event before which the list begins.
            now: The time now.
        """
        since, until = filters.since or EARLIEST, filters.until or LATEST
        if before is not None:  # so that later days are not looked at
            until = min(until, min(before[0], LATEST) + timedelta(microseconds=1))
        values = {
            "label": filters.label,
            "monitor": filters.monitor,
            "site": filters.site,
            "since": since,
            "until": until,
            "min_score": filters.min_score,
            "before": before and before[0],
            "before_monitor": before and before[1],
            "before_id": before and before[2],
            "limit": PAGE_EVENTS + 1,
        }
        # Each is cut on its own: the union of whole tables would be sorted.
        found = self._rows(_EVENTS.replace("{table}", "events"), **values)
        recent = {**values, "since": max(since, now - LONGEST)}
        found += self._rows(_EVENTS.replace("{table}", "going_on"), **recent)
        found.sort(key=lambda it: (it["at"], it["monitor"], it["id"]), reverse=True)
        return found[:PAGE_EVENTS], len(found) > PAGE_EVENTS

    def label_hours(
        self, since: datetime, until: datetime, monitor: str, site: str, zone: str
    ) -> list[Row]:
        """Return number and seconds of the events by label and hour of the place."""
        values = {"since": since, "until": until, "monitor": monitor, "site": site}
        return self._rows(_HOURS, **values, zone=zone, limit=24 * MOST_LABELS)

    def day_of_monitors(
        self, since: datetime, until: datetime, monitor: str, site: str
    ) -> list[Row]:
        """Return the number of events, the labels and the lost time by monitor."""
        return self._rows(
            _BY_MONITOR, since=since, until=until, monitor=monitor, site=site
        )

    def level_units(self, monitor: str) -> dict[str, str]:
        """Return the unit of the A-weighted levels now, by source of a monitor."""
        found = self._rows(
            "SELECT each ->> 'name' AS name, each ->> 'laeq_unit' AS unit "
            "FROM monitors, jsonb_array_elements(digest -> 'sources') AS each "
            "WHERE monitor = %(monitor)s AND each ->> 'laeq_unit' IS NOT NULL",
            monitor=monitor,
        )
        return {row["name"]: row["unit"] for row in found}

    def level_rows(
        self, since: datetime, until: datetime, monitor: str
    ) -> Iterator[Row]:
        """Return the rows of scores and levels of a monitor, a few at a time."""
        values = {"since": since, "until": until, "monitor": monitor}
        with self._connection.cursor("levels", row_factory=dict_row) as cursor:
            yield from cursor.execute(_LEVELS, {**values, "limit": MOST_LEVEL_ROWS})

    def event_counts(self, since: datetime) -> dict[str, int]:
        """Return the number of events since then by monitor."""
        query: LiteralString = (
            "SELECT monitor, count(*) AS events FROM events "
            "WHERE at >= %(since)s GROUP BY monitor"
        )
        return {row["monitor"]: row["events"] for row in self._rows(query, since=since)}

    def versions(self) -> list[Row]:
        """Return what runs where: version, model and bundle with their number."""
        return self._rows(
            "SELECT version, model, bundle, count(*) AS monitors, min(monitor) AS one "
            "FROM monitors GROUP BY version, model, bundle ORDER BY monitors DESC"
        )

    def missing(self, most: int = 100) -> list[Row]:
        """Return ranges of records that are missing, the newest first."""
        return self._rows(
            "SELECT monitor, epoch, first, last, since, asked, asked_at, given_up "
            "FROM missing JOIN epochs ON epochs.id = missing.epoch_id "
            "WHERE filled IS NULL ORDER BY since DESC, monitor, first LIMIT %(most)s",
            most=most,
        )

    def refused(self, most: int = 100) -> list[Row]:
        """Return the messages that were refused, by monitor and reason."""
        return self._rows(
            "SELECT * FROM refused ORDER BY last DESC, monitor, reason LIMIT %(most)s",
            most=most,
        )

    def facts(self) -> Row:
        """Return size and version of the database, and the newest arrival."""
        (row,) = self._rows(
            "SELECT pg_database_size(current_database()) AS bytes, "
            "current_setting('server_version') AS version, "
            "(SELECT max(last_seen) FROM epochs) AS last_seen"
        )
        return row

    def _rows(self, query: LiteralString, **values: object) -> list[Row]:
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return list(cursor.execute(query, values))
