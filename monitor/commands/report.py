"""`sound-monitor report`: the events, levels and losses of one day, or a diary."""

import math
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from monitor.commands.arguments import (
    ArchiveOption,
    ConfigOption,
    JsonOption,
    argument,
    flag,
    open_history,
    option,
    parse_day,
)
from monitor.commands.events import table_header, table_row
from monitor.commands.label_option import LabelsOption, chosen_labels
from monitor.commands.level_report import (
    diary_facts,
    level_facts,
    print_diary,
    print_levels,
    write_csv,
)
from monitor.commands.process import print_json, print_line, print_table
from monitor.errors import UsageError
from monitor.records import Timed
from monitor.text import WeightedUnits, counted, duration, level, percent

if TYPE_CHECKING:
    from monitor.sinks.store.day_report import DayReport, LabelDay, SourceDay
    from monitor.sinks.store.level_figures import SpanLevels

LISTED_EVENTS = 50
_BARS = " ▁▂▃▄▅▆▇█"

HELP = """Report on a day: which sounds, when, how long and how loud.

The report also shows which share of the day was captured, and how much was
lost and why.  With --label it counts only the events of these labels; a
group, such as dog, stands for itself and its members, see 'model --labels'.

Levels of a period of which less than three quarters were measured are not
given.  They are dB(A) once level_offset_db of the source is set.

With --diary it is a noise diary instead: events of a label with short pauses
are one incident, with the share of the time in which it sounded and its level
meanwhile; and the times that were not listened to.

Examples:
  sound-monitor report yesterday
  sound-monitor report yesterday --label dog
  sound-monitor report 2026-11-23 --json
  sound-monitor report --diary --days 14 --csv diary.csv
  sound-monitor report 2024-05-01 --archive results/
"""


