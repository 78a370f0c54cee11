"""What the database knows, for commands and reports."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor.errors import StoreError, StoreUnavailableError
from monitor.records import EVERY_SOURCE, ScoreFrame, Timed
from monitor.sinks.store.database import Database
from monitor.sinks.store.records import (
    from_ms,
    read_gap,
    read_health,
    read_occurrence,
    read_rows,
    to_ms,
)
from monitor.sinks.store.scores import ScoreTable, decode_frames, decode_table

LONGEST_ROW_MS = 600_000
"""No row of scores is longer, whatever the hop."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Equally spaced score frames of one source: a row of the database."""

    session: str
    source: str
    start: datetime
    """Of the first window, UTC."""

    end: datetime
    """Of the last window, UTC."""

    start_sample: int
    window_samples: int
    hop_samples: int
    frames: int
    data: bytes

    @property
    def stop_sample(self) -> int:
        """Past the last window."""
        return self.start_sample + self.window_samples + self._hops

    def read(self) -> list[ScoreFrame]:
        """The score frames.

        Raises:
            StoreError: The row is damaged.
        """
        try:
            return decode_frames(
                self.source,
                self.start_sample,
                self.window_samples,
                self.hop_samples,
                self.frames,
                self.data,
            )
        except ValueError as error:
            raise StoreError(f"{self.source} at {self.start}: {error}") from None

    def read_table(self) -> ScoreTable:
        """The same as arrays, which is faster.

        Raises:
            StoreError: The row is damaged.
        """
        try:
            return decode_table(self.data, self.frames, self.window_samples)
        except ValueError as error:
            raise StoreError(f"{self.source} at {self.start}: {error}") from None

    def utc(self, frame: ScoreFrame) -> tuple[datetime, datetime]:
        """Start and end of a frame on the wall clock."""
        share = (frame.start - self.start_sample) / self._hops if self._hops else 0.0
        window = (self.end - self.start) * (
            self.window_samples / (self.window_samples + self._hops)
        )
        start = self.start + (self.end - self.start - window) * share
        return start, start + window

    @property
    def _hops(self) -> int:
        return (self.frames - 1) * self.hop_samples


@dataclass(frozen=True, slots=True)
class SessionFacts:
    """A run of the monitor."""

    session: str
    model: str
    labels: tuple[str, ...]
    sample_rate: int


class Reader:
    """Reads a database.  Used by one thread.

    Times are UTC; a stretch of time is `since` to `until`, and None is open.  What lies
    in it in part belongs to it.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def events(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        labels: Sequence[str] = (),
        sources: Sequence[str] = (),
        min_score: float | None = None,
    ) -> Iterator[Timed]:
        """Events, and onsets of what is going on, in the order of their beginning.

        Args:
            since: Those that ended before are left out.
            until: Those that began then or later are left out.
            labels: Only these; none: all.
            sources: Only these; none: all.
            min_score: Least peak score.
        """
        query = _Query("events_read", "at_ms")
        if since is not None:
            query.where(
                "(at_ms >= ? OR end_ms > ? OR end_reason IS NULL)",
                to_ms(since),
                to_ms(since),
            )
        if until is not None:
            query.where("at_ms < ?", to_ms(until))
        query.where_in("label", labels)
        query.where_in("source_name", sources)
        if min_score is not None:
            query.where("peak_score >= ?", min_score)
        return read_rows(query.run(self._connection), read_occurrence)

    def gaps(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        sources: Sequence[str] = (),
    ) -> Iterator[Timed]:
        """Gaps, in the order of their beginning."""
        query = _Query("gaps_read", "at_ms")
        if since is not None:
            query.where("(at_ms >= ? OR end_ms > ?)", to_ms(since), to_ms(since))
        if until is not None:
            query.where("at_ms < ?", to_ms(until))
        query.where_in("source_name", sources)
        return read_rows(query.run(self._connection), read_gap)

    def health(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        sources: Sequence[str] = (),
    ) -> Iterator[Timed]:
        """Troubles, in the order of their beginning; raised is what is going on."""
        query = _Query("health_read", "at_ms")
        if since is not None:
            query.where(
                "(at_ms >= ? OR end_ms > ? OR state = 'raised')",
                to_ms(since),
                to_ms(since),
            )
        if until is not None:
            query.where("at_ms < ?", to_ms(until))
        query.where_in("source_name", [*sources, EVERY_SOURCE] if sources else [])
        return read_rows(query.run(self._connection), read_health)

    def stretches(
        self,
        since: datetime | None = None,
        until: datetime | None = None,
        *,
        sources: Sequence[str] = (),
    ) -> Iterator[Stretch]:
        """What is known of scores, in the order of time."""
        query = _Query("scores_read", "start_ms, id")
        if since is not None:
            query.where("start_ms > ?", to_ms(since) - LONGEST_ROW_MS)
            query.where("end_ms > ?", to_ms(since))
        if until is not None:
            query.where("start_ms < ?", to_ms(until))
        query.where_in("source_name", sources)
        return read_rows(query.run(self._connection), _stretch)

    def sessions(self) -> dict[str, SessionFacts]:
        """Runs of the monitor, by the name in the stretches."""
        found = self._connection.execute(
            "SELECT session, model, labels, sample_rate FROM sessions"
        )
        try:
            return {
                name: SessionFacts(name, model, _labels(labels), rate)
                for name, model, labels, rate in found
            }
        except (ValueError, RecursionError) as error:
            raise StoreError(f"a session of the database is damaged: {error}") from None


@contextmanager
def open_to_read(path: Path) -> Iterator[Reader]:
    """Open the database at `path`; errors of reading it become sentences.

    Raises:
        StoreError: It is not there, is damaged, or this program cannot read it.
    """
    if not path.exists():
        raise StoreError(f"there is no database {path}: 'run' makes it")
    database = Database(path)
    try:
        connection = database.connect_to_read()
        try:
            if not database.is_current(connection):
                database.prepare()
            yield Reader(connection)
        finally:
            connection.close()
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        raise StoreUnavailableError(
            f"database {path} cannot be read: {error}"
        ) from None


class _Query:
    """A SELECT that is put together from conditions."""

    def __init__(self, view: str, order: str) -> None:
        self._view = view
        self._order = order
        self._conditions: list[str] = []
        self._values: list[object] = []

    def where(self, condition: str, *values: object) -> None:
        self._conditions.append(condition)
        self._values += values

    def where_in(self, column: str, choice: Iterable[str]) -> None:
        names = list(choice)
        if names:
            places = ", ".join("?" * len(names))
            self.where(f"{column} IN ({places})", *names)

    def run(self, connection: sqlite3.Connection) -> sqlite3.Cursor:
        conditions = " AND ".join(self._conditions) or "true"
        cursor = connection.cursor()
        cursor.row_factory = sqlite3.Row
        # Names and conditions are ours; what users give is bound.
        return cursor.execute(
            f"SELECT * FROM {self._view} WHERE {conditions} "  # noqa: S608
            f"ORDER BY {self._order}",
            self._values,
        )


def _labels(text: str) -> tuple[str, ...]:
    labels = json.loads(text)
    if not isinstance(labels, list) or not all(isinstance(x, str) for x in labels):
        raise ValueError("its labels are none")
    return tuple(labels)


def _stretch(row: Any) -> Stretch:
    return Stretch(
        row["session_name"],
        row["source_name"],
        from_ms(row["start_ms"]),
        from_ms(row["end_ms"]),
        row["start_sample"],
        row["window_samples"],
        row["hop_samples"],
        row["frames"],
        row["data"],
    )
