"""Rows of equally spaced score frames: what those of scores and embeddings share."""

import sqlite3
import zlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitor.records import ScoreFrame
from monitor.sinks.store.records import count_of, from_ms, text_of

ROW_SECONDS = 60.0
MAX_ROW_MS = 600_000
"""Longest row, at any hop."""

_MAX_CONTENT_BYTES = 2**26


@dataclass(frozen=True, slots=True)
class FrameRow:
    """Equally spaced score frames of one source: a row of the database."""

    session: str
    source: str
    start: datetime
    """Start of the first window, UTC."""

    end: datetime
    """End of the last window, UTC."""

    start_sample: int
    window_samples: int
    hop_samples: int
    frame_count: int

    @property
    def stop_sample(self) -> int:
        """End of the last window, exclusive."""
        hops = (self.frame_count - 1) * self.hop_samples
        return self.start_sample + self.window_samples + hops


def read_frame_row(row: sqlite3.Row) -> dict[str, Any]:
    """Turn a row of a view, with names, into the fields of its `FrameRow`."""
    if min(row["frames"], row["hop_samples"], row["window_samples"]) < 1:
        raise ValueError("its windows have no length")
    return {
        "session": text_of(row["session_name"]),
        "source": text_of(row["source_name"]),
        "start": from_ms(row["start_ms"]),
        "end": from_ms(row["end_ms"]),
        "start_sample": count_of(row["start_sample"]),
        "window_samples": count_of(row["window_samples"]),
        "hop_samples": count_of(row["hop_samples"]),
        "frame_count": count_of(row["frames"]),
    }


def blob_of(row: sqlite3.Row) -> bytes:
    """Return the encoded content of a row."""
    data = row["data"]
    if not isinstance(data, bytes):
        raise TypeError("its content is no blob")
    return data


def decompress(data: bytes, most: int = _MAX_CONTENT_BYTES) -> tuple[bytes, bytes]:
    """Decompress one stream; return its content and what follows it.

    Raises:
        ValueError: It is cut short, or unpacks to `most` bytes or more.
        zlib.error: It is none.
    """
    stream = zlib.decompressobj()
    content = stream.decompress(data, most)
    if not stream.eof:
        raise ValueError("they are cut short, or longer than any")
    return content, stream.unused_data


@dataclass(slots=True)
class GrowingSpan:
    """The span of a row that grows by one frame at a time."""

    source: str
    start_ms: int
    end_ms: int
    first: int
    """Start of the first window, as below: a sample."""

    last: int
    window: int
    count: int = 1
    """Number of frames."""

    @classmethod
    def begin(cls, frame: ScoreFrame, start_ms: int, end_ms: int) -> "GrowingSpan":
        """Begin with one frame."""
        window = frame.stop - frame.start
        return cls(frame.source, start_ms, end_ms, frame.start, frame.start, window)

    @property
    def hop(self) -> int:
        """Samples from one window to the next; of a single one, its length."""
        steps = self.count - 1
        return (self.last - self.first) // steps if steps else self.window

    def can_grow(self, frame: ScoreFrame, start_ms: int, end_ms: int) -> bool:
        """Return True if the frame is the next one of the row."""
        hop = frame.start - self.last
        return (
            frame.stop - frame.start == self.window
            and 0 < hop <= self.window
            and (self.count == 1 or hop == self.hop)
            and end_ms - self.start_ms <= ROW_SECONDS * 1000
            # The clock may have stepped.
            and self.start_ms <= start_ms
            and self.end_ms < end_ms
        )

    def grow(self, frame: ScoreFrame, end_ms: int) -> None:
        """Take the next frame."""
        self.last, self.end_ms = frame.start, end_ms
        self.count += 1

    def is_outside(self, since_ms: int, until_ms: int) -> bool:
        """Return True if nothing of it is in a range of time."""
        return self.end_ms < since_ms or self.start_ms >= until_ms

    def columns(self) -> dict[str, object]:
        """Return its columns in the database."""
        return {
            "start_ms": self.start_ms,
            "end_ms": self.end_ms,
            "start_sample": self.first,
            "window_samples": self.window,
            "hop_samples": self.hop,
            "frames": self.count,
        }
