"""Levels of days: LAeq, LAFmax, percentiles and Lden, with what they rest on.

Percentiles are of LAF, sampled at least every 125 ms.  Day, evening and night are from
7, 19 and 23 o'clock (directive 2002/49/EC, annex I); the night of a date is its hours
before 7 and from 23.  Lden adds 5 dB to the evening and 10 dB to the night, and weighs
each by its length: in the night on which the clocks change, 7 or 9 hours.

An hour of UTC counts for the hour of the place in which its middle lies.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Literal

from monitor.sinks.store.level_hours import HOUR, LevelHour, decibels, power_of
from monitor.sinks.store.queries import Reader

LEAST_COVERAGE = 0.75
"""Share of a period that must be measured, or it has no figures: that of hourly and
daily values in directive 2008/50/EC, annex XI."""

Period = Literal["day", "evening", "night"]
PENALTIES_DB: Mapping[Period, float] = {"day": 0.0, "evening": 5.0, "night": 10.0}


@dataclass(frozen=True, slots=True)
class LevelFigures:
    """The levels of a period, dB; None where too little of it was measured."""

    seconds: float
    """Length of the period, as far as it has passed."""

    covered_seconds: float
    """The part of it that was measured."""

    laeq_db: float | None = None
    lafmax_db: float | None = None
    l10_db: float | None = None
    l50_db: float | None = None
    l90_db: float | None = None
    third_octaves_db: tuple[float, ...] | None = None
    """From 25 Hz upwards; None also where they were not measured."""

    @property
    def coverage(self) -> float:
        """The share of the period that was measured, up to 1."""
        return min(1.0, self.covered_seconds / self.seconds) if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class DayHour:
    """One hour of a day."""

    start: datetime
    """UTC."""

    hour: int
    """Hour of the place; where the clocks are set back, one is there twice."""

    figures: LevelFigures


@dataclass(frozen=True, slots=True)
class DayLevels:
    """The levels of one source in one or several days."""

    source: str
    is_calibrated: bool
    """True: dB(A), the offset of the microphone was set; False: dB re full scale.

    Where it was set in between, the hours before count as not measured.
    """

    start: datetime
    """Begin of its first hour, UTC."""

    hours: tuple[DayHour, ...]
    """Each hour of a single day; empty for several."""

    whole: LevelFigures
    periods: Mapping[Period, LevelFigures]
    """Lday, Levening and Lnight are the `laeq_db` of these; all of it must be over."""

    lden_db: float | None


def hours_of(day: date, zone: tzinfo | None = None) -> list[tuple[datetime, int]]:
    """Return the hours of a day in order: begin, UTC, and hour of the place.

    There are 23 or 25 where the clocks change; `zone` None is local time.
    """
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
    found = []
    for number in range(-28, 40):
        start = noon + number * HOUR
        middle = (start + HOUR / 2).astimezone(zone)
        if middle.date() == day:
            found.append((start, middle.hour))
    return found


def begin_of(day: date, zone: tzinfo | None = None) -> datetime:
    """Return the begin of a day, UTC; `zone` None is local time."""
    return datetime.combine(day, time(), zone).astimezone(UTC)


def period_of(hour: int) -> Period:
    """Return the period in which an hour of the place lies."""
    return "day" if 7 <= hour < 19 else "evening" if 19 <= hour < 23 else "night"


def figures(rows: Iterable[LevelHour], seconds: float) -> LevelFigures:
    """Join the hours of a period of so many seconds."""
    chosen = list(rows)
    covered = sum(row.covered_seconds for row in chosen)
    if not seconds or covered < LEAST_COVERAGE * seconds:
        return LevelFigures(seconds, covered)
    whole = LevelHour(chosen[0].source, chosen[0].start, chosen[0].offset_db)
    for row in chosen:
        whole.add(row)
    l10, l50, l90 = (
        whole.exceeded_db(share) if whole.histogram else None
        for share in (0.1, 0.5, 0.9)
    )
    octaves = tuple(whole.third_octaves_db) or None
    return LevelFigures(
        seconds, covered, whole.laeq_db, whole.lafmax_db, l10, l50, l90, octaves
    )


def day_levels(
    reader: Reader,
    first: date,
    last: date,
    now: datetime,
    zone: tzinfo | None = None,
    *,
    sources: Sequence[str] = (),
    percentiles: bool = True,
) -> dict[str, DayLevels]:
    """Return the levels from a day to another, by source.

    Args:
        reader: The database.
        first: First day, in `zone`.
        last: Last day, the same for a single one.
        now: UTC; what is to come is not expected to be measured.
        zone: Time zone of the days; None: local time.
        sources: Only these; none: all.
        percentiles: Without them and third octaves, a year is read much faster.
    """
    days = (last - first).days + 1
    hours = [
        hour
        for number in range(days)
        for hour in hours_of(first + timedelta(days=number), zone)
    ]
    by_source: dict[str, list[LevelHour]] = defaultdict(list)
    found = reader.level_hours(
        hours[0][0], hours[-1][0] + HOUR, sources=sources, percentiles=percentiles
    )
    for row in found:
        by_source[row.source].append(row)
    return {
        source: _levels(source, rows, hours, now, is_single=days == 1)
        for source, rows in sorted(by_source.items())
    }


def _levels(
    source: str,
    rows: Sequence[LevelHour],
    hours: Sequence[tuple[datetime, int]],
    now: datetime,
    *,
    is_single: bool,
) -> DayLevels:
    is_calibrated = any(row.offset_db for row in rows)
    by_hour: dict[datetime, list[LevelHour]] = defaultdict(list)
    for row in rows:
        if bool(row.offset_db) == is_calibrated:
            by_hour[row.start].append(row)
    each = [
        DayHour(start, hour, figures(by_hour[start], _passed(start, now)))
        for start, hour in hours
        if is_single
    ]
    periods: dict[Period, LevelFigures] = {}
    for period in PENALTIES_DB:
        starts = [start for start, hour in hours if period_of(hour) == period]
        inside = [row for start in starts for row in by_hour[start]]
        periods[period] = figures(inside, len(starts) * HOUR.total_seconds())
    whole = figures(
        [row for start, _ in hours for row in by_hour[start]],
        sum(_passed(start, now) for start, _ in hours),
    )
    start = hours[0][0]
    return DayLevels(
        source, is_calibrated, start, tuple(each), whole, periods, lden(periods)
    )


def lden(periods: Mapping[Period, LevelFigures]) -> float | None:
    """Day-evening-night level; None if one of the periods has no level."""
    energy = seconds = 0.0
    for period, penalty_db in PENALTIES_DB.items():
        level = periods[period].laeq_db
        if level is None:
            return None
        energy += periods[period].seconds * power_of(level + penalty_db)
        seconds += periods[period].seconds
    return decibels(energy, seconds)


def _passed(start: datetime, now: datetime) -> float:
    """Seconds of an hour that have passed."""
    return max(timedelta(), min(HOUR, now - start)).total_seconds()


def source_levels(
    reader: Reader,
    first: date,
    last: date,
    now: datetime,
    zone: tzinfo | None,
    source: str,
    *,
    percentiles: bool = False,
) -> tuple[DayLevels | None, list[tuple[date, DayLevels]]]:
    """Return the levels of one source over some days, and those of each day.

    See `day_levels`; None: there are none.
    """
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    hours = [hours_of(day, zone) for day in days]
    every = [hour for each in hours for hour in each]
    rows = list(
        reader.level_hours(
            every[0][0],
            every[-1][0] + HOUR,
            sources=[source],
            percentiles=percentiles,
        )
    )
    by_hour: dict[datetime, list[LevelHour]] = defaultdict(list)
    for row in rows:
        by_hour[row.start].append(row)
    found = []
    for day, each in zip(days, hours, strict=True):
        inside = [row for start, _ in each for row in by_hour[start]]
        found.append((day, _levels(source, inside, each, now, is_single=False)))
    if not rows:
        return None, found
    return _levels(source, rows, every, now, is_single=len(days) == 1), found
