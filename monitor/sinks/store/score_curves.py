"""The scores of one label around an event, decoded without numpy."""

import json
import sqlite3
import struct
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import accumulate

from monitor.sinks.store.frame_rows import MAX_ROW_MS, blob_of, decompress
from monitor.sinks.store.records import INVALID, count_of, select, to_ms

COLUMNS = 64
FORMAT = 2
"""The format of `scores.py` that is read; older rows are left out."""

_SCORE_STEPS = 65_535


ScoreCurve = Sequence[float | None]
"""The scores of a label in columns of equal length; None: nothing was analysed.

A score covers the part of its window in which the network was active for the label, so
that a sound stands where it was; the highest of several counts.
"""

_Window = tuple[tuple[float, float], tuple[float, float], float]
"""Bounds of a window and of its active part, milliseconds since 1970; its score."""


def read_curve(
    connection: sqlite3.Connection,
    source: str,
    label: str,
    since: datetime,
    until: datetime,
) -> ScoreCurve | None:
    """Read the scores of a label at a source; None: there are none."""
    first, last = to_ms(since), to_ms(until)
    rows = select(
        connection,
        "SELECT scores_read.*, sessions.labels FROM scores_read "
        "JOIN sessions ON sessions.id = scores_read.session "
        "WHERE start_ms > ? AND start_ms < ? AND end_ms > ? AND source_name = ? "
        "AND format = ? ORDER BY start_ms",
        [first - MAX_ROW_MS, last, first, source, FORMAT],
    )
    columns: list[float | None] = [None] * COLUMNS
    for row in rows:
        try:
            windows = list(_windows(row, label))
        except (*INVALID, struct.error, zlib.error):
            continue  # `score_rows` reports damaged rows
        for bounds, active, score in windows:
            for column in _range(*bounds, first, last):
                columns[column] = columns[column] or 0.0
            for column in _range(*active, first, last):
                columns[column] = max(columns[column] or 0.0, score)
    return None if all(score is None for score in columns) else columns


def _range(start: float, stop: float, first: int, last: int) -> range:
    """Return the columns that a part of the time reaches into."""
    if start >= stop:
        return range(0)
    each = (last - first) / COLUMNS
    return range(
        max(0, int((start - first) // each)),
        min(COLUMNS, int(-(-(stop - first) // each))),
    )


def _windows(row: sqlite3.Row, label: str) -> Iterator[_Window]:
    """Decode one label of a row; see `scores.py` for its form."""
    labels = json.loads(row["labels"])
    if label not in labels:
        return
    index, frames = labels.index(label), count_of(row["frames"])
    content, rest = decompress(blob_of(row))
    if len(content) != 2 * frames * len(labels):
        raise ValueError("its scores are of other labels")
    spans, _ = decompress(rest)
    changes = struct.unpack_from(f"<{frames}H", content, 2 * frames * index)
    active = struct.unpack_from(f"<{2 * frames}i", spans, 8 * frames * index)
    ms = 1000 / count_of(row["sample_rate"])
    hop, length = row["hop_samples"] * ms, row["window_samples"] * ms
    steps = accumulate(changes, lambda total, change: (total + change) & 0xFFFF)
    for number, step in enumerate(steps):
        start = row["start_ms"] + number * hop
        span = (start + active[number] * ms, start + active[frames + number] * ms)
        yield (start, start + length), span, step / _SCORE_STEPS