def report(
    day: Annotated[
        str,
        argument("DAY", "today, yesterday or a date, in local time; today by default."),
    ] = "today",
    labels: LabelsOption = None,
    diary: Annotated[bool, flag("--diary", "Print the noise diary.")] = False,
    days: Annotated[
        int | None,
        option("N", "Days of the diary, the last of them DAY.", min=1, max=3660),
    ] = None,
    pause: Annotated[
        float | None,
        option("MINUTES", "Longest pause within an incident; 10 by default.", min=0),
    ] = None,
    csv: Annotated[
        Path | None, option("FILE", "Write the diary to a file, as CSV.")
    ] = None,
    archive: ArchiveOption = None,
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Print the report of a day, or the diary of several."""
    from monitor.commands.configuration import load
    from monitor.sinks.status_client import client_paths, query_status, silent_since
    from monitor.sinks.store.day_report import report_day
    from monitor.sinks.store.level_figures import day_levels
    from monitor.sinks.store.noise_diary import PAUSE, noise_diary
    from monitor.sinks.store.selection import Selection

    given = {"--days": days, "--pause": pause, "--csv": csv}
    for name, value in given.items():
        if value is not None and not diary:
            raise UsageError(f"report: {name} is about the diary: add --diary")
    now = datetime.now(UTC)
    last = _last_day(day, now, archive)
    first = last - timedelta(days=(days or 1) - 1)
    configuration = load(config)
    settings, folder = configuration.config, configuration.state_dir
    silent = None
    if archive is None:
        paths = client_paths(settings.status.socket, folder, os.environ)
        silent = silent_since(query_status(paths))
    selection = Selection(first, last, now, silent=silent)
    bounds = selection.start, selection.end
    with open_history(configuration, archive, *bounds) as reader:
        if archive is not None and day == "today":
            _check_days(archive, first, last)
        chosen = chosen_labels(labels, settings, reader)
        selection = replace(selection, labels=chosen)
        if diary:
            longest = PAUSE if pause is None else timedelta(minutes=pause)
            incidents = noise_diary(reader, selection, pause=longest)
            if csv is not None:
                write_csv(csv, incidents)
            if as_json:
                print_json(diary_facts(incidents))
            elif csv is None:
                print_diary(incidents)
            return 0
        found = report_day(reader, selection)
        levels = day_levels(reader, selection)
    if as_json:
        print_json(_facts(found, levels))
    else:
        _print_page(found, levels, settings.weighted_units)
    return 0


def _last_day(text: str, now: datetime, archive: Path | None) -> date:
    """Return the day; of an archive it may lie ahead, by the clock of a recorder."""
    day = parse_day(text, now)
    if archive is None and day > now.astimezone().date():
        raise UsageError(f"report: {day} lies ahead")
    return day


def _check_days(archive: Path, first: date, last: date) -> None:
    """Name the days that an archive has if none of those is among them.

    Raises:
        UsageError: None is.
    """
    from monitor.fleet.archive.manifest import recorded_days

    days = recorded_days(archive)
    if days and not any(first <= day <= last for day in days):
        held = f"{counted(len(days), 'day')} from {days[0]} to {days[-1]}"
        raise UsageError(
            "report: DAY is today by default, and the archive lacks it; it has "
            f"{days[0] if len(days) == 1 else held}: name one"
        )


def _facts(found: "DayReport", levels: "dict[str, SpanLevels]") -> dict[str, Any]:
    from monitor.sinks.encoding import encode

    return {
        "day": found.day.isoformat(),
        "start": found.start.isoformat(),
        "end": found.end.isoformat(),
        "seconds": found.seconds,
        "sources": {
            name: {**_figures(source), "listened_share": _share(source, found)}
            for name, source in found.sources.items()
        },
        "levels": {name: level_facts(it) for name, it in levels.items()},
        "labels": {name: _figures(label) for name, label in found.labels.items()},
        "events": [encode(timed) for timed in found.events],
        "health": [encode(timed) for timed in found.health],
    }


def _figures(part: "SourceDay | LabelDay") -> dict[str, Any]:
    """Return the facts of a source or a label, rounded; None for no number."""
    return {
        name: _rounded(value, 3 if "seconds" in name else 4 if "score" in name else 1)
        for name, value in asdict(part).items()
    }


def _rounded(value: Any, digits: int) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each, digits) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each, digits) for each in value]
    if isinstance(value, float):
        return round(value, digits) if math.isfinite(value) else None
    return value


def _share(source: "SourceDay", found: "DayReport") -> float:
    return round(source.listened_seconds / found.seconds, 6) if found.seconds else 0.0


def _print_page(
    found: "DayReport", levels: "dict[str, SpanLevels]", units: WeightedUnits
) -> None:
    print_line(f"{found.day:%A, %d %B %Y}: {duration(found.seconds)}")
    print_line()
    _print_sources(found, units)
    print_line()
    if levels:
        print_levels(levels)
        print_line()
    if found.health:
        _print_health(found, units)
        print_line()
    if found.events:
        _print_labels(found, units)
        print_line()
        _print_events(found.events, units)
    else:
        print_line("No events.")


def _print_sources(found: "DayReport", units: WeightedUnits) -> None:
    rows = []
    for name, source in found.sources.items():
        lost = ", ".join(
            f"{reason} {duration(seconds)}"
            for reason, seconds in source.lost_seconds.items()
        )
        rows.append(
            (
                name,
                duration(source.listened_seconds),
                percent(_share(source, found)),
                str(source.gaps),
                lost or "-",
                units.cell(name, source.laeq_db, float(source.is_calibrated)),
                _bar(source.laeq_db_by_hour),
            )
        )
    figures = "LISTENED", "SHARE", "GAPS", "LOST", units.column.upper()
    header = ("SOURCE", *figures, "LEVEL 0-24 H")
    print_table(header, rows, "No levels were measured.")


def _print_health(found: "DayReport", units: WeightedUnits) -> None:
    from monitor.sinks.store.day_report import duration_of

    rows = []
    for timed in found.health:
        start, source, kind, *_, state = table_row(timed, units)
        on_this_day = duration(duration_of(timed, (found.start, found.end)))
        detail = getattr(timed.record, "detail", "")
        rows.append((start, source, kind.strip("()"), on_this_day, state, detail))
    print_table(("START", "SOURCE", "HEALTH", "ON THIS DAY", "STATE", "DETAIL"), rows)


def _print_labels(found: "DayReport", units: WeightedUnits) -> None:
    loudest = f"LOUDEST {units.column.upper()}"
    print_table(
        ("LABEL", "EVENTS", "TOTAL", "LONGEST", loudest, "STARTS 0-24 H"),
        (
            (
                name,
                str(label.events),
                duration(label.total_seconds),
                duration(label.longest_seconds),
                _loudest(label, units),
                _bar([count or math.nan for count in label.by_hour]),
            )
            for name, label in found.labels.items()
        ),
    )


def _loudest(label: "LabelDay", units: WeightedUnits) -> str:
    if label.loudest_offset_db is None:
        return level(label.loudest_laeq_db, 1)
    return units.cell("", label.loudest_laeq_db, label.loudest_offset_db)


def _print_events(events: Sequence[Timed], units: WeightedUnits) -> None:
    longest = sorted(
        range(len(events)),
        key=lambda at: events[at].start_seconds - events[at].end_seconds,
    )[:LISTED_EVENTS]
    print_table(
        table_header(units), (table_row(events[at], units) for at in sorted(longest))
    )
    if len(events) > LISTED_EVENTS:
        print_line()
        print_line(
            f"These are the {LISTED_EVENTS} longest of {len(events)} events; 'events' "
            "lists all."
        )


def _bar(values: Sequence[float]) -> str:
    """Draw one character per hour, higher for more; blank for an unknown value."""
    known = [value for value in values if not math.isnan(value)]
    low, high = min(known, default=0.0), max(known, default=0.0)
    scale = (len(_BARS) - 2) / ((high - low) or 1)
    return "".join(
        _BARS[0] if math.isnan(value) else _BARS[1 + round(scale * (value - low))]
        for value in values
    )
