"""The calendar of sounds: how many events of each label, and how long, hour by hour.

An event counts in the hour in which it began, and its seconds in those in which it
sounded.  One that a person has called wrong is left out, and one with another label
counts for that.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from functools import cache
from typing import NamedTuple

from monitor.sinks.store.level_figures import begin_of
from monitor.sinks.store.level_hours import HOUR_MS
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import from_ms, to_ms

QUARTER_MS = 900_000
"""The offsets of time zones are whole quarters of an hour."""

LONGEST_MS = 31 * 86_400_000
"""Events that began longer ago are not looked for: a day is found at once."""

REVIEWED_EVENTS = """
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
"""
"""The events that overlap a time range, with their reviews applied.

Longer names are damage; see `records.LONGEST_NAME`.

Parameters: since, until, now and longest, in milliseconds.
"""

Cell = tuple[date, int]
"""A day, and an hour of the place."""


class Bucket(NamedTuple):
    """The events of a label that began in a bucket of time."""

    label: str
    start_ms: int
    """Begin of the first."""

    stop_ms: int
    """End of the last."""

    events: int
    total_ms: int


@dataclass(slots=True)
class EventTotals:
    """Number and duration of events."""

    events: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class LabelCalendar:
    """When a label was heard."""

    label: str
    total: EventTotals = field(default_factory=EventTotals)
    first: datetime | None = None
    """Begin of the first event, UTC."""

    last: datetime | None = None
    """End of the last event, or of what is known of it, UTC."""

    cells: dict[Cell, EventTotals] = field(
        default_factory=lambda: defaultdict(EventTotals)
    )
    """By day and hour; nothing where it was not heard."""

    def of_day(self, day: date) -> EventTotals:
        """Sum up a day."""
        cells = [cell for (each, _), cell in self.cells.items() if each == day]
        return _sum(cells)

    def of_hour(self, hour: int) -> EventTotals:
        """Sum up an hour of the day over all days."""
        cells = [cell for (_, each), cell in self.cells.items() if each == hour]
        return _sum(cells)


def sound_calendar(
    reader: Reader,
    first: date,
    last: date,
    now: datetime,
    zone: tzinfo | None = None,
    *,
    labels: Sequence[str] = (),
    sources: Sequence[str] = (),
) -> list[LabelCalendar]:
    """Return the calendars of the labels heard from a day to another, longest first.

    Args:
        reader: The database.
        first: First day, in `zone`.
        last: Last day, the same for a single one.
        now: UTC; what goes on is counted until then.
        zone: Time zone of the days; None: local time.
        labels: Only these; none: all.
        sources: Only these; none: all.
    """
    since, until = begin_of(first, zone), begin_of(last + timedelta(days=1), zone)
    found: dict[str, LabelCalendar] = {}

    @cache
    def cell_of(start_ms: int) -> Cell:
        local = from_ms(start_ms).astimezone(zone)
        return local.date(), local.hour

    bounds = (to_ms(since), to_ms(until))
    step_ms = _step_ms(since, until, zone)
    for bucket in reader.event_buckets(since, until, now, step_ms, sources=sources):
        if labels and bucket.label not in labels:
            continue
        calendar = found.setdefault(bucket.label, LabelCalendar(bucket.label))
        _add(calendar, bucket, bounds, step_ms, cell_of)
    return sorted(found.values(), key=lambda each: -each.total.seconds)


def read_buckets(
    connection: sqlite3.Connection,
    since: datetime,
    until: datetime,
    now: datetime,
    bucket_ms: int,
    sources: Sequence[str],
) -> list[Bucket]:
    """Return the events that overlap a time range, joined by label and bucket.

    One that reaches beyond the bucket in which it began stands alone.
    """
    values: dict[str, object] = {
        "since": to_ms(since),
        "until": to_ms(until),
        "now": to_ms(now),
        "bucket": bucket_ms,
        "longest": LONGEST_MS,
    }
    condition = ""
    if sources:
        values |= {f"source{at}": source for at, source in enumerate(sources)}
        places = ", ".join(f":source{at}" for at in range(len(sources)))
        condition = f"AND sources.name IN ({places})"
    rows = connection.execute(
        "SELECT name, min(start), max(stop), count(*), sum(stop - start) "  # noqa: S608
        f"FROM ({REVIEWED_EVENTS}{condition}) GROUP BY name, start / :bucket, "
        "CASE WHEN start < :since OR (stop - 1) / :bucket > start / :bucket "
        "THEN sequence END",
        values,
    )
    return [Bucket(*row) for row in rows]


def _add(
    calendar: LabelCalendar,
    bucket: Bucket,
    bounds: tuple[int, int],
    step_ms: int,
    cell_of: Callable[[int], Cell],
) -> None:
    start_ms, stop_ms = max(bucket.start_ms, bounds[0]), min(bucket.stop_ms, bounds[1])
    first, last = from_ms(start_ms), from_ms(stop_ms)
    calendar.first = first if calendar.first is None else min(first, calendar.first)
    calendar.last = last if calendar.last is None else max(last, calendar.last)
    if bucket.start_ms >= bounds[0]:
        calendar.cells[cell_of(start_ms - start_ms % step_ms)].events += bucket.events
        calendar.total.events += bucket.events
    total_ms = bucket.total_ms if bucket.events > 1 else stop_ms - start_ms
    calendar.total.seconds += total_ms / 1000
    while True:
        step_start_ms = start_ms - start_ms % step_ms
        end_ms = min(step_start_ms + step_ms, stop_ms)
        part_ms = total_ms if end_ms == stop_ms else end_ms - start_ms
        calendar.cells[cell_of(step_start_ms)].seconds += part_ms / 1000
        if end_ms == stop_ms:
            return
        total_ms -= part_ms
        start_ms = end_ms


def _step_ms(since: datetime, until: datetime, zone: tzinfo | None) -> int:
    """Steps of time that lie in one hour of the place: hours, else quarters."""
    weeks = range(0, (until - since).days + 8, 7)
    moments = [(since + timedelta(days=day)).astimezone(zone) for day in weeks]
    offsets = (moment.utcoffset() or timedelta() for moment in moments)
    is_whole = all(not offset % timedelta(hours=1) for offset in offsets)
    return HOUR_MS if is_whole else QUARTER_MS


def _sum(cells: Sequence[EventTotals]) -> EventTotals:
    return EventTotals(sum(it.events for it in cells), sum(it.seconds for it in cells))
