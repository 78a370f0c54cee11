"""Embeddings in the database, on request: about a minute of one source is one row.

An embedding describes what was heard in a window, so that sounds like an example can be
found later; it is no sound, and none can be heard from it.  The blob of a row is two
numpy arrays, each compressed by zlib on its own, one behind the other, little-endian:

    float32 (frames,)            step of each frame; 0: the window has no embedding, as
                                 it lay below the level gate
    int8    (features, frames)   values in steps of their frame, -127 to 127; the first
                                 value of a feature, then the differences from frame to
                                 frame, modulo 256

A value is kept to half a step, which is a 254th of the largest value of its frame.
"""

import logging
import sqlite3
import zlib
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monitor.errors import StoreError
from monitor.records import ScoreFrame, Timed
from monitor.sinks.store.frame_rows import (
    MAX_ROW_MS,
    FrameRow,
    GrowingSpan,
    blob_of,
    decompress,
    read_frame_row,
)
from monitor.sinks.store.records import count_of, insert, source_key, to_ms

if TYPE_CHECKING:
    from monitor.sinks.store.queries import Reader

logger = logging.getLogger(__name__)

FORMAT = 1
MEMORY_ROWS = 100
"""Rows kept while the database cannot be written: 100 minutes of one source, 3 MB."""

_STEPS = 127
_MAX_VALUES = 2**22

Array = NDArray[np.float32]
Quantised = tuple[float, NDArray[np.int8]]
"""Step and values of an embedding."""


@dataclass(frozen=True, slots=True)
class Embeddings:
    """The embeddings of one row, without the windows that have none."""

    source: str
    session: str
    starts: tuple[datetime, ...]
    """Start of each window, UTC."""

    window_seconds: float
    values: Array
    """float32, (frames, features), finite."""


def read_embeddings(
    reader: "Reader",
    since: datetime | None = None,
    until: datetime | None = None,
) -> Iterator[Embeddings]:
    """Read the embeddings of a time range, row by row, the oldest first.

    Those of windows that overlap the range belong to it.  A row that is damaged is left
    out and logged.

    Args:
        reader: Reader of the database.
        since: Windows that ended before are left out; None: open, as `until`.
        until: Windows that begin then or later are left out.
    """
    for row in reader.embedding_rows(since, until):
        try:
            values = row.values()
        except StoreError as error:
            logger.warning("%s; they are left out", error)
            continue
        window = timedelta(seconds=row.window_samples / row.sample_rate)
        hop_seconds = row.hop_samples / row.sample_rate
        starts = [
            row.start + timedelta(seconds=n * hop_seconds) for n in range(len(values))
        ]
        kept = [
            not np.isnan(values[n, 0])
            and (since is None or start + window > since)
            and (until is None or start < until)
            for n, start in enumerate(starts)
        ]
        if any(kept):
            chosen = tuple(
                s for s, is_kept in zip(starts, kept, strict=True) if is_kept
            )
            seconds = window.total_seconds()
            yield Embeddings(row.source, row.session, chosen, seconds, values[kept])


@dataclass(frozen=True, slots=True)
class EmbeddingRow(FrameRow):
    """Embeddings of the frames."""

    sample_rate: int
    features: int
    format: int
    data: bytes

    def values(self) -> Array:
        """Decode the row.

        Returns:
            float32, (frames, features); NaN where a window has no embedding.

        Raises:
            StoreError: The row is damaged, or a newer version wrote it.
        """
        try:
            return self._decode()
        except (ValueError, zlib.error) as error:
            raise StoreError(
                f"the embeddings of {self.source} at {self.start} are damaged: {error}"
            ) from None

    def _decode(self) -> Array:
        if self.format != FORMAT:
            raise ValueError(
                f"format {self.format} is unknown; a newer version wrote it"
            )
        if not 0 < self.frame_count * self.features <= _MAX_VALUES:
            raise ValueError("their number is impossible")
        head, rest = decompress(self.data)
        steps = np.frombuffer(head, "<f4").reshape(self.frame_count)
        if not (np.isfinite(steps) & (steps >= 0)).all():
            raise ValueError("a step is no length")
        content, _ = decompress(rest)
        changes = np.frombuffer(content, np.uint8)
        changes = changes.reshape(self.features, self.frame_count)
        values = np.cumsum(changes, axis=1, dtype=np.uint8).view(np.int8).T
        known = np.where(steps > 0, steps, np.nan)
        return np.multiply(values, known[:, None], dtype=np.float32)


def read_embedding_row(row: sqlite3.Row) -> EmbeddingRow:
    """Turn a row of embeddings_read into its `EmbeddingRow`."""
    found = EmbeddingRow(
        **read_frame_row(row),
        sample_rate=count_of(row["sample_rate"]),
        features=count_of(row["features"]),
        format=count_of(row["format"]),
        data=blob_of(row),
    )
    milliseconds = 1000 * (found.stop_sample - found.start_sample)
    if milliseconds > MAX_ROW_MS * found.sample_rate:
        raise ValueError("it is longer than any")
    return found


