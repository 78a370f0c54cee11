"""The noise diary: repeated events joined into incidents, and what was not listened to.

See `Selection.events` for the labels of its events.
"""

import csv
import io
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from typing import NamedTuple

from monitor.sinks.store.level_hours import decibels, power_of
from monitor.sinks.store.listened import OFF, Missed, merged, missed_times
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import from_ms, to_ms
from monitor.sinks.store.selection import DAY, Selection
from monitor.text import gap_reason, percent, table_text, weighted_unit

PAUSE = timedelta(minutes=10)
"""Longest pause between two events of an incident."""

SHORT = timedelta(seconds=10)
"""Gaps that are shorter are only counted."""

CSV_COLUMNS = (
    *("kind", "source", "label", "start", "end", "duration_seconds", "events"),
    *("sounding_seconds", "share_percent", "laeq_db", "lafmax_db", "unit", "reason"),
    "note",
)

Window = tuple[int, int]
"""Begin and end of a part of the diary, milliseconds since 1970."""


class Hours(NamedTuple):
    """Hours of the day, from one to before another: 22 to 6 are those of a night."""

    begin: int
    end: int

    def windows(self, selection: Selection) -> list[Window]:
        """Return these hours of each day of a selection, in order."""
        since, until = to_ms(selection.start), to_ms(selection.until)
        found = []
        for day in [selection.first - DAY, *selection.days]:
            begin, end = (
                to_ms(datetime.combine(each, time(hour), selection.zone).astimezone())
                for each, hour in (
                    (day, self.begin),
                    (day + DAY if self.end <= self.begin else day, self.end),
                )
            )
            if begin < until and end > since:
                found.append((max(begin, since), min(end, until)))
        return found


@dataclass(slots=True)
class Sound:
    """How long and how loud a label sounded at a source."""

    source: str
    label: str
    is_calibrated: bool
    """True: dB(A), the offset of the microphone was set; False: dB re full scale, or
    of an earlier version, which did not store it."""

    sounding_ms: int = 0
    energy: float = 0.0
    measured_ms: int = 0
    lafmax_db: float | None = None
    """Highest A-weighted level with the time weighting Fast; None: not measured."""

    @property
    def sounding_seconds(self) -> float:
        """Seconds in which at least one of the events went on."""
        return self.sounding_ms / 1000

    @property
    def laeq_db(self) -> float | None:
        """A-weighted equivalent level while it sounded, dB; None: not measured."""
        return decibels(self.energy, self.measured_ms) if self.measured_ms else None

    def add_level(
        self, length_ms: int, laeq_db: float | None, lafmax_db: float | None
    ) -> None:
        """Take in the level of a part."""
        if laeq_db is not None:
            self.energy += length_ms * power_of(laeq_db)
            self.measured_ms += length_ms
        highest = (self.lafmax_db, lafmax_db)
        self.lafmax_db = max((it for it in highest if it is not None), default=None)


@dataclass(slots=True)
class Incident(Sound):
    """Events of one label at one source, with short pauses between them.

    Where `level_offset_db` was set in between, another one begins.
    """

    _: KW_ONLY
    start_ms: int
    """UTC, as `end_ms`; both within the time of the diary."""

    end_ms: int
    events: int = 0

    @property
    def start(self) -> datetime:
        """Begin of the first event, UTC."""
        return from_ms(self.start_ms)

    @property
    def end(self) -> datetime:
        """End of the last event, UTC."""
        return from_ms(self.end_ms)

    @property
    def seconds(self) -> float:
        """Time from the first begin to the last end."""
        return (self.end_ms - self.start_ms) / 1000

    @property
    def share(self) -> float:
        """The share of this time in which it sounded."""
        return self.sounding_seconds / self.seconds if self.seconds else 1.0


@dataclass(slots=True)
class DayTotal(Sound):
    """The incidents of one label at one source that began on a day, in one unit."""

    _: KW_ONLY
    day: date
    incidents: int = 0


@dataclass(slots=True)
class SourceDiary:
    """What the diary of a source rests on."""

    offsets_db: list[float] = field(default_factory=list)
    """Each `level_offset_db` in the time of the diary."""

    listened_seconds: float = 0.0
    """Seconds whose level was measured."""

    short_gaps: int = 0
    short_seconds: float = 0.0
    """Gaps too short to be listed."""

    @property
    def is_calibrated(self) -> bool:
        """True if all of its levels are dB(A); False: some are dB re full scale."""
        return 0.0 not in (self.offsets_db or [0.0])

    @property
    def is_mixed(self) -> bool:
        """True if some of its levels are dB(A), and others dB re full scale."""
        return 0.0 in self.offsets_db and len(self.offsets_db) > 1

    @property
    def calibration(self) -> str:
        """What its levels are, for people."""
        if self.is_mixed:
            return "dB(A) and dBFS(A): level_offset_db was set for a part of the time"
        if not self.is_calibrated:
            return "dBFS(A): level_offset_db is not set"
        offsets = ", ".join(f"{it:g}" for it in self.offsets_db)
        return f"dB(A), offset {offsets} dB, not checked by a calibrator"


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

    def coverage(self, source: str) -> float:
        """Return the share of its time in which the level of a source was measured."""
        listened = self.sources[source].listened_seconds
        return min(1.0, listened / self.seconds) if self.seconds else 0.0


