"""A day in facts: what was heard when, how long, how loud, and how much was missed."""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo

import numpy as np

from monitor.records import Event, Gap, GapReason, Health, Onset, Timed
from monitor.sinks.store.queries import Reader, Stretch

HOURS = 24
Interval = tuple[datetime, datetime]


@dataclass(slots=True)
class SourceDay:
    """How one source was listened to."""

    listened_seconds: float = 0.0
    gaps: int = 0
    lost_seconds: dict[GapReason, float] = field(default_factory=dict)
    laeq_db: float = math.nan
    """A-weighted equivalent level of what was heard."""

    laeq_db_by_hour: list[float] = field(default_factory=lambda: [math.nan] * HOURS)


@dataclass(slots=True)
class LabelDay:
    """How often, how long and how loud one label was heard."""

    events: int = 0
    total_seconds: float = 0.0
    longest_seconds: float = 0.0
    loudest_laeq_db: float = -math.inf
    highest_score: float = 0.0
    by_hour: list[int] = field(default_factory=lambda: [0] * HOURS)
    """How many began in each hour of the day."""


@dataclass(frozen=True, slots=True)
class DayReport:
    """One day, in the time zone of who reads it."""

    day: date
    start: datetime
    end: datetime
    """Of the day, or of what has passed of it; UTC."""

    sources: dict[str, SourceDay]
    labels: dict[str, LabelDay]
    events: list[Timed]
    """Events, and onsets of what is going on, in order."""

    health: list[Timed]
    """Troubles in order; raised is what is going on."""

    @property
    def seconds(self) -> float:
        """What has passed of the day: 23 or 25 hours when the clocks change."""
        return (self.end - self.start).total_seconds()


def day_bounds(day: date, zone: tzinfo | None = None) -> Interval:
    """Beginning of a day and of the next, UTC; `zone` None is local time."""
    # In UTC, because the difference of two times in one zone ignores clock changes.
    start, end = (
        datetime.combine(each, time(), zone).astimezone(UTC)
        for each in (day, day + timedelta(days=1))
    )
    return start, end


def report_day(
    reader: Reader, day: date, now: datetime, zone: tzinfo | None = None
) -> DayReport:
    """Gather the facts of a day.

    Args:
        reader: The database.
        day: In `zone`.
        now: A day that is not over ends here.
        zone: None: the local time of this machine.
    """
    start, end = day_bounds(day, zone)
    end = max(start, min(end, now))
    sources: dict[str, SourceDay] = defaultdict(SourceDay)
    _add_stretches(sources, list(reader.stretches(start, end)), (start, end), zone)
    for timed in reader.gaps(start, end):
        _add_gap(sources, timed, (start, end))
    events = [
        timed for timed in reader.events(start, end) if timed.start_utc is not None
    ]
    return DayReport(
        day,
        start,
        end,
        dict(sources),
        _count_labels(events, (start, end), zone),
        events,
        [timed for timed in reader.health(start, end) if timed.start_utc is not None],
    )


def duration_of(timed: Timed, bounds: Interval) -> float:
    """Seconds of a record that lie in `bounds`; what is going on reaches to the end."""
    assert timed.start_utc is not None
    record = timed.record
    is_going_on = isinstance(record, Onset) or (
        isinstance(record, Health) and record.state == "raised"
    )
    end = bounds[1] if is_going_on or timed.end_utc is None else timed.end_utc
    inside = min(end, bounds[1]) - max(timed.start_utc, bounds[0])
    return max(0.0, inside.total_seconds())


def _add_stretches(
    sources: dict[str, SourceDay],
    stretches: Sequence[Stretch],
    bounds: Interval,
    zone: tzinfo | None,
) -> None:
    by_source: dict[str, list[Stretch]] = defaultdict(list)
    for stretch in stretches:
        by_source[stretch.source].append(stretch)
    for source, found in by_source.items():
        sources[source].listened_seconds = _covered_seconds(
            [(stretch.start, stretch.end) for stretch in found], bounds
        )
        _add_levels(sources[source], found, bounds, zone)


def _covered_seconds(intervals: Iterable[Interval], bounds: Interval) -> float:
    """Length of the union of intervals, which are sorted by their beginning."""
    seconds = 0.0
    reached = bounds[0]
    for start, end in intervals:
        inside = min(end, bounds[1]) - max(start, reached)
        seconds += max(0.0, inside.total_seconds())
        reached = max(reached, end)
    return seconds


def _add_levels(
    source: SourceDay,
    stretches: Sequence[Stretch],
    bounds: Interval,
    zone: tzinfo | None,
) -> None:
    """Mean power of the hops; a row counts for the hour in which it began."""
    power = np.zeros(HOURS)
    hops = np.zeros(HOURS)
    for stretch in stretches:
        if stretch.start < bounds[0]:
            continue
        hour = stretch.start.astimezone(zone).hour
        laeq = stretch.read_table().levels[:, 2]
        laeq = laeq[np.isfinite(laeq)]
        power[hour] += (10 ** (laeq / 10)).sum()
        hops[hour] += len(laeq)
    with np.errstate(divide="ignore", invalid="ignore"):
        source.laeq_db_by_hour = (10 * np.log10(power / hops)).tolist()
        source.laeq_db = float(10 * np.log10(power.sum() / hops.sum()))


def _add_gap(sources: dict[str, SourceDay], timed: Timed, bounds: Interval) -> None:
    gap = timed.record
    if timed.start_utc is None or not isinstance(gap, Gap):
        return
    source = sources[gap.source]
    source.gaps += 1
    before = source.lost_seconds.get(gap.reason, 0.0)
    source.lost_seconds[gap.reason] = before + duration_of(timed, bounds)


def _count_labels(
    events: Sequence[Timed], bounds: Interval, zone: tzinfo | None
) -> dict[str, LabelDay]:
    labels: dict[str, LabelDay] = defaultdict(LabelDay)
    for timed in events:
        record = timed.record
        assert isinstance(record, Onset | Event)
        assert timed.start_utc is not None
        label = labels[record.label]
        seconds = duration_of(timed, bounds)
        label.events += 1
        label.total_seconds += seconds
        label.longest_seconds = max(label.longest_seconds, seconds)
        label.highest_score = max(label.highest_score, record.peak_score)
        if math.isfinite(record.laeq_db):
            label.loudest_laeq_db = max(label.loudest_laeq_db, record.laeq_db)
        if timed.start_utc >= bounds[0]:
            label.by_hour[timed.start_utc.astimezone(zone).hour] += 1
    longest_first = sorted(labels.items(), key=lambda item: -item[1].total_seconds)
    return dict(longest_first)
