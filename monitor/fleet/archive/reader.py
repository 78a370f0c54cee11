"""The history of an archive: its records in the tables of the database, for reports.

DuckDB chooses the rows of a time range, and they go into a database in memory, so that
`events` and `report` have one definition of every figure.
"""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from monitor.errors import StoreError
from monitor.extras import require_extra
from monitor.sinks.store.frame_rows import MAX_ROW_MS
from monitor.sinks.store.level_hours import joined, read_level_hour
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import insert, read_rows, to_ms
from monitor.sinks.store.schema import MIGRATIONS, statements
from monitor.text import first_line, path_text, printable

if TYPE_CHECKING:
    from monitor.fleet.archive.joined import ArchiveRows

_EVENTS = """
SELECT type, rows.id AS id, session, source_key AS source, label, start_sample,
    stop_sample, epoch_ms(rows."start") AS start_ms, epoch_ms("end") AS end_ms,
    peak_score, mean_score, level_dbfs, laeq_db, lafmax_db, level_offset_db,
    to_json(list_transform(top, lambda it: json_array(it.label, it.score))) AS top,
    model, end_reason, kind, state, detail, recordings.file AS file
FROM {rows} AS rows JOIN recordings USING (output)
WHERE coalesce(epoch_ms("end"), 0) > coalesce($since, -1)
    AND coalesce(epoch_ms(rows."start"), 0) < coalesce($until, 1e15)
ORDER BY rows."start", rows.source, rows.id
"""

_HOURS = """
SELECT rows.source AS source_name, epoch_ms(rows."start") AS hour_ms,
    level_offset_db AS offset_db, covered_ms, energy, rows.lafmax_db AS lafmax_db,
    format, data
FROM {rows} AS rows JOIN recordings USING (output)
WHERE epoch_ms(rows."start") > coalesce($since, 0) - 3600000
    AND epoch_ms(rows."start") < coalesce($until, 1e15)
ORDER BY rows.source, rows."start", rows.file
"""

_INSERTS = {
    "event": "INSERT INTO events (id, session, source, label, at_ms, start_ms, end_ms, "
    "start_sample, stop_sample, peak_score, mean_score, level_dbfs, laeq_db, top, "
    "model, end_reason, lafmax_db, level_offset_db) VALUES (:id, :session, :source, "
    ":label, coalesce(:start_ms, 0), :start_ms, :end_ms, :start_sample, :stop_sample, "
    ":peak_score, :mean_score, :level_dbfs, :laeq_db, :top, :model, :end_reason, "
    ":lafmax_db, :level_offset_db)",
    "gap": "INSERT INTO gaps (session, source, at_ms, start_ms, end_ms, start_sample, "
    "stop_sample, reason) VALUES (:session, :source, coalesce(:start_ms, 0), "
    ":start_ms, :end_ms, :start_sample, :stop_sample, :end_reason)",
    "health": "INSERT INTO health (id, session, source, kind, state, at_ms, start_ms, "
    "end_ms, start_sample, stop_sample, detail) VALUES (:id, :session, :source, :kind, "
    ":state, coalesce(:start_ms, 0), :start_ms, :end_ms, :start_sample, :stop_sample, "
    ":detail)",
}


class ArchiveReader(Reader):
    """Reads the records of an archive as those of a database are read."""

    def __init__(
        self, connection: sqlite3.Connection, files: Mapping[str, str]
    ) -> None:
        """Read from a database in memory, which stays open."""
        super().__init__(connection)
        self.files = files
        """Name of the recording of an event or health problem, by its id."""


@contextmanager
def open_archive(
    folder: Path,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    has_levels: bool = True,
) -> Iterator[ArchiveReader]:
    """Read the records of an archive that overlap a time range, UTC.

    Without `since`, those whose time is unknown are among them; without `has_levels`,
    the levels of hours are not.

    Raises:
        ConfigError: The extra archive is missing.
        StoreError: The folder holds no archive, or one of its files is damaged.
    """
    require_extra("archive", "duckdb", "--archive")
    import duckdb

    from monitor.fleet.archive.joined import ArchiveRows

    connection = sqlite3.connect(":memory:")
    try:
        with duckdb.connect() as database:
            bounds = [None if it is None else to_ms(it) for it in (since, until)]
            rows = ArchiveRows(database, folder, *bounds)
            files = _fill(connection, rows, has_levels=has_levels)
        yield ArchiveReader(connection, files)
    except duckdb.Error as error:
        raise StoreError(
            f"--archive: {printable(path_text(folder))} cannot be read: "
            f"{first_line(error)}"
        ) from None
    finally:
        connection.close()


def _fill(
    connection: sqlite3.Connection, archive: "ArchiveRows", *, has_levels: bool
) -> dict[str, str]:
    """Fill the tables; return the recordings of the events by their ids."""
    for script in MIGRATIONS:
        for statement in statements(script):
            connection.execute(statement)
    recordings = list(archive.select("SELECT * FROM recordings ORDER BY session"))
    connection.executemany(
        "INSERT OR IGNORE INTO sources (id, name) VALUES (:source_key, :source)",
        recordings,
    )
    # One whose time is unknown is a moment of 1970, in which nothing was.
    connection.executemany(
        "INSERT INTO sessions (id, session, started_ms, ended_ms, seen_ms, model, "
        "labels, sample_rate) VALUES (:session, :output, coalesce(:start_ms, 1), "
        "coalesce(:end_ms, 1), coalesce(:end_ms, 1), '', '[]', :sample_rate)",
        recordings,
    )
    connection.executemany(
        "INSERT INTO scores (session, source, start_ms, end_ms, start_sample, "
        "window_samples, hop_samples, frames, data) VALUES (?, ?, ?, ?, 0, 1, 1, 1, "
        "x'')",
        (part for each in recordings for part in _covered(each)),
    )
    files: dict[str, str] = {}

    def of_kind(kind: str) -> Iterator[dict[str, Any]]:
        for row in rows:
            if row["type"] == kind:
                files[row["id"]] = row["file"]
                yield row

    rows = list(archive.rows("events", _EVENTS))
    for kind, statement in _INSERTS.items():
        connection.executemany(statement, of_kind(kind))
    if has_levels:
        _fill_hours(connection, archive.rows("hours", _HOURS))
    return files


def _covered(recording: Mapping[str, Any]) -> Iterator[tuple[int, int, int, int]]:
    """Times that windows cover, as rows of scores without any: no report reads them."""
    if (start_ms := recording["start_ms"]) is None:
        return
    keys = (recording["session"], recording["source_key"])
    for begin, end in recording["windows_ms"] or ():
        for first in range(begin, end, MAX_ROW_MS):
            last = min(first + MAX_ROW_MS, end)
            yield (*keys, start_ms + first, start_ms + last)


def _fill_hours(connection: sqlite3.Connection, rows: Iterator[dict[str, Any]]) -> None:
    """Add up the parts that recordings have of an hour."""
    hours: dict[tuple[object, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        hours[row["source_name"], row["hour_ms"], row["offset_db"]].append(row)
    keys = dict(connection.execute("SELECT name, id FROM sources"))
    for (source, *_), parts in hours.items():
        columns = {k: it for k, it in parts[0].items() if k != "source_name"}
        if len(parts) > 1:
            # They are read by the names of their columns alone.
            found = read_rows(cast("list[sqlite3.Row]", parts), read_level_hour)
            columns = joined(list(found)).columns()
        insert(connection, "level_hours", {**columns, "source": keys[source]})
