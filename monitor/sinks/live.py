"""The live feed: what is heard now, as lines of JSON for clients of the status socket.

A picture in coarse columns, levels, the highest scores with the reason why they begin
no event, the records, and the status.  No sound can be made of them again.
"""

import base64
import json
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from monitor import __version__
from monitor.clock import Clock, SampleClock
from monitor.records import Event, Ongoing, ScoreFrame, Timed
from monitor.sinks.encoding import encode_line
from monitor.sinks.live_readers import LiveReaders, Reader
from monitor.sinks.recent import Recent
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.status_client import Document
from monitor.sinks.status_snapshot import StatusTracker
from monitor.statistics import Statistics
from monitor.text import rounded, utc_text

# `check` builds services too, and does without numpy.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

COLUMNS_SECONDS = 0.5
"""Scores, levels and the status wait for columns: each wake-up of a reader counts."""

STATUS_SECONDS = 2.0
BEHIND_SECONDS = 0.1
"""Until readers that are behind are tried again."""

TURN_SECONDS = 8.0
"""Most sound of all sources that becomes columns at once: a few milliseconds."""

MOST_RECORDS = 2000
CLOSE_SECONDS = 1.0


class SourceTimeline(Protocol):
    """The part of `audio.timeline.Timeline` that the feed uses.  Any thread."""

    stop: int
    newest_arrival: tuple[int, float] | None


class ColumnReader(Protocol):
    """`audio.timeline_columns.TimelineColumns`, of one source."""

    @property
    def stop(self) -> int:
        """Absolute index of the sample after the newest column."""

    def read(self, most_samples: int, /) -> tuple[int, "NDArray[np.uint8]"]:
        """Return the number of new samples, and their columns, (n, bands)."""


@dataclass(frozen=True, slots=True)
class ColumnFormat:
    """The columns of the feed, which `audio` makes."""

    sample_rate: int
    centres: Sequence[float]
    """Centre of each band, Hz, the lowest first."""

    reader: Callable[[str], ColumnReader]
    """Begins to read the columns of a source."""


class _SourceColumns:
    """The columns of one source as lines.  Runs on the thread of the feed."""

    def __init__(
        self, timeline: SourceTimeline, reader: ColumnReader, clock: SampleClock
    ) -> None:
        self._timeline, self._reader, self._clock = timeline, reader, clock

    def push(self, most: int) -> tuple[int, Document | None]:
        """Read up to `most` samples; return how many, and their columns as a line."""
        arrival = self._timeline.newest_arrival
        if arrival is not None:
            self._clock.anchor([arrival])
        count, columns = self._reader.read(most)
        if not len(columns):
            return count, None
        return count, {
            "time": utc_text(self._clock.utc(self._reader.stop)),
            "count": len(columns),
            "data": base64.b64encode(columns.tobytes()).decode("ascii"),
        }


