"""The tables of one recording: its records as Parquet, written while they come."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from monitor.fleet.parquet import (
    EVENTS,
    HOURS,
    LEVELS,
    PLACE,
    SCORES,
    event_row,
    level_column,
    parquet_file,
    score_column,
    table_of,
    table_of_columns,
)
from monitor.records import Event, Gap, Health, ScoreFrame, SourceState, Timed
from monitor.sinks.encoding import encode
from monitor.sinks.sink import Sink
from monitor.sinks.store.level_hours import LevelHourLog
from monitor.sinks.store.records import to_ms
from monitor.text import rounded

KINDS = ("events", "levels", "scores", "hours")
"""The folders of an archive; each has a file for each recording that has such rows."""


class RecordingTables(Sink, AbstractContextManager["RecordingTables"]):
    """Writes the records of a recording; the files appear once the block ends well."""

    def __init__(
        self,
        folder: Path,
        output: str,
        place: Mapping[str, str | None],
        start: datetime | None,
        labels: Sequence[str],
        *,
        keeps_scores: bool = True,
        progress: Callable[[float], None] = lambda _seconds: None,
        most_rows: int = 8192,
    ) -> None:
        """Write nothing yet.

        Args:
            folder: That of the archive.
            output: Name of the files without their suffix.
            place: Values of the columns site, source and file.
            start: Begin of the recording, UTC; None: it is unknown.
            labels: What the scores stand for.
            keeps_scores: Write the scores.
            progress: Called with the seconds that have been analysed.
            most_rows: Score frames in memory, and rows of a group in the file: by
                default an hour and a quarter.
        """
        self.events = 0
        """Number of events."""

        self.seconds = 0.0
        """Length of what was read."""

        self.windows_ms: list[list[int]] = []
        """Parts that windows cover, from the begin of the recording."""

        self._paths = {kind: folder / kind / f"{output}.parquet" for kind in KINDS}
        self._place = place
        self._start = start
        self._labels = ",".join(labels)
        self._progress = progress
        self._most_rows = most_rows
        self._kinds = {"levels": LEVELS} | ({"scores": SCORES} if keeps_scores else {})
        self._rows: list[dict[str, object]] = []
        self._frames: list[Timed] = []
        self._hours = LevelHourLog()
        self._files = ExitStack()
        self._writers: dict[str, Any] = {}

    def write(self, batch: Sequence[Timed], /) -> None:
        """Take records; their time of day is that of the recording."""
        for timed in map(self.dated, batch):
            record = timed.record
            if isinstance(record, ScoreFrame):
                self._frames.append(timed)
                self._cover(timed)
                self._hours.add(timed)
                self._progress(timed.end_seconds)
            elif isinstance(record, SourceState):
                self.seconds = max(self.seconds, timed.end_seconds)
            elif _is_over(record):
                self.events += isinstance(record, Event)
                self._rows.append(self._event_row(timed))
        if len(self._frames) >= self._most_rows:
            self._write_frames(self._most_rows)

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any, /) -> None:
        """Complete the files, or leave none behind."""
        if error is not None:
            self._files.__exit__(kind, error, trace)
            return
        with self._files:
            self._write_frames(len(self._frames))
            self._write_all("events", EVENTS, self._rows)
            hours = [self._hour_row(hour.columns()) for hour in self._hours.pending]
            self._write_all("hours", HOURS, hours)

    def _cover(self, timed: Timed) -> None:
        begin, end = (
            timedelta(seconds=seconds) // timedelta(milliseconds=1)
            for seconds in (timed.start_seconds, timed.end_seconds)
        )
        if self.windows_ms and begin <= self.windows_ms[-1][1]:
            self.windows_ms[-1][1] = end
        else:
            self.windows_ms.append([begin, end])

    def dated(self, timed: Timed) -> Timed:
        """Put a record at its time of day, if the begin of the recording is known."""
        if self._start is None:
            return timed
        return replace(
            timed,
            start_utc=self._start + timedelta(seconds=timed.start_seconds),
            end_utc=self._start + timedelta(seconds=timed.end_seconds),
        )

    def _event_row(self, timed: Timed) -> dict[str, object]:
        record = timed.record
        encoded = encode(timed)
        assert encoded is not None
        row = event_row(encoded, **{k: self._place[k] for k in ("site", "file")})
        # Not rounded, so that figures of many events are those of the database.
        for name in ("peak_score", "mean_score", "level_dbfs", "laeq_db", "lafmax_db"):
            row[name] = rounded(getattr(record, name, None), 9)
        row["level_offset_db"] = getattr(record, "level_offset_db", None)
        row["start"], row["end"] = map(_ms, (timed.start_utc, timed.end_utc))
        return row

    def _hour_row(self, columns: Mapping[str, object]) -> dict[str, object]:
        return dict(columns) | {
            **self._place,
            "start": columns["hour_ms"],
            "level_offset_db": columns["offset_db"],
        }

    def _write_all(
        self, kind: str, schema: pa.Schema, rows: list[dict[str, object]]
    ) -> None:
        if rows:
            self._writer(kind, schema).write_table(
                table_of(rows, schema), self._most_rows
            )

    def _writer(self, kind: str, schema: pa.Schema) -> Any:
        if kind not in self._writers:
            file = parquet_file(self._paths[kind], schema)
            self._writers[kind] = self._files.enter_context(file)
        return self._writers[kind]

    def _write_frames(self, count: int) -> None:
        frames, self._frames = self._frames[:count], self._frames[count:]
        for kind, schema in self._kinds.items() if frames else ():
            make = self._levels if kind == "levels" else self._scores
            place = {name: [self._place.get(name)] * len(frames) for name in PLACE}
            table = table_of_columns(place | make(frames), schema)
            self._writer(kind, schema).write_table(table, self._most_rows)

    def _levels(self, frames: Sequence[Timed]) -> dict[str, Any]:
        """Columns of the newest hop of each frame."""
        lengths, levels = [], []
        for timed in frames:
            frame = timed.record
            assert isinstance(frame, ScoreFrame)
            hop = frame.hop_levels
            span = timed.end_seconds - timed.start_seconds
            samples = 0 if hop is None else hop.samples
            lengths.append(samples * span / (frame.stop - frame.start))
            lafmax_db = np.nan if hop is None else hop.lafmax_db
            levels.append((frame.level_dbfs, frame.laeq_db, lafmax_db))
        ends = [timed.end_seconds for timed in frames]
        begins = [end - length for end, length in zip(ends, lengths, strict=True)]
        level_dbfs, laeq_db, lafmax_db = map(level_column, zip(*levels, strict=True))
        return self._times(begins, lengths) | {
            "level_dbfs": level_dbfs,
            "laeq_db": laeq_db,
            "lafmax_db": lafmax_db,
        }

    def _scores(self, frames: Sequence[Timed]) -> dict[str, Any]:
        """Columns of the window of each frame."""
        scores, computed = [], []
        for timed in frames:
            assert isinstance(timed.record, ScoreFrame)
            scores.append(timed.record.scores)
            computed.append(timed.record.is_computed)
        lengths = [timed.end_seconds - timed.start_seconds for timed in frames]
        return self._times([timed.start_seconds for timed in frames], lengths) | {
            "labels": [self._labels] * len(frames),
            "scores": score_column(scores, computed),
        }

    def _times(
        self, begins: Sequence[float], lengths: Sequence[float]
    ) -> dict[str, Any]:
        return {
            "start": [self._moment(seconds) for seconds in begins],
            "start_seconds": [round(seconds, 3) for seconds in begins],
            "seconds": lengths,
        }

    def _moment(self, seconds: float) -> int | None:
        if self._start is None:
            return None
        return to_ms(self._start + timedelta(seconds=seconds))


def _is_over(record: object) -> bool:
    """Return True for events, gaps, and health problems once they are over."""
    if isinstance(record, Health):
        return record.state == "cleared"
    return isinstance(record, Event | Gap)


def _ms(moment: datetime | None) -> int | None:
    return None if moment is None else to_ms(moment)