def noise_diary(
    reader: Reader,
    selection: Selection,
    *,
    pause: timedelta = PAUSE,
    hours: Hours | None = None,
) -> NoiseDiary:
    """Return the diary of some days.

    Args:
        reader: The database.
        selection: Its days, sources and labels.
        pause: Longest pause between two events of an incident.
        hours: Only what sounds in these hours.  Events are cut at their borders, and
            no incident goes on from one day's to the next; the levels of a part are
            those of the event as a whole.  None: all hours.
    """
    bounds = selection.start, selection.until
    sources: dict[str, SourceDiary] = defaultdict(SourceDiary)
    chosen = selection.sources
    for hour in reader.level_hours(*bounds, sources=chosen, percentiles=False):
        source = sources[hour.source]
        source.offsets_db = sorted({*source.offsets_db, hour.offset_db})
        source.listened_seconds += hour.covered_seconds
    windows = [(to_ms(bounds[0]), to_ms(bounds[1]))]
    if hours is not None:
        windows = hours.windows(selection)
    incidents = _incidents(reader, selection, windows, pause)
    for each in incidents:
        sources[each.source]  # Listed even if it is of an earlier version.
    missed = []
    gaps = missed_times(reader, sources, *bounds, selection.now, selection.silent)
    for gap in merged(filter(lambda it: selection.has_source(it.source), gaps)):
        source = sources[gap.source]
        if gap.seconds >= SHORT.total_seconds():
            missed.append(gap)
        elif gap.reason != OFF:
            source.short_gaps += 1
            source.short_seconds += gap.seconds
    return NoiseDiary(*bounds, dict(sorted(sources.items())), incidents, missed)


def _incidents(
    reader: Reader, selection: Selection, windows: Sequence[Window], pause: timedelta
) -> list[Incident]:
    """Join what sounded in each window, in order."""
    pause_ms = pause // timedelta(milliseconds=1)
    ends = [end for _, end in windows]
    newest: dict[tuple[str, str, bool, int], Incident] = {}
    found: list[Incident] = []
    columns = (
        "source, name, start, stop, laeq_db, lafmax_db, "
        "coalesce(level_offset_db, 0) != 0"
    )
    events = selection.events(reader, columns, "ORDER BY start")
    for source, label, start, stop, laeq_db, lafmax_db, is_calibrated in events:
        for begin, end in windows[bisect_right(ends, start) :]:
            if begin >= max(stop, start + 1):
                break
            began, ended = max(begin, start), min(end, stop)
            key = (source, label, bool(is_calibrated), begin)
            it = newest.get(key)
            if it is None or began > it.end_ms + pause_ms:
                it = newest[key] = Incident(*key[:3], start_ms=began, end_ms=began)
                found.append(it)
            it.events += 1
            it.sounding_ms += max(0, ended - max(began, it.end_ms))
            it.end_ms = max(it.end_ms, ended)
            it.add_level(max(1, ended - began), laeq_db, lafmax_db)
    return sorted(found, key=lambda it: it.start_ms)


def day_totals(
    incidents: Iterable[Incident], zone: tzinfo | None = None
) -> list[DayTotal]:
    """Sum up incidents by day, label and source, in this order."""
    found: dict[tuple[date, str, str, bool], DayTotal] = {}
    for it in incidents:
        day = it.start.astimezone(zone).date()
        key = (day, it.label, it.source, it.is_calibrated)
        if key not in found:
            found[key] = DayTotal(it.source, it.label, it.is_calibrated, day=day)
        found[key].incidents += 1
        found[key].sounding_ms += it.sounding_ms
        found[key].add_level(it.sounding_ms, it.laeq_db, it.lafmax_db)
    return [found[key] for key in sorted(found)]


def diary_csv(
    diary: NoiseDiary, zone: tzinfo | None = None, *, place: str = "", name: str = ""
) -> str:
    """Return the diary as comma-separated values, with times of the place.

    The first rows say where it is from and who keeps it, and what it rests on.
    """
    whole = [*_csv_times(diary, zone), *[""] * 4]
    top = []
    for source, basis in diary.sources.items():
        unit, share = weighted_unit(basis.is_calibrated), diary.coverage(source)
        note = f"measured {percent(share)} of the time; {basis.calibration}"
        top.append(["source", table_text(source), "", *whole, "", unit, "", note])
    if place or name:
        note = table_text(", ".join(filter(None, (place, name and f"kept by {name}"))))
        top.insert(0, ["diary", "", "", *whole, "", "", "", note])
    rows: list[tuple[datetime, list[object]]] = []
    for it in diary.incidents:
        sounding = [it.events, round(it.sounding_seconds, 1), round(100 * it.share, 1)]
        levels = [
            "" if level is None else round(level, 1)
            for level in (it.laeq_db, it.lafmax_db)
        ]
        more = [*sounding, *levels, weighted_unit(it.is_calibrated), "", ""]
        rows.append(_csv_row("incident", it, zone, more))
    rows += [
        _csv_row(
            "not-listened", gap, zone, [*[""] * 6, gap.reason, gap_reason(gap.reason)]
        )
        for gap in diary.missed
    ]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    writer.writerows(top)
    writer.writerows(row for _, row in sorted(rows, key=lambda each: each[0]))
    return text.getvalue()


def _csv_row(
    kind: str, it: Incident | Missed, zone: tzinfo | None, more: Sequence[object]
) -> tuple[datetime, list[object]]:
    """Return the row of an incident or a gap, behind its begin."""
    names = (table_text(it.source), table_text(getattr(it, "label", "")))
    return it.start, [kind, *names, *_csv_times(it, zone), *more]


def _csv_times(
    it: NoiseDiary | Incident | Missed, zone: tzinfo | None
) -> tuple[str, str, float]:
    """Return begin, end and length."""
    start, end = (
        moment.astimezone(zone).isoformat(timespec="seconds")
        for moment in (it.start, it.end)
    )
    return start, end, round(it.seconds, 1)
