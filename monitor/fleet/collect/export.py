"""Parquet of the fleet's database: a file for each site and day that is over."""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import quote

import numpy as np
import psycopg
import pyarrow as pa
from psycopg.rows import dict_row
from pydantic import AwareDatetime, BaseModel

from monitor.errors import StoreError
from monitor.fleet.collect.database import connect
from monitor.fleet.parquet import (
    EVENTS,
    LEVELS,
    SCORES,
    event_row,
    level_column,
    parquet_file,
    replaced,
    score_column,
    table_of,
    table_of_columns,
)
from monitor.sinks.store.records import to_ms
from monitor.sinks.store.scores import ScoreRow
from monitor.text import first_line
from monitor.web.fleet.levels import score_row
from monitor.web.fleet.queries import check_version

STATE = "collected.json"
"""What was exported: by it, the next time exports what has come since."""

EVERY_SECONDS = 600.0
LATE = timedelta(minutes=15)
"""Longest time from the beginning of a transaction to its end."""

_ROWS, _SCORE_ROWS = 2000, 500
_GROUP_BYTES = 2**26
"""Rows that are written together, and bytes of those of scores, decoded."""

_LETTERS = 150

_NO_SITE = "__HIVE_DEFAULT_PARTITION__"
"""Null, for whoever reads the names of folders."""

logger = logging.getLogger(__name__)

_CHANGED = """
SELECT DISTINCT site, (at AT TIME ZONE 'UTC')::date AS day
FROM {} AS records LEFT JOIN monitors USING (monitor)
WHERE at < %(today)s AND (stored > %(since)s OR monitor = ANY(%(moved)s))
ORDER BY day, site
"""

_INTERVAL = "monitor, source, id, started AS start, ended AS end, start_sample, "
_INTERVAL += "stop_sample, start_seconds, end_seconds"
_OF_DAY = """
WHERE at >= %(first)s AND at < %(last)s AND monitor IN (
    SELECT monitor FROM monitors WHERE site IS NOT DISTINCT FROM %(site)s)
"""
_EVENTS = [
    f"SELECT '{kind}' AS type, {_INTERVAL}, {columns} FROM {table} {_OF_DAY}"  # noqa: S608 - constants
    "ORDER BY monitor, source, at, id, sequence"
    for kind, table, columns in (
        (
            "event",
            "events",
            "label, peak_score, mean_score, level_dbfs, laeq_db, lafmax_db, "
            "level_offset_db, end_reason, top, model",
        ),
        ("gap", "gaps", "end_reason, left_out_seconds"),
        ("health", "health", "kind, state, detail"),
    )
]
_SCORES = f"""
SELECT scores.*, (
    SELECT labels FROM sessions
    WHERE sessions.monitor = scores.monitor AND sessions.session = scores.session
) AS labels
FROM scores {_OF_DAY} ORDER BY monitor, source, at, session, start_sample
"""  # noqa: S608

_KINDS = {"events": "events", "gaps": "events", "health": "events", "scores": "scores"}
"""Tables, and the files that they are in; those of scores are two, one with levels."""


class _State(BaseModel):
    """What was exported."""

    stored: AwareDatetime
    """All that had come by then."""

    sites: dict[str, str | None]
    """The site of each monitor at that time."""


