"""The noise diary: repeated events joined into incidents, and what was not listened to.

An event that a person has called wrong is left out, and one with another label counts
for that.
"""

import csv
import io
import itertools
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from types import MappingProxyType
from typing import NamedTuple

from monitor.sinks.store.level_figures import begin_of
from monitor.sinks.store.level_hours import decibels, power_of
from monitor.sinks.store.listened import OFF, Missed, merged, missed_times
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import from_ms, to_ms
from monitor.sinks.store.sound_calendar import LONGEST_MS, REVIEWED_EVENTS
from monitor.text import table_text, weighted_unit

PAUSE = timedelta(minutes=10)
"""Longest pause between two events of an incident."""

SHORT = timedelta(seconds=10)
"""Gaps that are shorter are only counted."""

CSV_COLUMNS = (
    "kind",
    "source",
    "label",
    "start",
    "end",
    "duration_seconds",
    "events",
    "sounding_seconds",
    "share_percent",
    "laeq_db",
    "lafmax_db",
    "unit",
    "reason",
)


class Occurred(NamedTuple):
    """An event, as the diary needs it."""

    source: str
    label: str
    start_ms: int
    stop_ms: int
    laeq_db: float | None
    lafmax_db: float | None
    is_calibrated: bool


class Hours(NamedTuple):
    """Hours of the day, from one to before another: 22 to 6 are those of a night."""

    begin: int
    end: int

    def have(self, event: Occurred, zone: tzinfo | None) -> bool:
        """Return True if an event sounds in them."""
        start = from_ms(event.start_ms).astimezone(zone)
        if (start.hour - self.begin) % 24 < ((self.end - self.begin) % 24 or 24):
            return True
        begin = start.replace(hour=self.begin, minute=0, second=0, microsecond=0)
        if begin <= start:
            begin += timedelta(days=1)
        return to_ms(begin) < event.stop_ms


@dataclass(slots=True)
class Incident:
    """Events of one label at one source, with short pauses between them.

    Where `level_offset_db` was set in between, another one begins.
    """

    source: str
    label: str
    start: datetime
    """UTC, as `end`; both within the time of the diary."""

    end: datetime
    is_calibrated: bool
    """True: dB(A), the offset of the microphone was set; False: dB re full scale, or
    of an earlier version, which did not store it."""

    events: int = 0
    sounding_seconds: float = 0.0
    """Seconds in which at least one of the events went on."""

    laeq_db: float | None = None
    """A-weighted equivalent level while it sounded, dB."""

    lafmax_db: float | None = None
    """Highest A-weighted level with the time weighting Fast; None: not measured."""

    @property
    def seconds(self) -> float:
        """Time from the first begin to the last end."""
        return (self.end - self.start).total_seconds()

    @property
    def share(self) -> float:
        """The share of this time in which it sounded."""
        return self.sounding_seconds / self.seconds if self.seconds else 1.0


@dataclass(slots=True)
class DayTotal:
    """The incidents of one label at one source that began on a day, in one unit."""

    day: date
    label: str
    source: str
    is_calibrated: bool
    incidents: int = 0
    sounding_seconds: float = 0.0
    energy: float = 0.0
    measured_seconds: float = 0.0
    lafmax_db: float | None = None

    @property
    def laeq_db(self) -> float | None:
        """A-weighted equivalent level while it sounded, dB; None: not measured."""
        seconds = self.measured_seconds
        return decibels(self.energy, seconds) if seconds else None


@dataclass(slots=True)
class SourceDiary:
    """What the diary of a source rests on."""

    is_calibrated: bool = False
    """True if all of its levels are dB(A); False: some are dB re full scale."""

    offsets_db: list[float] = field(default_factory=list)
    """Each `level_offset_db` in the time of the diary."""

    listened_seconds: float = 0.0
    """Seconds whose level was measured."""

    short_gaps: int = 0
    short_seconds: float = 0.0
    """Gaps too short to be listed."""


