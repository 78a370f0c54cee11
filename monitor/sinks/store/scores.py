"""Score frames in the database: about a minute of one source is one row.

The blob of a row is three numpy arrays, each compressed by zlib on its own, one behind
the other, all little-endian:

    uint16  (labels, frames)     scores, 65535 stands for 1; the first value of a label,
                                 then the differences from frame to frame, modulo 65536
    int32   (labels, 2, frames)  spans: first and past-last sample, from the start of
                                 the frame's window; empty: the window lay below the
                                 level gate, and its scores were not computed
    int16   (3, frames)          level_dbfs, peak_level_dbfs and laeq_db in 0.01 dB;
                                 -32768 stands for a level that is not finite

Scores are kept to 0.000008, levels to 0.005 dB, spans exactly.  Rows of format 1, which
earlier versions wrote, hold the same numbers in another arrangement and are still read.
"""

import sqlite3
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitor.errors import StoreError
from monitor.records import ScoreFrame, Timed
from monitor.sinks.store.frame_rows import (
    FrameRow,
    GrowingSpan,
    blob_of,
    decompress,
    read_frame_row,
)
from monitor.sinks.store.records import count_of, insert, source_key, to_ms

FORMAT = 2
MEMORY_ROWS = 1000
"""Rows kept while the database cannot be written: 16 hours of one source, 3 MB."""

_MOST_SCORES = 2**21
"""More than a row has: a minute of 100 frames a label."""

_SCORE_STEPS = 65_535
_LEVEL_STEPS = 100
_UNKNOWN_LEVEL = -32_768


@dataclass(frozen=True, slots=True)
class ScoreArrays:
    """The contents of a row."""

    scores: NDArray[np.float64]
    """(frames, labels), in [0, 1]."""

    spans: NDArray[np.int64]
    """(frames, labels, 2), samples since the start of each frame's window."""

    levels: NDArray[np.float64]
    """(frames, 3): level_dbfs, peak_level_dbfs, laeq_db."""

    @property
    def computed(self) -> NDArray[np.bool_]:
        """(frames,): see `ScoreFrame.is_computed`."""
        return np.asarray((self.spans[..., 0] < self.spans[..., 1]).all(axis=1))


@dataclass(frozen=True, slots=True)
class ScoreRow(FrameRow):
    """Scores and levels of the frames."""

    format: int
    data: bytes

    def frames(self) -> list[ScoreFrame]:
        """Decode the score frames.

        Raises:
            StoreError: The row is damaged, or a newer version wrote it.
        """
        arrays = self.arrays()
        return [self.frame(arrays, index) for index in range(len(arrays.scores))]

    def frame(self, arrays: ScoreArrays, index: int) -> ScoreFrame:
        """Build one score frame from the decoded row."""
        start = self.start_sample + index * self.hop_samples
        spans = arrays.spans[index].tolist()
        return ScoreFrame(
            self.source,
            start,
            start + self.window_samples,
            tuple(arrays.scores[index].tolist()),
            tuple((start + first, start + last) for first, last in spans),
            *arrays.levels[index].tolist(),
        )

    def arrays(self) -> ScoreArrays:
        """Decode the row without making frames, which is faster.

        Raises:
            StoreError: As `frames`.
        """
        try:
            return self._decode()
        except (ValueError, IndexError, struct.error, zlib.error) as error:
            raise StoreError(
                f"the scores of {self.source} at {self.start} are damaged: {error}"
            ) from None

    def _decode(self) -> ScoreArrays:
        if self.frame_count < 1:
            raise ValueError("there are no frames")
        if self.format == 1:
            return _decode_format_1(self.data, self.frame_count, self.window_samples)
        if self.format == FORMAT:
            return _decode(self.data, self.frame_count)
        raise ValueError(f"format {self.format} is unknown; a newer version wrote it")


def read_score_row(row: sqlite3.Row) -> ScoreRow:
    """Turn a row of scores_read into its `ScoreRow`."""
    return ScoreRow(
        **read_frame_row(row), format=count_of(row["format"]), data=blob_of(row)
    )