@dataclass(slots=True)
class Exporter:
    """Keeps a folder of Parquet up to date; used by one thread."""

    url: str
    folder: Path
    _has_failed: bool = field(default=False, init=False)

    def run(self, stop: Event) -> None:
        """Export now and then, until `stop`."""
        while not stop.is_set():
            try:
                self.export(stop)
                self._has_failed = False
            except psycopg.Error as error:
                self._warn(first_line(error))
            except OSError as error:
                self._warn(f"{self.folder}: {error.strerror or error}")
            stop.wait(EVERY_SECONDS)

    def _warn(self, reason: str) -> None:
        if not self._has_failed:
            self._has_failed = True
            logger.warning("no Parquet is written: %s; trying again", reason)

    def export(self, stop: Event, now: datetime | None = None) -> int:
        """Write the days that are over and new or changed; return their number."""
        state = self._read_state()
        today = datetime.combine((now or datetime.now(UTC)).date(), time(), UTC)
        with closing(connect(self.url)) as connection:
            check_version(connection)
            begun, sites = _sites(connection)
            known = state.sites if state else {}
            moved = [it for it in known if known[it] != sites.get(it, known[it])]
            values = {
                "today": today,
                "since": state.stored if state else "-infinity",
                "moved": moved,
            }
            written = self._write_changed(connection, values, stop)
            for site in {known[it] for it in moved}:
                written += self._write_left(connection, site, moved, stop)
        if not stop.is_set():
            self._write_state(_State(stored=begun - LATE, sites=sites))
        return written

    def _read_state(self) -> _State | None:
        path = self.folder / STATE
        try:
            return _State.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValueError:
            logger.warning("%s is damaged: all days are written again", path)
            return None

    def _write_state(self, state: _State) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with replaced(self.folder / STATE) as file:
            file.write(state.model_dump_json().encode())

    def _write_changed(
        self,
        connection: psycopg.Connection,
        values: Mapping[str, object],
        stop: Event,
    ) -> int:
        days: dict[tuple[str | None, date], set[str]] = {}
        for table, kind in _KINDS.items():
            query = _CHANGED.format(table).encode()
            for site, day in connection.execute(query, values):
                days.setdefault((site, day), set()).add(kind)
        for (site, day), kinds in days.items():
            if stop.is_set():
                break
            self._write_day(connection, site, day, kinds)
        return len(days)

    def _write_left(
        self,
        connection: psycopg.Connection,
        site: str | None,
        moved: Sequence[str],
        stop: Event,
    ) -> int:
        """Write the days of a site without the monitors that have left it."""
        written = 0
        for folder in sorted(
            (self.folder / "events").glob(f"{_site_folder(site)}/day=*")
        ):
            try:
                day = date.fromisoformat(folder.name.removeprefix("day="))
            except ValueError:
                continue  # it is none of ours
            # What the database has no more stays in the files.
            kinds = _kinds_of_day(connection, day, moved)
            if kinds and not stop.is_set():
                self._write_day(connection, site, day, kinds)
                written += 1
        return written

    def _write_day(
        self,
        connection: psycopg.Connection,
        site: str | None,
        day: date,
        kinds: set[str],
    ) -> None:
        """Replace the files of a site and day."""
        first = datetime.combine(day, time(), UTC)
        values = {"first": first, "last": first + timedelta(days=1), "site": site}
        if "events" in kinds:
            with parquet_file(self._path("events", site, day), EVENTS) as file:
                for rows in _batches(connection, values, *_EVENTS):
                    made = [event_row(row, **_origin(row, site)) for row in rows]
                    file.write_table(table_of(made, EVENTS))
        if "scores" in kinds:
            with (
                parquet_file(self._path("levels", site, day), LEVELS) as levels,
                parquet_file(self._path("scores", site, day), SCORES) as scores,
            ):
                for rows in _batches(connection, values, _SCORES, most=_SCORE_ROWS):
                    for tables in _groups(_frames(row, site) for row in rows):
                        levels.write_table(pa.concat_tables(it for it, _ in tables))
                        scores.write_table(pa.concat_tables(it for _, it in tables))

    def _path(self, kind: str, site: str | None, day: date) -> Path:
        folder = self.folder / kind / _site_folder(site) / f"day={day}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / "fleet.parquet"


def _sites(
    connection: psycopg.Connection,
) -> tuple[datetime, dict[str, str | None]]:
    """Time of the database, and the site of each monitor."""
    (begun,) = connection.execute("SELECT now()").fetchone() or (datetime.now(UTC),)
    rows = connection.execute("SELECT monitor, site FROM monitors ORDER BY monitor")
    return begun, dict(rows.fetchall())