def quantise(embedding: Array | None) -> Quantised | None:
    """Round an embedding; None: there is none, or it makes no sense."""
    if embedding is None or not np.isfinite(embedding).all():
        return None
    step = np.float32(np.abs(embedding).max(initial=0) / _STEPS)
    # All zeros are an embedding, too.
    step = step or np.float32(1)
    rounded = np.rint(np.clip(embedding / step, -_STEPS, _STEPS))
    return float(step), rounded.astype(np.int8)


def encode(embeddings: Sequence[Quantised | None], features: int) -> bytes:
    """Encode the embeddings of equally spaced frames of one source."""
    steps = np.array([each[0] if each else 0 for each in embeddings], "<f4")
    none = np.zeros(features, np.int8)
    values = np.array([each[1] if each else none for each in embeddings])
    # Windows overlap: differences take a fifth less than values.
    changes = np.diff(values.T.view(np.uint8), axis=1, prepend=np.uint8(0))
    return b"".join(zlib.compress(array.tobytes(), 9) for array in (steps, changes))


@dataclass(slots=True)
class _PendingRow:
    span: GrowingSpan
    features: int
    embeddings: list[Quantised | None]
    seen: int = 0
    """Number of frames at the last `write`."""

    data: bytes | None = None
    """The content instead of `embeddings`, when the row is complete."""

    def can_grow(
        self,
        frame: ScoreFrame,
        embedding: Quantised | None,
        start_ms: int,
        end_ms: int,
    ) -> bool:
        """Return True if the frame is the next one of the row; it may have none."""
        is_alike = embedding is None or len(embedding[1]) == self.features
        return is_alike and self.span.can_grow(frame, start_ms, end_ms)

    def grow(self, frame: ScoreFrame, embedding: Quantised | None, end_ms: int) -> None:
        self.embeddings.append(embedding)
        self.span.grow(frame, end_ms)

    def complete(self) -> None:
        """Encode the embeddings, and let them go."""
        self.data, self.embeddings = encode(self.embeddings, self.features), []

    def columns(self) -> dict[str, object]:
        assert self.data is not None, "it is complete"
        facts = {"features": self.features, "format": FORMAT, "data": self.data}
        return {**self.span.columns(), **facts}


class EmbeddingLog:
    """Gathers embeddings and writes them.  Used by one thread at a time.

    A row is written once, when its minute or the run is over or its source has paused:
    rows are large, and written again with every few seconds they would wear out a flash
    card.  So a kill costs the last minute.
    """

    def __init__(self, memory_rows: int = MEMORY_ROWS) -> None:
        """Begin empty; keep up to `memory_rows` complete rows that are not stored."""
        self._growing: dict[str, _PendingRow] = {}
        self._complete: deque[_PendingRow] = deque()
        self._memory_rows = memory_rows
        self._in_transaction = 0

    def add(self, timed: Timed) -> None:
        """Take the embedding of a score frame; see `ScoreLog.add`."""
        frame = timed.record
        assert isinstance(frame, ScoreFrame)
        if timed.start_utc is None or timed.end_utc is None:
            return
        start_ms, end_ms = to_ms(timed.start_utc), to_ms(timed.end_utc)
        embedding = quantise(frame.embedding)
        row = self._growing.get(frame.source)
        if row is not None and row.can_grow(frame, embedding, start_ms, end_ms):
            row.grow(frame, embedding, end_ms)
            return
        if row is not None:
            self._complete_row(frame.source)
        if embedding is not None:
            span = GrowingSpan.begin(frame, start_ms, end_ms)
            row = _PendingRow(span, len(embedding[1]), [embedding])
            self._growing[frame.source] = row

    def write(
        self, connection: sqlite3.Connection, session: int, *, ends: bool
    ) -> None:
        """Write complete rows inside a transaction; then call `commit` or `roll_back`.

        With those that have not grown since the last time; `ends`: with all.
        """
        for source, row in list(self._growing.items()):
            if ends or row.seen == row.span.count:
                self._complete_row(source)
            row.seen = row.span.count
        for row in self._complete:
            columns = {**row.columns(), "session": session}
            columns["source"] = source_key(connection, row.span.source)
            insert(connection, "embeddings", columns)
        self._in_transaction = len(self._complete)

    def commit(self) -> None:
        """Let the rows go that were written last."""
        for _ in range(self._in_transaction):
            self._complete.popleft()
        self.roll_back()

    def roll_back(self) -> None:
        """Keep the rows written last in memory, and drop the oldest beyond it."""
        self._in_transaction = 0
        while len(self._complete) > self._memory_rows:
            self._complete.popleft()

    def forget(self, since_ms: int, until_ms: int) -> None:
        """Drop the rows of a time that the user deleted; a minute at most with them."""
        growing = self._growing.items()
        self._growing = {
            name: row
            for name, row in growing
            if row.span.is_outside(since_ms, until_ms)
        }
        self._complete = deque(
            row for row in self._complete if row.span.is_outside(since_ms, until_ms)
        )

    def _complete_row(self, source: str) -> None:
        row = self._growing.pop(source)
        row.complete()
        self._complete.append(row)
