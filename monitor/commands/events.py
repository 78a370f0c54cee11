"""`sound-monitor events`: what was heard, from the database."""

import heapq
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Annotated

import typer

from monitor.commands.arguments import (
    ConfigOption,
    JsonOption,
    SinceOption,
    UntilOption,
)
from monitor.errors import UsageError
from monitor.records import Event, Health, Onset, Timed

HELP = """Tell what was heard, from the database.

What lies in the stretch of time in part is told too; a sound that is going on has no
end yet.  What was wrong with microphones stands between, its kind in brackets, unless
--label or --min-score asks for sounds.  --json prints one event a line, in the form of
the event log; --csv a table of the sounds for spreadsheets, times in UTC.

\b
Examples:
  sound-monitor events --since 1h
  sound-monitor events --since 2026-11-23 --until 2026-11-24 --label siren
  sound-monitor events --label gun_shot --min-score 0.9 --json
  sound-monitor events --since 1w --source yard --csv > yard.csv
"""


def events(
    since: SinceOption = None,
    until: UntilOption = None,
    labels: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="LABEL",
            show_default=False,
            help="Only this one; may be given several times.",
        ),
    ] = None,
    sources: Annotated[
        list[str] | None,
        typer.Option(
            "--source",
            metavar="NAME",
            show_default=False,
            help="Only from this source; may be given several times.",
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(
            "--min-score",
            metavar="SCORE",
            min=0,
            max=1,
            show_default=False,
            help="Least peak score.",
        ),
    ] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    config: ConfigOption = None,
) -> int:
    """Print the events that were asked for."""
    from monitor.commands.arguments import database_path, stretch_of_time
    from monitor.commands.configuration import load
    from monitor.sinks.store.queries import open_to_read

    if as_json and as_csv:
        raise UsageError("--json and --csv: choose one of them")
    first, last = stretch_of_time(since, until)
    with open_to_read(database_path(load(config))) as reader:
        is_about_sounds = bool(labels) or min_score is not None or as_csv
        found = reader.events(
            first,
            last,
            labels=labels or (),
            sources=sources or (),
            min_score=min_score,
        )
        if not is_about_sounds:
            troubles = reader.health(first, last, sources=sources or ())
            found = _with_health(found, troubles)
        if as_json:
            _print_json(found)
        elif as_csv:
            _print_csv(found)
        else:
            print_events(found)
    return 0


def _with_health(found: Iterator[Timed], troubles: Iterator[Timed]) -> Iterator[Timed]:
    """Both in the order of their beginning."""

    def began(timed: Timed) -> datetime:
        return timed.start_utc or datetime.min.replace(tzinfo=UTC)

    return heapq.merge(found, troubles, key=began)


def print_events(found: Iterable[Timed]) -> None:
    """Print events as aligned columns."""
    from monitor.commands.output import print_table

    print_table(
        ("BEGAN", "SOURCE", "LABEL", "FOR", "SCORE", "DBFS", "DB(A)", "END"),
        (row(timed) for timed in found),
    )


def row(timed: Timed) -> tuple[str, ...]:
    """One event in words."""
    from monitor.text import duration, level, moment

    record = timed.record
    if isinstance(record, Health):
        return _health_row(timed, record)
    assert isinstance(record, Onset | Event)
    ended = isinstance(record, Event)
    return (
        moment(timed.start_seconds, timed.start_utc),
        record.source,
        record.label,
        duration(timed.end_seconds - timed.start_seconds) if ended else "-",
        f"{record.peak_score:.2f}",
        level(record.level_dbfs, 1),
        level(record.laeq_db, 1),
        record.end_reason if isinstance(record, Event) else "going on",
    )


def _health_row(timed: Timed, record: Health) -> tuple[str, ...]:
    from monitor.text import duration, moment

    is_over = record.state == "cleared"
    return (
        moment(timed.start_seconds, timed.start_utc),
        record.source,
        f"({record.kind})",
        duration(timed.end_seconds - timed.start_seconds) if is_over else "-",
        "",
        "",
        "",
        "cleared" if is_over else "going on",
    )


def _print_json(found: Iterable[Timed]) -> None:
    from monitor.sinks.encoding import encode_line

    for timed in found:
        line = encode_line(timed)
        assert line is not None
        sys.stdout.write(line.decode("ascii"))


def _print_csv(found: Iterable[Timed]) -> None:
    import csv

    from monitor.sinks.encoding import KEYS, encode

    columns = [key for key in KEYS if key not in ("schema", "top")]
    writer = csv.DictWriter(
        sys.stdout, columns, extrasaction="ignore", lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(encode(timed) or {} for timed in found)
