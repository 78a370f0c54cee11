"""The Parquet files of archives and of the collector: their columns and writer.

Archives and the collector write the same columns, so that one query reads both.
"""

import errno
import fcntl
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

TIME = pa.timestamp("ms", "UTC")
"""Null where the time of a recording is unknown."""

_NAME = pa.dictionary(pa.int32(), pa.string())
"""A text that many rows share."""

_PLACE: tuple[tuple[str, pa.DataType], ...] = (
    ("monitor", _NAME),  # null in an archive
    ("site", _NAME),  # null: none was given
    ("source", _NAME),
    ("file", _NAME),  # the recording in an archive; null in the collector
)
PLACE = tuple(name for name, _ in _PLACE)

EVENTS = pa.schema(
    [
        ("type", _NAME),  # event, gap or health, as in the event log
        *_PLACE,
        ("id", pa.string()),
        ("label", _NAME),
        ("start", TIME),
        ("end", TIME),
        ("start_sample", pa.int64()),
        ("stop_sample", pa.int64()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("peak_score", pa.float64()),
        ("mean_score", pa.float64()),
        ("level_dbfs", pa.float64()),
        ("laeq_db", pa.float64()),
        ("lafmax_db", pa.float64()),
        ("level_offset_db", pa.float64()),
        ("end_reason", _NAME),
        ("top", pa.list_(pa.struct([("label", pa.string()), ("score", pa.float64())]))),
        ("model", _NAME),
        ("kind", _NAME),  # these three of health
        ("state", _NAME),
        ("detail", pa.string()),
        ("left_out_seconds", pa.float64()),  # of an overload
    ]
)
"""Events, gaps and health: the keys of schema 1 of the event log, and a few more."""

LEVELS = pa.schema(
    [
        *_PLACE,
        ("start", TIME),
        ("start_seconds", pa.float64()),
        ("seconds", pa.float32()),  # length of the hop that the levels are of
        ("level_dbfs", pa.float32()),
        ("laeq_db", pa.float32()),
        ("lafmax_db", pa.float32()),
    ]
)
"""The levels of one hop a row."""

SCORES = pa.schema(
    [
        *_PLACE,
        ("start", TIME),  # of the window
        ("start_seconds", pa.float64()),
        ("seconds", pa.float32()),  # length of the window
        ("labels", _NAME),  # what the scores stand for, joined by commas
        ("scores", pa.list_(pa.float32())),
    ]
)
"""The scores of one window a row; an empty list: it lay below the level gate."""

HOURS = pa.schema(
    [
        *_PLACE,
        ("start", TIME),
        ("level_offset_db", pa.float64()),
        ("covered_ms", pa.int64()),
        ("energy", pa.float64()),
        ("laeq_db", pa.float64()),
        ("lafmax_db", pa.float64()),
        ("format", pa.int32()),
        ("data", pa.binary()),
    ]
)
"""The levels of a source in an hour, a row as in `level_hours` of the database."""

OUTPUT = pa.field("output", _NAME)
"""In the files that join recordings: the name of the file that a row is from."""


@contextmanager
def parquet_file(path: Path, schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    """Replace a file by tables, as `replaced`; the same tables give the same bytes."""
    with (
        replaced(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd") as writer,
    ):
        yield writer


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """Write a file beside, and rename it to `path` once the block has ended well.

    After a power failure it is the old or the new one.  The name beside is
    `.NAME.part`: one writer at a time.

    Raises:
        OSError: The folder is not there, the disk is full, or another one writes it.
    """
    beside = path.with_name(f".{path.name}.part")
    with _opened_alone(beside) as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
            beside.replace(path)
        except BaseException:
            with suppress(OSError):
                beside.unlink()
            raise


def _opened_alone(path: Path) -> BinaryIO:
    """Open a file for writing, and lock it until it is closed."""
    while True:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o666), "wb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            opened = os.fstat(file.fileno())
            if os.path.samestat(opened, path.stat()):
                if opened.st_size:
                    file.truncate()  # a kill has left it
                return file
        except FileNotFoundError:
            pass  # its writer has just renamed it
        except BlockingIOError:
            file.close()
            raise OSError(errno.EBUSY, "another run is writing it", str(path)) from None
        except BaseException:
            file.close()
            raise
        file.close()


def event_row(
    record: Mapping[str, object],
    *,
    monitor: str | None = None,
    site: str | None = None,
    file: str | None = None,
) -> dict[str, object]:
    """Make a row of `EVENTS` of a record in schema 1 of the event log."""
    top = record.get("top")
    pairs = top if isinstance(top, list) else []
    return {name: record.get(name) for name in EVENTS.names} | {
        "monitor": monitor,
        "site": site,
        "file": file,
        "start": _moment(record.get("start")),
        "end": _moment(record.get("end")),
        "top": [{"label": label, "score": score} for label, score in pairs],
    }


def table_of(rows: list[dict[str, object]], schema: pa.Schema) -> pa.Table:
    """Make a table of rows; a key that they lack is null."""
    return pa.Table.from_pylist(rows, schema)


def table_of_columns(columns: Mapping[str, Any], schema: pa.Schema) -> pa.Table:
    """Make a table of lists and arrays, one for each column of a schema."""
    arrays = [
        it
        if isinstance(it := columns[each.name], pa.Array)
        else pa.array(it, each.type)
        for each in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def level_column(levels: Sequence[float] | NDArray[np.float64]) -> pa.Array:
    """Make a column of levels, in 0.01 dB; null where one is not finite."""
    figures = np.asarray(levels, np.float64).round(2).astype(np.float32)
    return pa.array(figures, mask=~np.isfinite(figures))


def score_column(
    scores: Sequence[Sequence[float]] | NDArray[np.float64],
    computed: Sequence[bool] | NDArray[np.bool_],
) -> pa.Array:
    """Make a column of scores, in 0.0001; an empty list where none were computed.

    Args:
        scores: (windows, labels), in [0, 1].
        computed: (windows,).
    """
    values = np.asarray(scores, np.float64).round(4).astype(np.float32)
    lengths = np.where(computed, values.shape[1], 0)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    flat = pa.array(values[np.asarray(computed)].ravel())
    return pa.ListArray.from_arrays(pa.array(offsets), flat)


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(str(text)).astimezone(UTC) if text else None