@dataclass(frozen=True, slots=True)
class NoiseDiary:
    """The incidents of some days."""

    start: datetime
    end: datetime
    """End of the last day, or of the part of it that has passed; UTC."""

    sources: dict[str, SourceDiary]
    incidents: list[Incident]
    missed: list[Missed]
    """Both in order."""

    @property
    def seconds(self) -> float:
        """Length of its time."""
        return (self.end - self.start).total_seconds()


def noise_diary(
    reader: Reader,
    first: date,
    last: date,
    now: datetime,
    zone: tzinfo | None = None,
    *,
    labels: Sequence[str] = (),
    sources: Sequence[str] = (),
    pause: timedelta = PAUSE,
    is_running: bool = False,
    silent: Mapping[str, datetime] = MappingProxyType({}),
    hours: Hours | None = None,
) -> NoiseDiary:
    """Return the diary from a day to another.

    Args:
        reader: The database.
        first: First day, in `zone`.
        last: Last day, the same for a single one.
        now: UTC; what goes on counts until then.
        zone: Time zone of the days; None: local time.
        labels: Only these; none: all.
        sources: Only these; none: all.
        pause: Longest pause between two events of an incident.
        is_running: The monitor is known to run now.
        silent: Sources without a sample now, and since when.
        hours: Only events that sound in these hours; None: all.
    """
    start = begin_of(first, zone)
    end = max(start, min(begin_of(last + timedelta(days=1), zone), now))
    by_source: dict[str, SourceDiary] = defaultdict(SourceDiary)
    for hour in reader.level_hours(start, end, percentiles=False):
        source = by_source[hour.source]
        source.offsets_db = sorted({*source.offsets_db, hour.offset_db})
        source.listened_seconds += hour.covered_seconds
    for source in by_source.values():
        source.is_calibrated = 0.0 not in source.offsets_db
    found = reader.occurred(start, end, now)
    chosen = (
        it
        for it in found
        if (not labels or it.label in labels)
        and (hours is None or hours.have(it, zone))
    )
    incidents = _incidents(chosen, start, end, pause)
    for each in incidents:
        by_source[each.source]  # Listed even if it is of an earlier version.
    missed = []
    gaps = missed_times(
        reader, by_source, start, end, now, is_running=is_running, silent=silent
    )
    for gap in merged(gaps):
        source = by_source[gap.source]
        if gap.seconds >= SHORT.total_seconds():
            missed.append(gap)
        elif gap.reason != OFF:
            source.short_gaps += 1
            source.short_seconds += gap.seconds
    diary = NoiseDiary(start, end, dict(by_source), incidents, missed)
    return _of_sources(diary, sources)


def day_totals(
    incidents: Iterable[Incident], zone: tzinfo | None = None
) -> list[DayTotal]:
    """Sum up incidents by day, label and source, in this order."""
    found: dict[tuple[date, str, str, bool], DayTotal] = {}
    for it in incidents:
        day = it.start.astimezone(zone).date()
        key = (day, it.label, it.source, it.is_calibrated)
        total = found.setdefault(key, DayTotal(*key))
        total.incidents += 1
        total.sounding_seconds += it.sounding_seconds
        if it.laeq_db is not None:
            total.energy += it.sounding_seconds * power_of(it.laeq_db)
            total.measured_seconds += it.sounding_seconds
        highest = (total.lafmax_db, it.lafmax_db)
        total.lafmax_db = max((db for db in highest if db is not None), default=None)
    return [found[key] for key in sorted(found)]


def read_occurred(
    connection: sqlite3.Connection, since: datetime, until: datetime, now: datetime
) -> Iterator[Occurred]:
    """Return the events that overlap a time range, by their start."""
    times = {"since": since, "until": until, "now": now}
    values = {name: to_ms(time) for name, time in times.items()}
    values["longest"] = LONGEST_MS
    query = (
        "SELECT source, name, start, stop, laeq_db, lafmax_db, "  # noqa: S608
        f"coalesce(level_offset_db, 0) != 0 FROM ({REVIEWED_EVENTS}) ORDER BY start"
    )
    return itertools.starmap(Occurred, connection.execute(query, values))


