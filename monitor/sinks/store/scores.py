"""Score frames on their way into the database: about a minute of them is one row.

Score frames in few bytes: about a minute of them as one blob.

A blob is one byte, the version, and zlib over little-endian numbers in this order, all
values of a label or a level together, for they change little from hop to hop:

    u8          labels
    u8          bytes of a span's number: 1, 2 or 4
    u32         samples of a span's unit
    u8 twice    scores: high bytes, then low bytes of differences in time, each of
                (labels, frames); a score of 1 is 65535
    u8/u16/u32  spans: first, then past-last unit, each of (labels, frames)
    i16         level_dbfs, peak_level_dbfs, laeq_db, each of (frames,), 0.01 dB

Scores are kept to 0.000008, levels to 0.005 dB, spans exactly.
"""

import sqlite3
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from monitor.records import ScoreFrame, Timed
from monitor.sinks.store.records import is_forgotten, source_key, to_ms

_VERSION = 1
_HEAD = struct.Struct("<BBI")
_SCORE_STEPS = 65_535
_LEVEL_STEPS = 100
_NO_LEVEL = -32_768
"""Stands for a level that is not a finite number."""

_LEVELS = 3
_MOST_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """The contents of a blob."""

    scores: NDArray[np.float64]
    """(frames, labels), in [0, 1]."""

    spans: NDArray[np.int64]
    """(frames, labels, 2), samples since the start of each frame's window."""

    levels: NDArray[np.float64]
    """(frames, 3): level_dbfs, peak_level_dbfs, laeq_db."""


def is_next(before: ScoreFrame, after: ScoreFrame, hop_samples: int | None) -> bool:
    """Whether two frames can stand one after the other in a blob.

    Args:
        before: The last frame of the blob.
        after: The frame to come.
        hop_samples: Distance of the frames before; None while there is only one.
    """
    hop = after.start - before.start
    return (
        after.stop - after.start == before.stop - before.start
        and len(after.scores) == len(before.scores)
        and 0 < hop <= after.stop - after.start
        and hop_samples in (None, hop)
    )


def encode_frames(frames: Sequence[ScoreFrame]) -> bytes:
    """Encode frames of one source that follow each other, see `is_next`."""
    window = frames[0].stop - frames[0].start
    scores = np.array([frame.scores for frame in frames]).T  # (labels, frames)
    steps = np.rint(np.clip(scores, 0, 1) * _SCORE_STEPS).astype(np.uint16)
    changes = np.diff(steps, axis=1, prepend=np.uint16(0)).astype("<u2")
    starts = np.array([frame.start for frame in frames])
    spans = np.array([frame.spans for frame in frames]) - starts[:, None, None]
    unit, units = _to_units(spans.transpose(2, 1, 0), window)  # (2, labels, frames)
    parts = [
        _HEAD.pack(len(steps), units.dtype.itemsize, unit),
        (changes >> 8).astype(np.uint8).tobytes(),
        (changes & 0xFF).astype(np.uint8).tobytes(),
        units.tobytes(),
        _pack_levels(frames).tobytes(),
    ]
    return bytes([_VERSION]) + zlib.compress(b"".join(parts), 9)


def decode_table(data: bytes, frames: int, window_samples: int) -> ScoreTable:
    """Decode a blob.

    Raises:
        ValueError: It is damaged, or a newer program wrote it.
    """
    try:
        return _decode_table(data, frames, window_samples)
    except (struct.error, zlib.error, IndexError) as error:
        raise ValueError(f"a record of scores is damaged: {error}") from None


def decode_frames(
    source: str,
    start_sample: int,
    window_samples: int,
    hop_samples: int,
    frames: int,
    data: bytes,
) -> list[ScoreFrame]:
    """Decode a blob into the frames it was made of, within its precision.

    Raises:
        ValueError: See `decode_table`.
    """
    table = decode_table(data, frames, window_samples)
    decoded = []
    for index, (scores, spans, levels) in enumerate(
        zip(
            table.scores.tolist(),
            table.spans.tolist(),
            table.levels.tolist(),
            strict=True,
        )
    ):
        start = start_sample + index * hop_samples
        decoded.append(
            ScoreFrame(
                source,
                start,
                start + window_samples,
                tuple(scores),
                tuple((start + first, start + last) for first, last in spans),
                *levels,
            )
        )
    return decoded


