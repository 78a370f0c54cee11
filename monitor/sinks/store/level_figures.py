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
from datetime import date, datetime, timedelta
from typing import Literal

from monitor.sinks.store.level_hours import (
    LevelHour,
    by_source,
    decibels,
    joined,
    power_of,
)
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.selection import HOUR, Selection, hours_of

LEAST_COVERAGE = 0.75
"""Share of a period that must be measured, or it has no figures: that of hourly and
daily values in directive 2008/50/EC, annex XI."""

_Hours = Sequence[tuple[datetime, int]]
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
    """From 25 Hz upwards, as far as enough was measured of them, too."""

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

    start: datetime
    """Begin of its first hour, UTC."""

    whole: LevelFigures
    periods: Mapping[Period, LevelFigures]
    """Lday, Levening and Lnight are the `laeq_db` of these; all of it must be over."""

    lden_db: float | None


@dataclass(frozen=True, slots=True)
class SpanLevels:
    """The levels of one source from a day to another, all in one unit."""

    is_calibrated: bool
    """True: dB(A), the offset of the microphone was set; False: dB re full scale."""

    is_mixed: bool
    """True: for a part of the time the offset was not set; those hours, re full
    scale, count as not measured."""

    all_days: DayLevels
    """Of all days together."""

    days: Sequence[tuple[date, DayLevels]]
    """Each day."""

    hours: Sequence[DayHour]
    """Each hour of a single day; empty for several."""


def period_of(hour: int) -> Period:
    """Return the period in which an hour of the place lies."""
    return "day" if 7 <= hour < 19 else "evening" if 19 <= hour < 23 else "night"


def figures(rows: Iterable[LevelHour], seconds: float) -> LevelFigures:
    """Join the hours of a period of so many seconds."""
    chosen = list(rows)
    covered = sum(row.covered_seconds for row in chosen)
    if not seconds or covered < LEAST_COVERAGE * seconds:
        return LevelFigures(seconds, covered)
    whole = joined(chosen)
    l10, l50, l90 = (
        whole.exceeded_db(share) if whole.histogram else None
        for share in (0.1, 0.5, 0.9)
    )
    octaves = tuple(
        level
        for level, measured in zip(
            whole.third_octaves_db, whole.octave_seconds, strict=True
        )
        if measured >= LEAST_COVERAGE * seconds
    )
    return LevelFigures(
        seconds, covered, whole.laeq_db, whole.lafmax_db, l10, l50, l90, octaves or None
    )


def day_levels(
    reader: Reader, selection: Selection, *, percentiles: bool = True
) -> dict[str, SpanLevels]:
    """Return the levels of all days together, and those of each day, by source.

    Without `percentiles` and third octaves, a year is read much faster.
    """
    days = {day: hours_of(day, selection.zone) for day in selection.days}
    # Samoa had no 2011-12-30, when it moved across the date line.
    if not (every := [start for hours in days.values() for start, _ in hours]):
        return {}
    found = reader.level_hours(
        every[0],
        every[-1] + HOUR,
        sources=selection.sources,
        percentiles=percentiles,
    )
    return {
        source: _span(rows, days, selection.now)
        for source, rows in sorted(by_source(found).items())
    }


def _span(
    rows: Sequence[LevelHour], days: Mapping[date, _Hours], now: datetime
) -> SpanLevels:
    chosen = of_one_kind(rows)
    by_hour: dict[datetime, list[LevelHour]] = defaultdict(list)
    for row in chosen:
        by_hour[row.start].append(row)
    every = [hour for hours in days.values() for hour in hours]
    is_single = len(days) == 1
    return SpanLevels(
        is_calibrated=bool(chosen[0].offset_db),
        is_mixed=len(chosen) < len(rows),
        all_days=_levels(by_hour, every, now),
        days=[(day, _levels(by_hour, hours, now)) for day, hours in days.items()],
        hours=[
            DayHour(start, hour, figures(by_hour[start], _passed(start, now)))
            for start, hour in (every if is_single else ())
        ],
    )


def of_one_kind(rows: Sequence[LevelHour]) -> Sequence[LevelHour]:
    """Leave out levels re full scale, if there are any with the offset of a microphone.

    They are never mixed.
    """
    return [row for row in rows if row.offset_db] or rows


def _levels(
    by_hour: Mapping[datetime, Sequence[LevelHour]],
    hours: _Hours,
    now: datetime,
) -> DayLevels:
    periods: dict[Period, LevelFigures] = {}
    for period in PENALTIES_DB:
        starts = [start for start, hour in hours if period_of(hour) == period]
        inside = [row for start in starts for row in by_hour.get(start, ())]
        periods[period] = figures(inside, len(starts) * HOUR.total_seconds())
    whole = figures(
        [row for start, _ in hours for row in by_hour.get(start, ())],
        sum(_passed(start, now) for start, _ in hours),
    )
    start = hours[0][0]
    return DayLevels(start, whole, periods, lden(periods))


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