class LiveSink(Sink):
    """Serves the readers of the live feed, on a thread of its own.

    Without a reader that thread sleeps, and the worker does no more than to add up
    levels.  The worker only hands records over: it waits for nobody.
    """

    def __init__(
        self,
        labels: Mapping[str, Sequence[str]],
        tracker: StatusTracker,
        readers: LiveReaders,
        recent: Recent,
        timelines: Mapping[str, SourceTimeline],
        load_format: Callable[[], ColumnFormat],
        clock: Clock,
        explain: Callable[[bool], None] = lambda _: None,
    ) -> None:
        """Prepare; the thread begins with the first reader.

        Args:
            labels: By source, the labels that are reported.
            tracker: Takes the statistics, for the status.
            readers: The readers of the process.
            recent: Keeps the newest levels and columns of the process.
            timelines: By source; may be filled later.
            load_format: Loads the making of columns, for the first reader.
            clock: The clock of the machine.
            explain: Has score frames come with their candidates, or without.
        """
        self._labels = labels
        self._tracker = tracker
        self._readers = readers
        self._recent = recent
        self._timelines = timelines
        self._load_format = load_format
        self._clock = clock
        self._explain = explain
        self._records: deque[Timed | Document] = deque()
        self._lost = 0
        self._closes = False
        self._thread = BackgroundThread("live", self._run)
        # Used by the thread alone.
        self._followed: list[Reader] = []
        self._format: ColumnFormat
        self._columns: dict[str, _SourceColumns] = {}
        self._has_failed = False

    def write(self, batch: Sequence[Timed]) -> None:
        """Hand the records over, if there is a reader."""
        is_read = self._readers.count > 0
        for timed in batch:
            level = None
            if isinstance(timed.record, ScoreFrame):
                level = self._recent.push(timed, timed.record)
            elif isinstance(timed.record, Event):
                self._recent.add_event(timed, timed.record)
            if is_read:
                self._hand_over(timed)
                if level is not None:
                    self._hand_over(level)
        if is_read and not all(isinstance(each.record, ScoreFrame) for each in batch):
            self._readers.wakeup.set()

    def report(self, statistics: Statistics) -> None:
        """Take the newest statistics."""
        self._tracker.report(statistics)
        if self._readers.count:
            self._thread.keep_running()

    def announce(self, document: Document) -> None:
        """Send a line, such as that a command has changed something.  Any thread."""
        if self._readers.count:
            self._hand_over(document)
            self._readers.wakeup.set()

    def close(self) -> None:
        """Leave the readers to the feed that follows."""
        self._closes = True
        self._readers.wakeup.set()
        self._thread.finish(CLOSE_SECONDS)

    def _hand_over(self, item: Timed | Document) -> None:
        if len(self._records) < MOST_RECORDS:
            self._records.append(item)
        else:
            self._lost += 1

    def _run(self, stop: threading.Event) -> None:
        wakeup, now = self._readers.wakeup, self._clock.monotonic()
        columns_due = status_due = now
        while True:
            wakeup.clear()
            if stop.is_set() or self._closes:
                break
            self._admit()
            if not self._followed:
                self._rest()
                wakeup.wait()
                continue
            now = self._clock.monotonic()
            lines = list(self._record_lines())
            if now >= columns_due:
                is_done, more = self._column_lines()
                lines += more
                columns_due = now + (COLUMNS_SECONDS if is_done else 0)
                if now >= status_due:
                    lines += self._status_lines()
                    status_due = now + STATUS_SECONDS
            self._give(lines, now)
            until = columns_due
            if any(reader.is_behind for reader in self._followed):
                until = min(until, now + BEHIND_SECONDS)
            # Short pauses let the others in, also while columns are made up for.
            wakeup.wait(max(0.02, until - self._clock.monotonic()))
        self._explain(False)
        self._readers.give_back(self._followed)

    def _admit(self) -> None:
        """Greet new readers."""
        new = self._readers.take()
        if not new:
            return
        if not self._followed:
            self._records.clear()
            self._explain(True)
            self._format = self._load_format()
        hello = _line(
            "hello",
            version=__version__,
            time=utc_text(self._clock.utc()),
            sources=[
                {"name": name, "labels": list(labels)}
                for name, labels in self._labels.items()
            ],
            mel_hz=[round(hertz, 1) for hertz in self._format.centres],
        )
        lines = [hello, *self._status_lines()]
        for reader in new:
            reader.give(lines)
        self._followed += new

    def _rest(self) -> None:
        self._explain(False)
        self._columns.clear()
        self._recent.forget_columns()
        self._records.clear()

    def _record_lines(self) -> Iterator[bytes]:
        for _ in range(len(self._records)):
            item = self._records.popleft()
            if isinstance(item, dict):
                yield _dumped(item)
            elif isinstance(item.record, ScoreFrame):
                if item.record.candidates:
                    yield _scores_line(item, item.record)
            elif (line := encode_line(item)) is not None:
                yield line
        if self._lost:
            lost, self._lost = self._lost, 0
            yield _line("dropped", count=lost)

    def _status_lines(self) -> list[bytes]:
        try:
            return [_line("status", document=self._tracker.snapshot())]
        except Exception:
            # A question must not end the monitor, whatever it lacks.
            if not self._has_failed:
                self._has_failed = True
                logger.exception("the live feed gets no status document")
            return []

    def _column_lines(self) -> tuple[bool, list[bytes]]:
        """Make columns of the new sound.

        Returns:
            Whether there are no more for now, and the lines.
        """
        lines: list[bytes] = []
        left = int(TURN_SECONDS * self._format.sample_rate)
        for source, timeline in self._timelines.items():
            if source not in self._columns:
                rate = self._format.sample_rate
                clock = SampleClock(self._clock, rate, start=timeline.stop)
                reader = self._format.reader(source)
                self._columns[source] = _SourceColumns(timeline, reader, clock)
            count, columns = self._columns[source].push(left)
            left -= count
            if columns is not None:
                line = {"type": "columns", "source": source, **columns}
                self._recent.add_columns(line)
                lines.append(_dumped(line))
            if left == 0:
                return False, lines
        return True, lines

    def _give(self, lines: list[bytes], now: float) -> None:
        for reader in [*self._followed]:
            reader.give(lines)
            if not reader.send(now):
                self._followed.remove(reader)
                self._readers.drop(reader)


def _scores_line(timed: Timed, frame: ScoreFrame) -> bytes:
    # What ends with this window still goes on in it.
    going_on = {each.label for each in frame.ongoing}
    top = []
    for each in frame.candidates:
        entry: Document = {
            "label": each.label,
            "score": rounded(each.score, 4),
            "threshold": rounded(each.threshold, 4),
            "reason": None if each.label in going_on else each.held_back,
        }
        if entry["reason"] is None:
            entry["going_on"] = True
        if each.rival is not None:
            entry["rival"] = each.rival
        top.append(entry)
    return _line(
        "scores",
        source=frame.source,
        time=utc_text(timed.end_utc),
        top=top,
        ongoing=[_ongoing(timed, frame, each) for each in frame.ongoing],
    )


def _ongoing(timed: Timed, frame: ScoreFrame, each: Ongoing) -> Document:
    start = None
    if timed.start_utc is not None:
        rate = (frame.stop - frame.start) / (timed.end_seconds - timed.start_seconds)
        start = timed.start_utc + timedelta(seconds=(each.start - frame.start) / rate)
    return {
        "id": each.id,
        "label": each.label,
        "start": utc_text(start),
        "peak_score": rounded(each.peak_score, 4),
        "level_dbfs": rounded(each.level_dbfs, 1),
        "laeq_db": rounded(each.laeq_db, 1),
    }


def _line(kind: str, **values: Any) -> bytes:
    return _dumped({"type": kind, **values})


def _dumped(document: Document) -> bytes:
    return json.dumps(document, allow_nan=False).encode("ascii") + b"\n"