def _to_units(
    spans: NDArray[np.int64], window: int
) -> tuple[int, NDArray[np.unsignedinteger]]:
    """Divide by what all borders share: columns of the network in almost all cases.

    The end of the window need not be a whole number of units; it is rounded up.
    """
    unit = int(np.gcd.reduce(spans[spans != window], axis=None)) or max(1, window)
    units = -(-spans // unit)
    most = int(units.max(initial=0))
    kind = "<u1" if most < 1 << 8 else "<u2" if most < 1 << 16 else "<u4"
    return unit, units.astype(kind)


def _pack_levels(frames: Sequence[ScoreFrame]) -> NDArray[np.int16]:
    levels = np.array(
        [(frame.level_dbfs, frame.peak_level_dbfs, frame.laeq_db) for frame in frames]
    ).T  # (3, frames)
    known = np.isfinite(levels)
    steps = np.rint(np.where(known, levels, 0) * _LEVEL_STEPS)
    steps = np.where(known, np.clip(steps, _NO_LEVEL + 1, -_NO_LEVEL - 1), _NO_LEVEL)
    return steps.astype("<i2")


def _decode_table(data: bytes, frames: int, window: int) -> ScoreTable:
    if data[0] != _VERSION:
        raise ValueError(f"a record of scores has version {data[0]}: update to read it")
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(data[1:], _MOST_BYTES)
    if not unpacker.eof:
        raise ValueError("a record of scores is longer than any, or cut short")
    labels, width, unit = _HEAD.unpack_from(content)
    if frames < 1 or width not in (1, 2, 4):
        raise ValueError("a record of scores is damaged: its head makes no sense")
    each = labels * frames
    sizes = [_HEAD.size, each, each, 2 * each * width, 2 * _LEVELS * frames]
    if len(content) != sum(sizes):
        raise ValueError("a record of scores has another length than it should")
    _, high_end, low_end, span_end, _ = np.cumsum(sizes).tolist()
    high = np.frombuffer(content, np.uint8, each, _HEAD.size).astype(np.uint16)
    low = np.frombuffer(content, np.uint8, each, high_end)
    changes = (high << 8 | low).reshape(labels, frames)
    steps = np.cumsum(changes, axis=1, dtype=np.uint16)
    units = np.frombuffer(content, f"<u{width}", 2 * each, low_end)
    spans = np.minimum(units.reshape(2, labels, frames).astype(np.int64) * unit, window)
    levels = np.frombuffer(content, "<i2", _LEVELS * frames, span_end)
    return ScoreTable(
        steps.T / _SCORE_STEPS,
        spans.transpose(2, 1, 0),
        np.where(levels == _NO_LEVEL, np.nan, levels / _LEVEL_STEPS)
        .reshape(_LEVELS, frames)
        .T,
    )


ROW_SECONDS = 60.0
MEMORY_ROWS = 1000
"""Rows kept while the database cannot be written: 16 hours of one source, 3 MB."""


@dataclass(slots=True)
class _Row:
    """A row that grows, or one that is complete and waits to be written."""

    source: str
    start_sample: int
    window_samples: int
    start_ms: int
    end_ms: int
    frames: list[ScoreFrame] = field(default_factory=list)
    hop_samples: int | None = None
    packed: bytes | None = None
    """Instead of `frames`, when the row is complete."""

    count: int = 0
    """Frames."""

    key: int | None = None
    """Of the row in the database, as of the last commit."""

    stored: int = 0
    """Frames that are in the database, as of the last commit."""

    @property
    def data(self) -> bytes:
        return encode_frames(self.frames) if self.packed is None else self.packed

    def add(self, frame: ScoreFrame, end_ms: int) -> None:
        if self.frames and self.hop_samples is None:
            self.hop_samples = frame.start - self.frames[-1].start
        self.frames.append(frame)
        self.count += 1
        self.end_ms = end_ms

    def pack(self) -> None:
        self.packed = encode_frames(self.frames)
        self.frames = []


class ScoreLog:
    """Gathers score frames and writes them.  Used by one thread.

    A row is written when its minute is over, and before that whenever something else is
    committed: then it is replaced by its longer self.
    """

    def __init__(
        self, *, row_seconds: float = ROW_SECONDS, memory_rows: int = MEMORY_ROWS
    ) -> None:
        self._row_ms = row_seconds * 1000
        self._growing: dict[str, _Row] = {}
        self._complete: deque[_Row] = deque()
        self._memory_rows = memory_rows
        self._in_transaction: list[tuple[_Row, int | None, int]] = []
        self.lost_frames = 0
        """Frames that were given up because memory was full."""

    @property
    def waiting_frames(self) -> int:
        """Frames that are not in the database yet."""
        return sum(row.count - row.stored for row in self._rows())

    def add(self, timed: Timed) -> None:
        """Take a score frame; one whose time is unknown is not kept.

        A recording fed at full speed has no time of day, and can be analysed again.
        """
        frame = timed.record
        assert isinstance(frame, ScoreFrame)
        if timed.start_utc is None or timed.end_utc is None:
            return
        start_ms, end_ms = to_ms(timed.start_utc), to_ms(timed.end_utc)
        row = self._growing.get(frame.source)
        if row is not None and not self._belongs(row, frame, start_ms, end_ms):
            self._close(row)
            row = None
        if row is None:
            window = frame.stop - frame.start
            row = _Row(frame.source, frame.start, window, start_ms, end_ms)
            self._growing[frame.source] = row
        row.add(frame, end_ms)

    def begin_anew(self) -> None:
        """Forget all frames: what follows belongs to another session.

        Those that are not in the database yet are lost.
        """
        self.lost_frames += self.waiting_frames
        self._growing.clear()
        self._complete.clear()

    def write(self, connection: sqlite3.Connection, session: int) -> None:
        """Write everything inside a transaction; then call `commit` or `roll_back`."""
        self._in_transaction = []
        for row in self._rows():
            if row.stored < row.count:
                key = self._write(connection, session, row)
                self._in_transaction.append((row, key, row.count))

    def commit(self) -> None:
        """Take note that what was written is in the database."""
        for row, key, stored in self._in_transaction:
            row.key, row.stored = key, stored
        self._in_transaction = []
        while self._complete and self._complete[0].stored == self._complete[0].count:
            self._complete.popleft()
        self._give_up()

    def roll_back(self) -> None:
        """Take note that it is not."""
        self._in_transaction = []
        self._give_up()

    def _give_up(self) -> None:
        """Lose the oldest rows if they are too many."""
        while len(self._complete) > self._memory_rows:
            row = self._complete.popleft()
            self.lost_frames += row.count - row.stored

    def _rows(self) -> Iterable[_Row]:
        yield from self._complete
        yield from self._growing.values()

    def _belongs(
        self, row: _Row, frame: ScoreFrame, start_ms: int, end_ms: int
    ) -> bool:
        return (
            is_next(row.frames[-1], frame, row.hop_samples)
            and end_ms - row.start_ms <= self._row_ms
            # The clock may have stepped.
            and row.start_ms <= start_ms
            and row.end_ms < end_ms
        )

    def _close(self, row: _Row) -> None:
        del self._growing[row.source]
        if row.stored < row.count:
            row.pack()
            self._complete.append(row)

    def _write(
        self, connection: sqlite3.Connection, session: int, row: _Row
    ) -> int | None:
        if row.key is not None:
            changed = connection.execute(
                "UPDATE scores SET end_ms = ?, hop_samples = ?, frames = ?, data = ? "
                "WHERE id = ? AND session = ? AND start_ms = ?",
                (
                    row.end_ms,
                    row.hop_samples or row.window_samples,
                    row.count,
                    row.data,
                    row.key,
                    session,
                    row.start_ms,
                ),
            ).rowcount
            if changed:
                return row.key
        # Deleted by the user, perhaps while the row was growing: a minute at most goes
        # with it.
        if is_forgotten(connection, session, row.start_ms, row.end_ms):
            return None
        return connection.execute(
            "INSERT INTO scores (session, source, start_ms, end_ms, start_sample, "
            "window_samples, hop_samples, frames, data) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                session,
                source_key(connection, row.source),
                row.start_ms,
                row.end_ms,
                row.start_sample,
                row.window_samples,
                row.hop_samples or row.window_samples,
                row.count,
                row.data,
            ),
        ).lastrowid