def encode_frames(frames: Sequence[ScoreFrame]) -> bytes:
    """Encode equally spaced frames of one source, with the same labels and window."""
    scores = np.array([frame.scores for frame in frames]).T  # (labels, frames)
    steps = np.rint(np.clip(scores, 0, 1) * _SCORE_STEPS).astype("<u2")
    starts = np.array([frame.start for frame in frames])
    spans = np.array([frame.spans for frame in frames]) - starts[:, None, None]
    levels = np.array(
        [(frame.level_dbfs, frame.peak_level_dbfs, frame.laeq_db) for frame in frames]
    ).T  # (3, frames)
    known = np.isfinite(levels)
    centibels = np.rint(np.where(known, levels, 0) * _LEVEL_STEPS)
    centibels = np.clip(centibels, _UNKNOWN_LEVEL + 1, -_UNKNOWN_LEVEL - 1)
    arrays = (
        np.diff(steps, axis=1, prepend=steps.dtype.type(0)),
        spans.transpose(1, 2, 0).astype("<i4"),  # (labels, 2, frames)
        np.where(known, centibels, _UNKNOWN_LEVEL).astype("<i2"),
    )
    # One stream for all would be a tenth longer: their statistics differ.
    return b"".join(zlib.compress(array.tobytes(), 9) for array in arrays)


def _decode(data: bytes, frames: int) -> ScoreArrays:
    content, data = decompress(data, 2 * _MOST_SCORES)
    changes = np.frombuffer(content, "<u2")
    content, data = decompress(data, 8 * len(changes) + 1)
    spans = np.frombuffer(content, "<i4")
    content, _ = decompress(data, 6 * frames + 1)
    levels = np.frombuffer(content, "<i2")
    labels = len(changes) // frames
    return _arrays(
        changes.reshape(labels, frames),
        spans.reshape(labels, 2, frames).transpose(2, 0, 1).astype(np.int64),
        levels.reshape(3, frames),
    )


def _decode_format_1(data: bytes, frames: int, window: int) -> ScoreArrays:
    """Decode one zlib stream behind a byte, 1.

    It holds u8 labels, u8 bytes of a span's number, u32 samples of a span's unit; the
    high bytes of all differences of scores, then the low bytes; spans in their unit,
    (2, labels, frames), rounded up at the end of the window; levels as today.
    """
    content, _ = decompress(data[1:])
    labels, width, unit = struct.unpack_from("<BBI", content)
    each, head = labels * frames, struct.calcsize("<BBI")
    high = np.frombuffer(content, np.uint8, each, head).astype(np.uint16)
    low = np.frombuffer(content, np.uint8, each, head + each)
    at = head + 2 * each
    units = np.frombuffer(content, f"<u{width}", 2 * each, at).astype(np.int64)
    levels = np.frombuffer(content, "<i2", offset=at + 2 * each * width)
    return _arrays(
        (high << np.uint16(8) | low).reshape(labels, frames),
        np.minimum(units * unit, window).reshape(2, labels, frames).transpose(2, 1, 0),
        levels.reshape(3, frames),
    )


def _arrays(
    changes: NDArray[np.uint16], spans: NDArray[np.int64], levels: NDArray[np.int16]
) -> ScoreArrays:
    steps = np.cumsum(changes, axis=1, dtype=np.uint16)
    decibels = np.where(levels == _UNKNOWN_LEVEL, np.nan, levels / _LEVEL_STEPS)
    return ScoreArrays(steps.T / _SCORE_STEPS, spans, decibels.T)


@dataclass(slots=True)
class _PendingRow:
    """A row that grows, or a complete one that could not be written yet."""

    span: GrowingSpan
    frames: list[ScoreFrame]
    data: bytes | None = None
    """The content instead of `frames`, when the row is complete."""

    key: int | None = None
    """Key of the row in the database, as of the last commit."""

    stored: int = 0
    """Number of frames in the database, as of the last commit."""

    @property
    def is_stored(self) -> bool:
        """True if all frames are in the database, as of the last commit."""
        return self.stored == self.span.count

    def can_grow(self, frame: ScoreFrame, start_ms: int, end_ms: int) -> bool:
        """Return True if the frame is the next one of the row."""
        is_alike = len(frame.scores) == len(self.frames[0].scores)
        return is_alike and self.span.can_grow(frame, start_ms, end_ms)

    def grow(self, frame: ScoreFrame, end_ms: int) -> None:
        self.frames.append(frame)
        self.span.grow(frame, end_ms)

    def complete(self) -> None:
        """Encode the frames, and let them go."""
        self.data, self.frames = encode_frames(self.frames), []

    def columns(self) -> dict[str, object]:
        """Encode the row."""
        data = encode_frames(self.frames) if self.data is None else self.data
        return {**self.span.columns(), "format": FORMAT, "data": data}


