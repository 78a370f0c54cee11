"""The part of the past that is asked for: days of a place, sources and labels."""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo

from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import to_ms

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

LONGEST_MS = 31 * 86_400_000
"""Events that began longer ago are not looked for: a day is found at once."""

_EVENTS = """
SELECT sources.name AS source, coalesce(reviews.label, events.label) AS name,
    start_ms AS start, max(coalesce(end_ms, :now), start_ms) AS stop, sequence,
    laeq_db, lafmax_db, level_offset_db
FROM events
JOIN sources ON sources.id = events.source
LEFT JOIN reviews ON reviews.event_id = events.id
WHERE start_ms IS NOT NULL AND at_ms < :until AND at_ms >= :since - :longest
    AND (at_ms >= :since OR end_ms > :since OR end_reason IS NULL)
    AND verdict IS NOT 'wrong'
    AND length(coalesce(reviews.label, events.label)) <= 200
    AND (:sources = '[]' OR sources.name IN (SELECT value FROM json_each(:sources)))
    AND (:labels = '[]' OR coalesce(reviews.label, events.label) IN
        (SELECT value FROM json_each(:labels)))
"""
"""Longer names are damage; see `records.LONGEST_NAME`."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Days of a place, with the sources and labels that are asked for."""

    first: date
    last: date
    """The last day, the same for a single one."""

    now: datetime
    """UTC; what goes on counts until then, and nothing is expected after it."""

    zone: tzinfo | None = None
    """Time zone of the days; None: local time."""

    sources: Sequence[str] = ()
    """None: all, as of the labels."""

    labels: Sequence[str] = ()
    silent: Mapping[str, datetime] | None = None
    """Sources without a sample now, and since when; None: no monitor is known to
    run."""

    @property
    def days(self) -> list[date]:
        """Each day."""
        return [self.first + number * DAY for number in range(self._count)]

    @property
    def _count(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def start(self) -> datetime:
        """Begin of the first day, UTC."""
        return begin_of(self.first, self.zone)

    @property
    def end(self) -> datetime:
        """End of the last day, UTC."""
        return begin_of(self.last + DAY, self.zone)

    @property
    def until(self) -> datetime:
        """End of the last day, or of the part of it that has passed; UTC."""
        return max(self.start, min(self.end, self.now))

    def has_source(self, source: str) -> bool:
        """Return True if a source is asked for."""
        return not self.sources or source in self.sources

    def events(
        self, reader: Reader, columns: str, more: str = "", **values: object
    ) -> sqlite3.Cursor:
        """Select columns of the events that overlap the days, with `more` clauses.

        Reviews are applied: one that a person has called wrong is left out, and one
        with another label counts for that.  Columns: source, name, start, stop,
        sequence, laeq_db, lafmax_db and level_offset_db; times in milliseconds.
        """
        values |= {
            "since": to_ms(self.start),
            "until": to_ms(self.end),
            "now": to_ms(self.now),
            "longest": LONGEST_MS,
            "sources": json.dumps(list(self.sources)),
            "labels": json.dumps(list(self.labels)),
        }
        # Columns and clauses are ours; values of users are bound.
        return reader.execute(f"SELECT {columns} FROM ({_EVENTS}) {more}", values)


def hours_of(day: date, zone: tzinfo | None = None) -> list[tuple[datetime, int]]:
    """Return the hours of a day in order: begin, UTC, and hour of the place.

    There are 23 or 25 where the clocks change; `zone` None is local time.
    """
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    starts = (noon + number * HOUR for number in range(-28, 40))
    middles = ((start, (start + HOUR / 2).astimezone(zone)) for start in starts)
    return [(start, middle.hour) for start, middle in middles if middle.date() == day]


def begin_of(day: date, zone: tzinfo | None = None) -> datetime:
    """Return the begin of a day, UTC; `zone` None is local time."""
    # In UTC, because the difference of two times in one zone ignores clock changes.
    return datetime.combine(day, time(), zone).astimezone(UTC)