def _site_folder(site: str | None) -> str:
    name = _NO_SITE if site is None else quote(site, safe=" ")
    if len(name) > _LETTERS:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        name = f"{name[:_LETTERS].rsplit('%', 1)[0]}-{digest}"
    return f"site={name}"


def _kinds_of_day(
    connection: psycopg.Connection, day: date, monitors: Sequence[str]
) -> set[str]:
    """Kinds of files for which the database has records of monitors from a day."""
    first = datetime.combine(day, time(), UTC)
    values = [list(monitors), first, first + timedelta(days=1)]
    return {
        _KINDS[table]
        for table in _KINDS
        if connection.execute(
            f"SELECT FROM {table} WHERE monitor = ANY(%s) AND at >= %s AND at < %s "
            "LIMIT 1".encode(),
            values,
        ).fetchone()
        is not None
    }


def _batches(
    connection: psycopg.Connection,
    values: Mapping[str, object],
    *queries: str,
    most: int = _ROWS,
) -> Iterator[list[dict[str, Any]]]:
    """The rows of queries, as many at a time as fit into memory."""
    for query in queries:
        with (
            connection.transaction(),
            connection.cursor("rows", row_factory=dict_row) as cursor,
        ):
            cursor.execute(query.encode(), values)
            while rows := cursor.fetchmany(most):
                yield rows


def _origin(row: Mapping[str, Any], site: str | None) -> dict[str, str | None]:
    return {"monitor": row["monitor"], "site": site}


def _groups(
    made: Iterable[tuple[pa.Table, pa.Table]],
) -> Iterator[list[tuple[pa.Table, pa.Table]]]:
    """Tables of levels and scores, as many together as fit into memory."""
    group: list[tuple[pa.Table, pa.Table]] = []
    size = 0
    for pair in made:
        group.append(pair)
        size += sum(each.nbytes for each in pair)
        if size > _GROUP_BYTES:
            yield group
            group, size = [], 0
    if group:
        yield group


def _frames(row: Mapping[str, Any], site: str | None) -> tuple[pa.Table, pa.Table]:
    """Tables of levels and scores of one row; empty if it is damaged."""
    found = score_row(row)
    try:
        return _decoded(found, row, site)
    except (StoreError, ValueError, ArithmeticError, MemoryError) as error:
        logger.debug("%s: %s", row["monitor"], error)
        return LEVELS.empty_table(), SCORES.empty_table()


def _decoded(
    found: ScoreRow, row: Mapping[str, Any], site: str | None
) -> tuple[pa.Table, pa.Table]:
    arrays = found.arrays()
    count, samples = found.frame_count, found.stop_sample - found.start_sample
    per_sample = (found.end - found.start).total_seconds() / samples
    begins = np.arange(count) * found.hop_samples
    place = {"monitor": row["monitor"], "site": site, "source": row["source"]}
    hops = begins + found.window_samples - found.hop_samples
    dbfs, _, laeq = arrays.levels.T
    at = to_ms(found.start)

    def columns(first: Any, length: int) -> dict[str, Any]:
        return {
            **{name: [value] * count for name, value in place.items()},
            "file": [None] * count,
            "start": at + np.rint(1000 * first * per_sample).astype(np.int64),
            "start_seconds": (found.start_sample + first) * per_sample,
            "seconds": np.full(count, length * per_sample, np.float32),
        }

    return (
        table_of_columns(
            columns(hops, found.hop_samples)
            | {
                "level_dbfs": level_column(dbfs),
                "laeq_db": level_column(laeq),
                "lafmax_db": [None] * count,
            },
            LEVELS,
        ),
        table_of_columns(
            columns(begins, found.window_samples)
            | {
                "labels": [",".join(row["labels"] or ())] * count,
                "scores": score_column(arrays.scores, arrays.computed),
            },
            SCORES,
        ),
    )
