"""The facts of one day: its events, levels, health problems and losses."""

import logging
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo

import numpy as np

from monitor.errors import StoreError
from monitor.records import Event, Gap, GapReason, Onset, Timed
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import is_going_on
from monitor.sinks.store.scores import ScoreRow

logger = logging.getLogger(__name__)

HOURS = 24
Interval = tuple[datetime, datetime]


@dataclass(slots=True)
class SourceDay:
    """Capture and level of one source."""

    listened_seconds: float = 0.0
    gaps: int = 0
    lost_seconds: dict[GapReason, float] = field(default_factory=dict)
    laeq_db: float = math.nan
    """A-weighted equivalent level of the captured sound."""

    laeq_db_by_hour: list[float] = field(default_factory=lambda: [math.nan] * HOURS)


@dataclass(slots=True)
class LabelDay:
    """Number, duration and loudness of the events of one label."""

    events: int = 0
    total_seconds: float = 0.0
    longest_seconds: float = 0.0
    loudest_laeq_db: float = -math.inf
    highest_score: float = 0.0
    by_hour: list[int] = field(default_factory=lambda: [0] * HOURS)
    """Number of events that began in each hour of the day."""


@dataclass(frozen=True, slots=True)
class DayReport:
    """One day, in the reader's time zone."""

    day: date
    start: datetime
    end: datetime
    """End of the day, or of the part of it that has passed; UTC."""

    sources: dict[str, SourceDay]
    labels: dict[str, LabelDay]
    events: list[Timed]
    """Events, and onsets of events that are going on, in order."""

    health: list[Timed]
    """Health problems in order; raised are those that are going on."""

    @property
    def seconds(self) -> float:
        """Length of the day so far; 23 or 25 hours in the end if the clocks change."""
        return (self.end - self.start).total_seconds()


def day_bounds(day: date, zone: tzinfo | None = None) -> Interval:
    """Return the beginning of a day and of the next, UTC; `zone` None is local time."""
    # In UTC, because the difference of two times in one zone ignores clock changes.
    start, end = (
        datetime.combine(each, time(), zone).astimezone(UTC)
        for each in (day, day + timedelta(days=1))
    )
    return start, end


def report_day(
    reader: Reader,
    day: date,
    now: datetime,
    zone: tzinfo | None = None,
    labels: Sequence[str] = (),
) -> DayReport:
    """Gather the facts of a day in `zone`, None: local time, until `now`.

    `labels` are those of the events; none: all.
    """
    start, end = day_bounds(day, zone)
    end = max(start, min(end, now))
    bounds = (start, end)
    sources: dict[str, SourceDay] = defaultdict(SourceDay)
    by_source: dict[str, list[ScoreRow]] = defaultdict(list)
    for row in reader.score_rows(*bounds):
        by_source[row.source].append(row)
    for source, rows in by_source.items():
        times = [(row.start, row.end) for row in rows]
        sources[source].listened_seconds = _covered_seconds(times, bounds)
        _add_levels(sources[source], rows, start, zone)
    for timed in reader.gaps(*bounds):
        gap = timed.record
        if timed.start_utc is not None and isinstance(gap, Gap):
            lost = sources[gap.source].lost_seconds
            lost[gap.reason] = lost.get(gap.reason, 0.0) + duration_of(timed, bounds)
            sources[gap.source].gaps += 1
    events, health = (
        [timed for timed in found if timed.start_utc is not None]
        for found in (reader.events(*bounds, labels=labels), reader.health(*bounds))
    )
    counts = _count_labels(events, bounds, zone)
    return DayReport(day, start, end, dict(sources), counts, events, health)


def duration_of(timed: Timed, bounds: Interval) -> float:
    """Seconds of a record inside `bounds`; if it is going on, it reaches to the end."""
    assert timed.start_utc is not None
    end = timed.end_utc
    if end is None or is_going_on(timed.record):
        end = bounds[1]
    inside = min(end, bounds[1]) - max(timed.start_utc, bounds[0])
    return max(0.0, inside.total_seconds())


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
    source: SourceDay, rows: Sequence[ScoreRow], since: datetime, zone: tzinfo | None
) -> None:
    """Average the power of the hops; a row counts for the hour in which it began."""
    power = np.zeros(HOURS)
    hops = np.zeros(HOURS)
    for row in rows:
        if row.start >= since:
            try:
                laeq = row.arrays().levels[:, 2]
            except StoreError as error:
                logger.warning("%s; they are left out", error)
                continue
            hour = row.start.astimezone(zone).hour
            laeq = laeq[np.isfinite(laeq)]
            power[hour] += (10 ** (laeq / 10)).sum()
            hops[hour] += len(laeq)
    with np.errstate(divide="ignore", invalid="ignore"):
        source.laeq_db_by_hour = (10 * np.log10(power / hops)).tolist()
        source.laeq_db = float(10 * np.log10(power.sum() / hops.sum()))


def _count_labels(
    events: Sequence[Timed], bounds: Interval, zone: tzinfo | None
) -> dict[str, LabelDay]:
    """Sum up the events of each label, the longest in all first."""
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