class ScoreLog:
    """Gathers score frames and writes them.  Used by one thread at a time.

    A row is written every few seconds until its minute is over, and each time replaced
    by its longer self.
    """

    def __init__(self, memory_rows: int = MEMORY_ROWS) -> None:
        """Begin empty; keep up to `memory_rows` complete rows that are not stored."""
        self._growing: dict[str, _PendingRow] = {}
        self._complete: deque[_PendingRow] = deque()
        self._memory_rows = memory_rows
        self._in_transaction: list[tuple[_PendingRow, int, int]] = []
        self.pending_frames = 0
        """Frames that are not in the database yet.  Any thread."""

    def add(self, timed: Timed) -> None:
        """Take a score frame; one whose time is unknown is not kept.

        A recording fed at full speed has no time of day, and can be analysed again.
        """
        frame = timed.record
        assert isinstance(frame, ScoreFrame)
        if timed.start_utc is None or timed.end_utc is None:
            return
        start_ms, end_ms = to_ms(timed.start_utc), to_ms(timed.end_utc)
        self.pending_frames += 1
        row = self._growing.get(frame.source)
        if row is not None and row.can_grow(frame, start_ms, end_ms):
            row.grow(frame, end_ms)
            return
        if row is not None and not row.is_stored:
            row.complete()
            self._complete.append(row)
        span = GrowingSpan.begin(frame, start_ms, end_ms)
        self._growing[frame.source] = _PendingRow(span, [frame])

    def write(self, connection: sqlite3.Connection, session: int) -> None:
        """Write all frames inside a transaction; then call `commit` or `roll_back`."""
        self._in_transaction = [
            (row, _write_row(connection, session, row), row.span.count)
            for row in self._rows()
            if not row.is_stored
        ]

    def commit(self) -> None:
        """Mark the frames written last as stored."""
        for row, key, stored in self._in_transaction:
            row.key, row.stored = key, stored
        while self._complete and self._complete[0].is_stored:
            self._complete.popleft()
        self.roll_back()

    def forget(self, since_ms: int, until_ms: int) -> None:
        """Drop the rows of a time that the user deleted; a minute at most with them."""

        def is_kept(row: _PendingRow) -> bool:
            return row.span.is_outside(since_ms, until_ms)

        self._complete = deque(filter(is_kept, self._complete))
        growing = self._growing.items()
        self._growing = {name: row for name, row in growing if is_kept(row)}
        self._count_pending()

    def roll_back(self) -> None:
        """Keep the frames written last in memory, and drop the oldest beyond it."""
        self._in_transaction = []
        while len(self._complete) > self._memory_rows:
            self._complete.popleft()
        self._count_pending()

    def _count_pending(self) -> None:
        self.pending_frames = sum(row.span.count - row.stored for row in self._rows())

    def _rows(self) -> Iterator[_PendingRow]:
        yield from self._complete
        yield from self._growing.values()


def _write_row(connection: sqlite3.Connection, session: int, row: _PendingRow) -> int:
    """Write a row, or its longer self; return its key."""
    columns = {**row.columns(), "session": session}
    if row.key is not None:
        changed = connection.execute(
            "UPDATE scores SET end_ms = :end_ms, hop_samples = :hop_samples, "
            "frames = :frames, data = :data "
            "WHERE id = :id AND session = :session AND start_ms = :start_ms",
            {**columns, "id": row.key},
        ).rowcount
        if changed:
            return row.key
    columns["source"] = source_key(connection, row.span.source)
    return insert(connection, "scores", columns)
