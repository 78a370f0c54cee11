"""The history of an archive: its records in the tables of the database, for reports.

DuckDB chooses the rows of a time range, and they go into a database in memory, so that
`events` and `report` have one definition of every figure.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from monitor.errors import StoreError
from monitor.extras import require_extra
from monitor.sinks.store.level_hours import LevelHour, read_level_hour
from monitor.sinks.store.queries import Reader
from monitor.sinks.store.records import insert, read_rows, to_ms
from monitor.sinks.store.schema import MIGRATIONS, statements
from monitor.text import path_text, printable

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

# The manifest says which files are valid: a kill may leave others.
_RECORDINGS = """
CREATE TEMP TABLE recordings AS
SELECT *, row_number() OVER (ORDER BY start_ms, file) AS session,
    dense_rank() OVER (ORDER BY source) AS source_key,
    start_ms + round(1000 * seconds)::BIGINT AS end_ms
FROM (
    SELECT output, any_value(file) AS file, any_value(source) AS source,
        any_value(sample_rate) AS sample_rate, any_value(seconds) AS seconds,
        epoch_ms(any_value("start")) AS start_ms
    FROM read_json($manifests, format = 'newline_delimited', ignore_errors = true,
        columns = {output: 'VARCHAR', file: 'VARCHAR', source: 'VARCHAR',
        sample_rate: 'INTEGER', seconds: 'DOUBLE', start: 'TIMESTAMP'})
    WHERE output IS NOT NULL AND source IS NOT NULL AND sample_rate > 0
    GROUP BY output
)
"""

_CHOSEN = """
SELECT output FROM recordings
WHERE start_ms IS NULL
    OR (end_ms + 60000 > coalesce($since, 0) AND start_ms < coalesce($until, 1e15))
"""
"""A sound may end behind the last window, and so a little after the recording."""

_EVENTS = """
SELECT type, rows.id AS id, session, source_key AS source, label, start_sample,
    stop_sample, epoch_ms(rows."start") AS start_ms, epoch_ms("end") AS end_ms,
    peak_score, mean_score, level_dbfs, laeq_db, lafmax_db, level_offset_db,
    to_json(list_transform(top, lambda it: json_array(it.label, it.score))) AS top,
    model, end_reason, kind, state, detail, recordings.file AS file
FROM read_parquet($files, filename = true) AS rows
JOIN recordings ON output = parse_filename(filename, true)
WHERE coalesce(epoch_ms("end"), 0) > coalesce($since, -1)
    AND coalesce(epoch_ms(rows."start"), 0) < coalesce($until, 1e15)
ORDER BY rows."start", rows.source, rows.id
"""

_HOURS = """
SELECT rows.source AS source_name, epoch_ms(rows."start") AS hour_ms,
    level_offset_db AS offset_db, covered_ms, energy, rows.lafmax_db AS lafmax_db,
    format, data
FROM read_parquet($files, filename = true) AS rows
JOIN recordings ON output = parse_filename(filename, true)
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
    folder: Path, since: datetime | None = None, until: datetime | None = None
) -> Iterator[ArchiveReader]:
    """Read the records of an archive that overlap a time range, UTC.

    Without `since`, those whose time is unknown are among them.

    Raises:
        ConfigError: The extra archive is missing.
        StoreError: The folder holds no archive, or one of its files is damaged.
    """
    require_extra("archive", "duckdb", "--archive")
    import duckdb

    connection = sqlite3.connect(":memory:")
    try:
        with duckdb.connect() as database:
            # Its bars would be between the lines of a table.
            database.execute("SET enable_progress_bar = false")
            bounds = {
                "since": None if since is None else to_ms(since),
                "until": None if until is None else to_ms(until),
            }
            files = _fill(connection, _Source(database, folder, bounds))
        yield ArchiveReader(connection, files)
    except duckdb.Error as error:
        raise StoreError(
            f"--archive: {printable(path_text(folder))} cannot be read: "
            f"{printable(str(error).splitlines()[0])}"
        ) from None
    finally:
        connection.close()


class _Source:
    """The rows of an archive in a time range."""

    def __init__(
        self,
        database: "DuckDBPyConnection",
        folder: Path,
        bounds: Mapping[str, int | None],
    ) -> None:
        manifests = [str(path) for path in sorted(folder.glob("manifest*.jsonl"))]
        if not manifests:
            raise StoreError(
                f"--archive: {printable(path_text(folder))} holds no archive; 'archive "
                "--out' makes one"
            )
        self._database, self._folder, self._bounds = database, folder, bounds
        database.execute(_RECORDINGS, {"manifests": manifests})
        chosen = database.execute(_CHOSEN, bounds).fetchall()
        self._chosen = {f"{output}.parquet" for (output,) in chosen}

    def recordings(self) -> Iterator[dict[str, Any]]:
        """All recordings, of any time: what lies between them was not listened to."""
        return self._select("SELECT * FROM recordings ORDER BY session", {})

    def rows(self, kind: str, query: str) -> Iterator[dict[str, Any]]:
        """The rows of one kind."""
        place = self._folder / kind
        # A recording without such rows has no such file.
        names = self._chosen & {path.name for path in place.glob("*.parquet")}
        if not names:
            return iter(())
        files = [str(place / name) for name in sorted(names)]
        return self._select(query, {"files": files, **self._bounds})

    def _select(
        self, query: str, values: Mapping[str, object]
    ) -> Iterator[dict[str, Any]]:
        found = self._database.execute(query, values)
        columns = [each[0] for each in found.description]
        while rows := found.fetchmany(10_000):
            yield from (dict(zip(columns, row, strict=True)) for row in rows)


def _fill(connection: sqlite3.Connection, source: _Source) -> dict[str, str]:
    """Fill the tables; return the recordings of the events by their ids."""
    for script in MIGRATIONS:
        for statement in statements(script):
            connection.execute(statement)
    for each in source.recordings():
        connection.execute(
            "INSERT OR IGNORE INTO sources (id, name) VALUES (:source_key, :source)",
            each,
        )
        # One whose time is unknown is a moment of 1970, in which nothing was.
        connection.execute(
            "INSERT INTO sessions (id, session, started_ms, ended_ms, seen_ms, model, "
            "labels, sample_rate) VALUES (:session, :output, coalesce(:start_ms, 1), "
            "coalesce(:end_ms, 1), coalesce(:end_ms, 1), '', '[]', :sample_rate)",
            each,
        )
    files: dict[str, str] = {}
    for row in source.rows("events", _EVENTS):
        connection.execute(_INSERTS[row["type"]], row)
        files[row["id"]] = row["file"]
    _fill_hours(connection, source.rows("hours", _HOURS))
    return files


def _fill_hours(connection: sqlite3.Connection, rows: Iterator[dict[str, Any]]) -> None:
    """Add up the parts that recordings have of an hour."""
    hours: dict[tuple[object, ...], LevelHour] = {}
    # They are read by the names of their columns alone.
    for part in read_rows(cast("Iterator[sqlite3.Row]", rows), read_level_hour):
        key = (part.source, part.start, part.offset_db)
        if key in hours:
            hours[key].add(part)
        else:
            hours[key] = part
    keys = dict(connection.execute("SELECT name, id FROM sources"))
    for hour in hours.values():
        insert(
            connection,
            "level_hours",
            {**hour.columns(), "source": keys[hour.source]},
        )
