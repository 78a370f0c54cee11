"""`sound-monitor report`: the events, levels and losses of one day."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from monitor.commands.arguments import ConfigOption, JsonOption
from monitor.commands.events import HEADER, table_row
from monitor.commands.output import print_json, print_line, print_table
from monitor.records import Health, Timed
from monitor.text import duration, level, moment

if TYPE_CHECKING:
    from monitor.sinks.store.day_report import DayReport

LISTED_EVENTS = 50
_BARS = " ▁▂▃▄▅▆▇█"

HELP = """Report on a day: which sounds, when, how long and how loud.

DAY is today, yesterday or a date, in local time.  The report also says which share of
the day was captured, and how much was lost and why.

\b
Examples:
  sound-monitor report yesterday
  sound-monitor report 2026-11-23 --json
"""


def report(
    day: Annotated[str, typer.Argument(metavar="DAY")] = "today",
    as_json: JsonOption = False,
    config: ConfigOption = None,
) -> int:
    """Print the report of a day."""
    from monitor.commands.arguments import database_path, parse_day
    from monitor.commands.configuration import load
    from monitor.sinks.store.day_report import report_day
    from monitor.sinks.store.queries import open_to_read

    now = datetime.now(UTC)
    wanted = parse_day(day, now)
    with open_to_read(database_path(load(config))) as reader:
        found = report_day(reader, wanted, now)
    if as_json:
        print_json(_facts(found))
    else:
        _print_page(found)
    return 0


def _facts(found: "DayReport") -> dict[str, Any]:
    from monitor.sinks.encoding import encode

    return {
        "day": found.day.isoformat(),
        "start": found.start.isoformat(),
        "end": found.end.isoformat(),
        "seconds": found.seconds,
        "sources": {
            name: {
                "listened_seconds": round(source.listened_seconds, 3),
                "listened_share": _share(source.listened_seconds, found.seconds),
                "gaps": source.gaps,
                "lost_seconds": {
                    reason: round(seconds, 3)
                    for reason, seconds in source.lost_seconds.items()
                },
                "laeq_db": _finite(source.laeq_db),
                "laeq_db_by_hour": [_finite(value) for value in source.laeq_db_by_hour],
            }
            for name, source in found.sources.items()
        },
        "labels": {
            name: {
                "events": label.events,
                "total_seconds": round(label.total_seconds, 3),
                "longest_seconds": round(label.longest_seconds, 3),
                "loudest_laeq_db": _finite(label.loudest_laeq_db),
                "highest_score": _finite(label.highest_score, 4),
                "by_hour": label.by_hour,
            }
            for name, label in found.labels.items()
        },
        "events": [encode(timed) for timed in found.events],
        "health": [encode(timed) for timed in found.health],
    }


def _finite(value: float, digits: int = 1) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def _share(part: float, whole: float) -> float:
    return round(part / whole, 6) if whole else 0.0


def _print_page(found: "DayReport") -> None:
    print_line(f"{found.day:%A, %d %B %Y}: {duration(found.seconds)}")
    print_line()
    _print_sources(found)
    print_line()
    if found.health:
        _print_health(found)
        print_line()
    if not found.events:
        print_line("No events.")
        return
    _print_labels(found)
    print_line()
    _print_events(found.events)


def _print_sources(found: "DayReport") -> None:
    if not found.sources:
        print_line("No source was captured.")
        return
    rows = []
    for name, source in found.sources.items():
        share = 100 * _share(source.listened_seconds, found.seconds)
        lost = ", ".join(
            f"{reason} {duration(seconds)}"
            for reason, seconds in source.lost_seconds.items()
        )
        rows.append(
            (
                name,
                duration(source.listened_seconds),
                f"{share:.2f} %",
                str(source.gaps),
                lost or "-",
                level(source.laeq_db, 1),
                _bar(source.laeq_db_by_hour),
            )
        )
    header = ("SOURCE", "LISTENED", "SHARE", "GAPS", "LOST", "DB(A)", "LEVEL 0-24 H")
    print_table(header, rows)


def _print_health(found: "DayReport") -> None:
    from monitor.sinks.store.day_report import duration_of

    rows = []
    for timed in found.health:
        record = timed.record
        assert isinstance(record, Health)
        rows.append(
            (
                moment(timed.start_seconds, timed.start_utc),
                record.source,
                record.kind,
                duration(duration_of(timed, (found.start, found.end))),
                "cleared" if record.state == "cleared" else "going on",
                record.detail,
            )
        )
    print_table(("BEGAN", "SOURCE", "HEALTH", "ON THIS DAY", "STATE", ""), rows)


def _print_labels(found: "DayReport") -> None:
    print_table(
        ("LABEL", "EVENTS", "IN ALL", "LONGEST", "LOUDEST DB(A)", "BEGAN AT 0-24 H"),
        (
            (
                name,
                str(label.events),
                duration(label.total_seconds),
                duration(label.longest_seconds),
                level(label.loudest_laeq_db, 1),
                _bar([count or math.nan for count in label.by_hour]),
            )
            for name, label in found.labels.items()
        ),
    )


def _print_events(events: Sequence[Timed]) -> None:
    longest = sorted(
        range(len(events)),
        key=lambda at: events[at].start_seconds - events[at].end_seconds,
    )[:LISTED_EVENTS]
    print_table(HEADER, (table_row(events[at]) for at in sorted(longest)))
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
