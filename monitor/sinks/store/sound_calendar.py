"""The calendar of sounds: how many events of each label, and how long, hour by hour.

An event counts in the hour in which it began, and its seconds in those in which it
sounded; see `Selection.events` for its label.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from typing import TypeVar

from monitor.sinks.store.level_hours import HOUR_MS
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import from_ms, to_ms
from monitor.sinks.store.selection import HOUR, Selection

QUARTER_MS = 900_000
"""The offsets of time zones are whole quarters of an hour."""

_BUCKETS = """
GROUP BY name, start / :bucket,
    CASE WHEN start < :since OR (stop - 1) / :bucket > start / :bucket THEN sequence END
"""
"""Events of one label and bucket of time; what reaches beyond one stands alone."""

_Key = TypeVar("_Key")


@dataclass(slots=True)
class EventTotals:
    """Number and duration of events."""

    events: int = 0
    seconds: float = 0.0

    def add(self, other: "EventTotals") -> None:
        """Take in others."""
        self.events += other.events
        self.seconds += other.seconds


@dataclass(slots=True)
class LabelCalendar:
    """When a label was heard."""

    label: str
    first: datetime
    """Begin of the first event, UTC."""

    last: datetime
    """End of the last event, or of what is known of it, UTC."""

    cells: dict[tuple[date, int], EventTotals] = field(
        default_factory=lambda: defaultdict(EventTotals)
    )
    """By day and hour of the place; nothing where it was not heard."""

    @property
    def total(self) -> EventTotals:
        """Sum of all."""
        return self.sums(lambda _day, _hour: None)[None]

    def sums(self, key: Callable[[date, int], _Key]) -> dict[_Key, EventTotals]:
        """Sum up the cells of one key, made of day and hour; others have nothing."""
        sums: dict[_Key, EventTotals] = defaultdict(EventTotals)
        for cell, heard in self.cells.items():
            sums[key(*cell)].add(heard)
        return sums


def sound_calendar(reader: Reader, selection: Selection) -> list[LabelCalendar]:
    """Return the calendars of the labels that were heard, the longest first."""
    found: dict[str, LabelCalendar] = {}

    @cache
    def cell_of(start_ms: int) -> tuple[date, int]:
        local = from_ms(start_ms).astimezone(selection.zone)
        return local.date(), local.hour

    since, until = to_ms(selection.start), to_ms(selection.end)
    step = _step_ms(selection)
    columns = "name, min(start), max(stop), count(*), sum(stop - start)"
    for label, start, stop, events, total_ms in selection.events(
        reader, columns, _BUCKETS, bucket=step
    ):
        begin, end = max(start, since), min(stop, until)
        first, last = from_ms(begin), from_ms(end)
        it = found.setdefault(label, LabelCalendar(label, first, last))
        it.first, it.last = min(first, it.first), max(last, it.last)
        if start >= since:
            it.cells[cell_of(begin - begin % step)].events += events
        for at in range(begin - begin % step, max(end, begin + 1), step):
            # Several events lie in one step.
            alone_ms = min(at + step, end) - max(at, begin)
            part_ms = total_ms if events > 1 else alone_ms
            it.cells[cell_of(at)].seconds += part_ms / 1000
    return sorted(found.values(), key=lambda each: -each.total.seconds)


def _step_ms(selection: Selection) -> int:
    """Steps of time that lie in one hour of the place: hours, else quarters."""
    weeks = range(0, (selection.end - selection.start).days + 8, 7)
    moments = (selection.start + timedelta(days=day) for day in weeks)
    offsets = (moment.astimezone(selection.zone).utcoffset() for moment in moments)
    is_whole = all(not offset or not offset % HOUR for offset in offsets)
    return HOUR_MS if is_whole else QUARTER_MS
