"""The noise diary: repeated events joined into incidents, and what was not listened to.

An event that a person has called wrong is left out, and one with another label counts
for that.
"""

import csv
import io
import itertools
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, tzinfo
from typing import NamedTuple

from monitor.sinks.store.level_figures import begin_of
from monitor.sinks.store.level_hours import HOUR, decibels, power_of
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import from_ms, to_ms
from monitor.sinks.store.sound_calendar import LONGEST_MS
from monitor.text import weighted_unit

PAUSE = timedelta(minutes=10)
"""Longest pause between two events of an incident."""

SHORT = timedelta(seconds=10)
"""Gaps that are shorter are only counted."""

OFF = "off"
"""The reason of a time in which the monitor did not run; others are those of gaps."""

_MARKED = """
SELECT sources.name, coalesce(reviews.label, events.label), start_ms,
    max(coalesce(end_ms, :now), start_ms), laeq_db, lafmax_db
FROM events
JOIN sources ON sources.id = events.source
LEFT JOIN reviews ON reviews.event_id = events.id
WHERE start_ms IS NOT NULL AND at_ms < :until AND at_ms >= :since - :longest
    AND (at_ms >= :since OR end_ms > :since OR end_reason IS NULL)
    AND verdict IS NOT 'wrong'
ORDER BY start_ms
"""

# The end of a run that was killed is that of its newest scores.
_RUNS = """
SELECT started_ms, coalesce(ended_ms, (
    SELECT max(end_ms, started_ms) FROM scores
    WHERE start_ms >= started_ms AND start_ms < coalesce(next_ms, :now)
    ORDER BY start_ms DESC LIMIT 1
), started_ms)
FROM (
    SELECT started_ms, ended_ms, lead(started_ms) OVER (ORDER BY id) AS next_ms
    FROM sessions
) ORDER BY started_ms
"""

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


@dataclass(slots=True)
class Incident:
    """Events of one label at one source, with short pauses between them."""

    source: str
    label: str
    start: datetime
    """UTC, as `end`; both within the time of the diary."""

    end: datetime
    is_calibrated: bool
    """True: dB(A), the offset of the microphone was set; False: dB re full scale."""

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


@dataclass(frozen=True, slots=True)
class Unheard:
    """A time in which a source was not listened to."""

    source: str
    start: datetime
    end: datetime
    reason: str
    """`OFF`, or the reason of a gap."""


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
    unheard: list[Unheard]
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
    """
    start = begin_of(first, zone)
    end = max(start, min(begin_of(last + timedelta(days=1), zone), now))
    by_source: dict[str, SourceDiary] = defaultdict(SourceDiary)
    calibrated: dict[tuple[str, datetime], bool] = {}
    for hour in reader.level_hours(start - HOUR, end, percentiles=False):
        key = (hour.source, hour.start)
        calibrated[key] = calibrated.get(key, True) and bool(hour.offset_db)
        source = by_source[hour.source]
        source.offsets_db = sorted({*source.offsets_db, hour.offset_db})
        if hour.start >= start:
            source.listened_seconds += hour.covered_seconds
    for source in by_source.values():
        source.is_calibrated = 0.0 not in source.offsets_db
    found = reader.occurred(start, end, now)
    chosen = (it for it in found if not labels or it.label in labels)
    incidents = _incidents(chosen, start, end, pause)
    for each in incidents:
        hour_start = each.start.replace(minute=0, second=0, microsecond=0)
        each.is_calibrated = calibrated.get((each.source, hour_start), False)
        by_source[each.source]  # Listed even if it is of an earlier version.
    gaps = list(_gaps(reader, by_source, start, end))
    unheard = [*gaps, *_breaks(reader.runs(now), sorted(by_source), start, end)]
    diary = NoiseDiary(start, end, dict(by_source), incidents, unheard)
    return _of_sources(diary, sources)


def read_occurred(
    connection: sqlite3.Connection, since: datetime, until: datetime, now: datetime
) -> Iterator[Occurred]:
    """Return the events that overlap a time range, by their start."""
    times = {"since": since, "until": until, "now": now}
    values = {name: to_ms(time) for name, time in times.items()}
    values["longest"] = LONGEST_MS
    return itertools.starmap(Occurred, connection.execute(_MARKED, values))


def read_runs(
    connection: sqlite3.Connection, now: datetime
) -> list[tuple[datetime, datetime]]:
    """Return the times in which the monitor ran, in order, until its newest scores."""
    rows = connection.execute(_RUNS, {"now": to_ms(now)})
    return [(from_ms(start), from_ms(end)) for start, end in rows]


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
    for gap in diary.unheard:
        row = _common("not-listened", gap.source, "", gap.start, gap.end, zone)
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
    return [kind, _plain(source), _plain(label), *times, seconds]


def _plain(name: str) -> str:
    """Keep spreadsheets from taking a name for a formula."""
    return f"'{name}" if name[:1] in ("=", "+", "-", "@", "\t", "\r") else name


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
    found: list[tuple[str, str, _Growing]] = []
    newest: dict[tuple[str, str], _Growing] = {}
    for event in events:
        began, ended = max(first, event.start_ms), min(last, event.stop_ms)
        key = (event.source, event.label)
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
            is_calibrated=False,
            events=it.events,
            sounding_seconds=it.sounding / 1000,
            laeq_db=decibels(it.energy, it.measured) if it.measured else None,
            lafmax_db=it.lafmax_db,
        )
        for source, label, it in found
    ]


def _gaps(
    reader: Reader, sources: dict[str, SourceDiary], start: datetime, end: datetime
) -> Iterable[Unheard]:
    for timed in reader.gaps(start, end):
        gap = timed.record
        if timed.start_utc is None or timed.end_utc is None:
            continue
        began, ended = max(start, timed.start_utc), min(end, timed.end_utc)
        source = sources[gap.source]
        if ended - began >= SHORT:
            yield Unheard(gap.source, began, ended, str(getattr(gap, "reason", "")))
        elif ended > began:
            source.short_gaps += 1
            source.short_seconds += (ended - began).total_seconds()


def _breaks(
    runs: Iterable[tuple[datetime, datetime]],
    sources: Sequence[str],
    start: datetime,
    end: datetime,
) -> Iterable[Unheard]:
    """Times between the runs of the monitor, for each source."""
    reached = start
    for began, ended in [*runs, (end, end)]:
        if min(began, end) - reached >= SHORT:
            for source in sources:
                yield Unheard(source, reached, min(began, end), OFF)
        reached = max(reached, ended)


def _of_sources(diary: NoiseDiary, sources: Sequence[str]) -> NoiseDiary:
    """Put it in order, and keep what is of some sources; none: all."""

    def is_chosen(source: str) -> bool:
        return not sources or source in sources

    return NoiseDiary(
        diary.start,
        diary.end,
        {name: it for name, it in sorted(diary.sources.items()) if is_chosen(name)},
        [it for it in diary.incidents if is_chosen(it.source)],
        sorted(
            (it for it in diary.unheard if is_chosen(it.source)),
            key=lambda each: (each.start, each.source),
        ),
    )
