"""Score frames on their way into the database: about a minute of them is one row."""

import sqlite3
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from monitor.records import ScoreFrame, Timed
from monitor.sinks.store.rows import is_forgotten, source_key, to_ms
from monitor.sinks.store.score_blob import encode_frames, is_next

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
