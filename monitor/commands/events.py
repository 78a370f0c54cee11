"""`sound-monitor events`: events and health problems from the database."""

import heapq
import json
import shutil
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Annotated, Literal

from monitor.commands.arguments import (
    ArchiveOption,
    ConfigOption,
    JsonOption,
    SinceOption,
    UntilOption,
    flag,
    option,
)
from monitor.commands.label_option import LabelsOption, chosen_labels
from monitor.commands.process import print_table
from monitor.errors import UsageError
from monitor.records import Event, Health, Onset, Timed
from monitor.text import WeightedUnits, duration, level, moment

if TYPE_CHECKING:
    from monitor.sinks.store.reviews import Review

VerdictName = Literal["right", "wrong", "label", "any", "none"]

SPOOL_BYTES = 16 * 2**20
"""Output in memory; more goes to a temporary file."""

HELP = """List the events in the database, and health problems between them.

Events that overlap the time range are listed; an event that is going on has
no end yet.  A group, such as dog, stands for itself and its members, see
'model --labels'.  Health problems have their kind in brackets; with --label,
--min-score, --verdict or --csv they are left out.  --json prints one record a
line, in the format of the event log, with the review of an event: verdict,
right label and lock; --csv prints a table for spreadsheets, with times in
UTC.  With --archive both name the recording, too.

Examples:
  sound-monitor events --since 1h
  sound-monitor events --since 2026-11-23 --until 2026-11-24 --label siren
  sound-monitor events --label gun_shot --min-score 0.9 --json
  sound-monitor events --label dog --since 1d
  sound-monitor events --verdict wrong --json
  sound-monitor events --since 1w --source yard --csv > yard.csv
  sound-monitor events --archive results/ --label siren --json
"""


def events(
    since: SinceOption = None,
    until: UntilOption = None,
    labels: LabelsOption = None,
    sources: Annotated[
        list[str] | None,
        option("NAME", "Only this source; may be repeated.", "--source"),
    ] = None,
    min_score: Annotated[
        float | None, option("SCORE", "Lowest peak score.", min=0, max=1)
    ] = None,
    verdict: Annotated[
        VerdictName | None,
        option(None, "Only events with this verdict; any: with one; none: without."),
    ] = None,
    as_json: JsonOption = False,
    as_csv: Annotated[bool, flag("--csv", "Print CSV.")] = False,
    archive: ArchiveOption = None,
    config: ConfigOption = None,
) -> int:
    """Print the chosen events."""
    from monitor.commands.arguments import open_history, parse_time_range
    from monitor.commands.configuration import load

    if as_json and as_csv:
        raise UsageError("--json and --csv: choose one of them")
    first, last = parse_time_range(since, until)
    chosen = sources or ()
    configuration = load(config)
    with SpooledTemporaryFile(SPOOL_BYTES, "w+", encoding="utf-8", newline="") as lines:
        with open_history(
            configuration, archive, first, last, has_levels=False
        ) as reader:
            found = reader.events(
                first,
                last,
                labels=chosen_labels(labels, configuration.config, reader),
                sources=chosen,
                min_score=min_score,
            )
            reviews = reader.reviews() if as_json or verdict else {}
            files: Mapping[str, str] = getattr(reader, "files", {})
            if verdict:
                found = (it for it in found if _has_verdict(it, reviews, verdict))
            if not (labels or min_score is not None or verdict or as_csv):
                health = reader.health(first, last, sources=chosen)
                found = heapq.merge(found, health, key=_start)
            if as_json:
                _write_json(found, reviews, files, lines)
            elif as_csv:
                _write_csv(found, files, lines)
            else:
                units = configuration.config.weighted_units
                rows = (table_row(timed, units) for timed in found)
                print_table(table_header(units), rows, "no events")
        # Not before the database is closed: its log grows while somebody reads, and
        # the reader of the output may pause.
        lines.seek(0)
        shutil.copyfileobj(lines, sys.stdout)
    return 0


def _start(timed: Timed) -> datetime:
    return timed.start_utc or datetime.min.replace(tzinfo=UTC)


def table_header(units: WeightedUnits) -> tuple[str, ...]:
    """Return the titles of the columns of `table_row`."""
    levels = "DBFS", units.column.upper()
    return ("START", "SOURCE", "LABEL", "DURATION", "SCORE", *levels, "END")


def table_row(timed: Timed, units: WeightedUnits) -> tuple[str, ...]:
    """Return the cells of an event or a health problem, see `table_header`."""
    record = timed.record
    assert isinstance(record, Onset | Event | Health)
    end = "going on"
    if isinstance(record, Health):
        label, figures = f"({record.kind})", ("", "", "")
        if record.state == "cleared":
            end = "cleared"
    else:
        weighted = units.cell(record.source, record.laeq_db, record.level_offset_db)
        levels = level(record.level_dbfs, 1), weighted
        label, figures = record.label, (f"{record.peak_score:.2f}", *levels)
        if isinstance(record, Event):
            end = record.end_reason
    seconds = timed.end_seconds - timed.start_seconds
    lasts = "-" if end == "going on" else duration(seconds)
    start = moment(timed.start_seconds, timed.start_utc)
    return (start, record.source, label, lasts, *figures, end)


def _has_verdict(
    timed: Timed, reviews: "Mapping[str, Review]", wanted: VerdictName
) -> bool:
    assert isinstance(timed.record, Onset | Event)
    review = reviews.get(timed.record.id)
    verdict = None if review is None else review.verdict
    if wanted in ("any", "none"):
        return (verdict is None) == (wanted == "none")
    return verdict == wanted


def _write_json(
    found: Iterable[Timed],
    reviews: "Mapping[str, Review]",
    files: Mapping[str, str],
    lines: IO[str],
) -> None:
    from monitor.sinks.encoding import encode
    from monitor.sinks.store.reviews import encode_review

    for timed in found:
        line = encode(timed)
        assert line is not None
        if isinstance(timed.record, Onset | Event):
            line["review"] = encode_review(reviews.get(timed.record.id))
        if files:
            line["file"] = files.get(str(line["id"]))
        lines.write(json.dumps(line, allow_nan=False) + "\n")


def _write_csv(
    found: Iterable[Timed], files: Mapping[str, str], lines: IO[str]
) -> None:
    import csv

    from monitor.sinks.encoding import KEYS, encode
    from monitor.text import table_text

    columns = [key for key in KEYS if key not in ("schema", "top")]
    columns += ["file"] if files else []
    writer = csv.DictWriter(lines, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for timed in found:
        row = encode(timed) or {}
        row["file"] = files.get(str(row.get("id")))
        texts = {key: table_text(it) for key, it in row.items() if isinstance(it, str)}
        writer.writerow(row | texts)
