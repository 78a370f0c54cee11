"""The facts of one day: its events, levels, health problems and losses."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, tzinfo

from monitor.records import Event, Onset, Timed
from monitor.sinks.store.level_figures import of_one_kind
from monitor.sinks.store.level_hours import LevelHour, by_source, joined
from monitor.sinks.store.listened import OFF, missed_times, scored_seconds
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import is_going_on
from monitor.sinks.store.selection import HOUR, Selection, hours_of

HOURS = 24
Interval = tuple[datetime, datetime]


@dataclass(slots=True)
class SourceDay:
    """Capture and level of one source."""

    listened_seconds: float = 0.0
    """Seconds that were analysed; or whose level was measured, once the scores are
    deleted."""

    gaps: int = 0
    lost_seconds: dict[str, float] = field(default_factory=dict)
    """By the reason of the gaps."""

    laeq_db: float = math.nan
    """A-weighted equivalent level of what was measured."""

    is_calibrated: bool = False
    """True: levels are dB(A), and what was measured without the offset is left out;
    False: they are re full scale."""

    laeq_db_by_hour: list[float] = field(default_factory=lambda: [math.nan] * HOURS)


@dataclass(slots=True)
class LabelDay:
    """Number, duration and loudness of the events of one label."""

    events: int = 0
    total_seconds: float = 0.0
    longest_seconds: float = 0.0
    loudest_laeq_db: float = -math.inf
    """Among calibrated events, if there are any."""

    loudest_offset_db: float | None = None
    """The `level_offset_db` in it; None: unknown."""

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


def report_day(reader: Reader, selection: Selection) -> DayReport:
    """Gather the facts of a single day; the labels are those of its events."""
    day, zone = selection.first, selection.zone
    bounds = selection.start, selection.until
    sources: dict[str, SourceDay] = defaultdict(SourceDay)
    hours = dict(hours_of(day, zone))
    found = reader.level_hours(min(hours), max(hours) + HOUR, percentiles=False)
    # Others than those hours are of another program.
    for name, rows in by_source(it for it in found if it.start in hours).items():
        _add_levels(sources[name], rows, hours)
    for name, seconds in scored_seconds(reader, *bounds).items():
        source = sources[name]
        source.listened_seconds = max(source.listened_seconds, seconds)
    for each in missed_times(reader, (), *bounds, selection.now, selection.silent):
        if each.reason != OFF:
            lost = sources[each.source].lost_seconds
            lost[each.reason] = lost.get(each.reason, 0.0) + each.seconds
            sources[each.source].gaps += 1
    events = list(_reviewed_events(reader, selection))
    health = [it for it in reader.health(*bounds) if it.start_utc is not None]
    counts = _count_labels(events, bounds, zone)
    return DayReport(day, *bounds, dict(sources), counts, events, health)


def _reviewed_events(reader: Reader, selection: Selection) -> Iterator[Timed]:
    """Read the events as people have corrected them; see `Selection.events`."""
    reviews = reader.verdicts()
    for timed in reader.events(selection.start, selection.until):
        record = timed.record
        assert isinstance(record, Onset | Event)
        review = reviews.get(record.id)
        if timed.start_utc is None or (review and review.verdict == "wrong"):
            continue
        if review and review.label:
            record = replace(record, label=review.label)
        if not selection.labels or record.label in selection.labels:
            yield replace(timed, record=record)


def duration_of(timed: Timed, bounds: Interval) -> float:
    """Seconds of a record inside `bounds`; if it is going on, it reaches to the end."""
    assert timed.start_utc is not None
    end = timed.end_utc
    if end is None or is_going_on(timed.record):
        end = bounds[1]
    inside = min(end, bounds[1]) - max(timed.start_utc, bounds[0])
    return max(0.0, inside.total_seconds())


def _add_levels(
    source: SourceDay, rows: Sequence[LevelHour], hours: Mapping[datetime, int]
) -> None:
    """Add what was measured, and the levels, by the hours of the place."""
    source.listened_seconds = sum(row.covered_seconds for row in rows)
    chosen = of_one_kind(rows)
    source.is_calibrated = bool(chosen[0].offset_db)
    source.laeq_db = joined(chosen).laeq_db
    by_hour: dict[int, list[LevelHour]] = defaultdict(list)
    for row in chosen:
        by_hour[hours[row.start]].append(row)
    for hour, inside in by_hour.items():
        source.laeq_db_by_hour[hour] = joined(inside).laeq_db


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
        loudest = (bool(label.loudest_offset_db), label.loudest_laeq_db)
        offset_db = record.level_offset_db
        if (
            math.isfinite(record.laeq_db)
            and (bool(offset_db), record.laeq_db) > loudest
        ):
            label.loudest_laeq_db, label.loudest_offset_db = record.laeq_db, offset_db
        if timed.start_utc >= bounds[0]:
            label.by_hour[timed.start_utc.astimezone(zone).hour] += 1
    longest_first = sorted(labels.items(), key=lambda item: -item[1].total_seconds)
    return dict(longest_first)
