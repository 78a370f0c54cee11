"""The rows of all recordings of an archive, and the files that join them.

Opening ten thousand small files takes seconds.  So a run ends by joining the events of
all recordings in one file, `events.parquet`, and the hours in another one; what they
lack, or have too much, is corrected by the manifest.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb

from monitor.errors import StoreError
from monitor.text import first_line, path_text, printable

_ORDERS = {
    "events": '"start", file, start_sample, id',
    "hours": '"start", file, level_offset_db',
}
"""Kinds that are joined, and the order of their rows."""

# The manifest says which files are valid: a kill may leave others.
_RECORDINGS = """
CREATE TEMP TABLE recordings AS
SELECT *, row_number() OVER (ORDER BY start_ms, file) AS session,
    dense_rank() OVER (ORDER BY source) AS source_key
FROM (
    SELECT output, file, source, sample_rate, epoch_ms("start") AS start_ms, windows_ms,
        epoch_ms("start") + round(1000 * seconds)::BIGINT AS end_ms
    FROM read_json($manifests, format = 'newline_delimited', ignore_errors = true,
        columns = {output: 'VARCHAR', file: 'VARCHAR', source: 'VARCHAR',
        sample_rate: 'INTEGER', seconds: 'DOUBLE', start: 'TIMESTAMP',
        windows_ms: 'BIGINT[][]', generation: 'INTEGER'})
    WHERE file IS NOT NULL
    -- As `Entry.rank`.
    QUALIFY row_number() OVER (PARTITION BY file ORDER BY coalesce(generation, 0) DESC,
        output IS NULL) = 1
)
WHERE output IS NOT NULL AND source IS NOT NULL AND sample_rate > 0
    AND (start_ms IS NULL OR (end_ms + 60000 > coalesce($since, 0)
    AND start_ms < coalesce($until, 1e15)))
"""
"""With a minute more: a sound may end behind the last window."""


class ArchiveRows:
    """The rows of the recordings that overlap a time range."""

    def __init__(
        self,
        database: duckdb.DuckDBPyConnection,
        folder: Path,
        since_ms: int | None = None,
        until_ms: int | None = None,
    ) -> None:
        """Read the manifests of an archive into the table `recordings`.

        Raises:
            StoreError: There are none.
        """
        manifests = [str(path) for path in sorted(folder.glob("manifest*.jsonl"))]
        if not manifests:
            raise StoreError(
                f"--archive: {printable(path_text(folder))} holds no archive; 'archive "
                "--out' makes one"
            )
        self._database, self._folder = database, folder
        self._bounds = {"since": since_ms, "until": until_ms}
        # Its bars would be between the lines of a table.
        database.execute("SET enable_progress_bar = false")
        database.execute(_RECORDINGS, {"manifests": manifests, **self._bounds})

    def rows(self, kind: str, query: str) -> Iterator[dict[str, Any]]:
        """Run a query of `{rows}`, the rows of one kind, and of the time range."""
        table = self._table(kind)
        if table is None:
            return iter(())
        return self.select(query.format(rows=table), self._bounds)

    def select(
        self, query: str, values: Mapping[str, object] | None = None
    ) -> Iterator[dict[str, Any]]:
        """Run a query; return its rows by the names of their columns."""
        found = self._database.execute(query, values)
        columns = [each[0] for each in found.description]
        while rows := found.fetchmany(10_000):
            yield from (dict(zip(columns, row, strict=True)) for row in rows)

    def _table(self, kind: str) -> str | None:
        """Define the rows of one kind as a table; None: there are none."""
        joined, parts = self._folder / f"{kind}.parquet", []
        wanted = "SELECT output FROM recordings"
        if joined.exists():
            parts.append(f"FROM read_parquet({_quoted(joined)})")
            wanted += f" EXCEPT SELECT output {parts[0]}"
        found = self._database.execute(wanted).fetchall()
        # A recording without such rows has no such file.
        place = self._folder / kind
        there = {path.name for path in place.glob("*.parquet")}
        names = sorted({f"{output}.parquet" for (output,) in found} & there)
        if names:
            files = ", ".join(_quoted(place / name) for name in names)
            parts.append(
                "SELECT * EXCLUDE (filename), parse_filename(filename, true) AS output "  # noqa: S608
                f"FROM read_parquet([{files}], filename = true)"
            )
        return f"({' UNION ALL BY NAME '.join(parts)})" if parts else None

    def join(self) -> None:
        """Write the rows of all recordings into one file of each kind.

        The same rows give the same bytes, whether they were joined before or not.

        Raises:
            duckdb.Error: A file is damaged.
            OSError: The disk is full.
        """
        from monitor.fleet.parquet import EVENTS, HOURS, OUTPUT, parquet_file

        schemas = {"events": EVENTS, "hours": HOURS}
        for kind, order in _ORDERS.items():
            if (table := self._table(kind)) is None:
                continue
            found = self._database.sql(
                f"SELECT rows.* FROM {table} AS rows SEMI JOIN recordings "  # noqa: S608
                f"USING (output) ORDER BY {order}"
            ).to_arrow_table()
            schema = schemas[kind].append(OUTPUT)
            path = self._folder / f"{kind}.parquet"
            with parquet_file(path, schema) as writer:
                writer.write_table(found.select(schema.names).cast(schema))


def join_archive(folder: Path) -> None:
    """Join the rows of an archive, so that it is read at once.

    Raises:
        StoreError: One of its files is damaged, or the disk is full.
    """
    try:
        with duckdb.connect() as database:
            ArchiveRows(database, folder).join()
    except (duckdb.Error, OSError) as error:
        raise StoreError(
            f"--out: the events cannot be joined: {first_line(error)}"
        ) from None


def _quoted(path: Path) -> str:
    text = str(path).replace("'", "''")
    return f"'{text}'"