def diary_csv(diary: NoiseDiary, zone: tzinfo | None = None) -> str:
    """Return the diary as comma-separated values, with times of the place."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    rows: list[tuple[datetime, list[object]]] = []
    for it in diary.incidents:
        row = _common("incident", it.source, it.label, it.start, it.end, zone)
        levels = [
            "" if level is None else round(level, 1)
            for level in (it.laeq_db, it.lafmax_db)
        ]
        sounding = [it.events, round(it.sounding_seconds, 1), round(100 * it.share, 1)]
        unit = weighted_unit(1.0 if it.is_calibrated else 0.0)
        rows.append((it.start, [*row, *sounding, *levels, unit, ""]))
    for gap in diary.missed:
        row = _common("not-listened", gap.source, "", gap.start, gap.end, zone)
        row[-1] = round(gap.seconds, 1)
        rows.append((gap.start, [*row, *[""] * 6, gap.reason]))
    writer.writerows(row for _, row in sorted(rows, key=lambda each: each[0]))
    return text.getvalue()


def _common(
    kind: str,
    source: str,
    label: str,
    start: datetime,
    end: datetime,
    zone: tzinfo | None,
) -> list[object]:
    times = (
        moment.astimezone(zone).isoformat(timespec="seconds") for moment in (start, end)
    )
    seconds = round((end - start).total_seconds(), 1)
    return [kind, table_text(source), table_text(label), *times, seconds]


@dataclass(slots=True)
class _Growing:
    """An incident that may go on; times in milliseconds."""

    start: int
    end: int
    events: int = 0
    sounding: int = 0
    energy: float = 0.0
    measured: int = 0
    lafmax_db: float | None = None

    def add(self, event: Occurred, began: int, ended: int) -> None:
        self.events += 1
        self.sounding += max(0, ended - max(began, self.end))
        self.end = max(self.end, ended)
        if event.laeq_db is not None:
            length = max(1, ended - began)
            self.energy += length * power_of(event.laeq_db)
            self.measured += length
        highest = (self.lafmax_db, event.lafmax_db)
        self.lafmax_db = max((it for it in highest if it is not None), default=None)


def _incidents(
    events: Iterable[Occurred], start: datetime, end: datetime, pause: timedelta
) -> list[Incident]:
    """Join events, which are sorted by their begin."""
    first, last = to_ms(start), to_ms(end)
    pause_ms = pause // timedelta(milliseconds=1)
    found: list[tuple[str, str, bool, _Growing]] = []
    newest: dict[tuple[str, str, bool], _Growing] = {}
    for event in events:
        began, ended = max(first, event.start_ms), min(last, event.stop_ms)
        key = (event.source, event.label, bool(event.is_calibrated))
        growing = newest.get(key)
        if growing is None or began > growing.end + pause_ms:
            growing = newest[key] = _Growing(began, began)
            found.append((*key, growing))
        growing.add(event, began, ended)
    return [
        Incident(
            source,
            label,
            from_ms(it.start),
            from_ms(it.end),
            is_calibrated,
            events=it.events,
            sounding_seconds=it.sounding / 1000,
            laeq_db=decibels(it.energy, it.measured) if it.measured else None,
            lafmax_db=it.lafmax_db,
        )
        for source, label, is_calibrated, it in found
    ]


def _of_sources(diary: NoiseDiary, sources: Sequence[str]) -> NoiseDiary:
    """Put it in order, and keep what is of some sources; none: all."""

    def is_chosen(source: str) -> bool:
        return not sources or source in sources

    return NoiseDiary(
        diary.start,
        diary.end,
        {name: it for name, it in sorted(diary.sources.items()) if is_chosen(name)},
        [it for it in diary.incidents if is_chosen(it.source)],
        [it for it in diary.missed if is_chosen(it.source)],
    )
