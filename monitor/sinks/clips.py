"""The sink of clips: takes the sound of events from the rings before it is gone.

Writes clips on a thread of its own, and keeps the limits of their folder.
"""

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from monitor.config.outputs import ClipSettings
from monitor.records import Event, Onset, Timed
from monitor.sinks.clip_files import Clip, Samples, clean, has_room, prepare, save
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)


MOST_WAITING = 4
"""Clips in memory, of some megabytes each; what is more is left out."""

POLL_SECONDS = 0.1
CLEAN_EVERY = timedelta(hours=1)
LAST_SECONDS = 0.5
"""Time at the end for the clips that wait."""


class Writer:
    """Takes clips from the worker without ever keeping it waiting."""

    def __init__(
        self, folder: Path, settings: ClipSettings, utc: Callable[[], datetime]
    ) -> None:
        """Prepare; the folder is made before the first clip.

        Args:
            folder: Where clips go.
            settings: With the limits.
            utc: The clock on the wall.
        """
        self._folder = folder
        self._settings = settings
        self._utc = utc
        self._waiting: queue.Queue[Clip] = queue.Queue(MOST_WAITING)
        self._background = BackgroundThread("clips", self._run)
        self._left_out = 0
        self._problem = ""
        self._cleaned: datetime | None = None

    def keep_running(self) -> None:
        """Start the thread, or raise what has ended it.  Worker thread."""
        self._background.keep_running()

    def add(self, clip: Clip) -> None:
        """Have a clip written, or left out if too many wait.  Worker thread."""
        try:
            self._waiting.put_nowait(clip)
        except queue.Full:
            if not self._left_out:
                logger.warning(
                    "clips are left out: %d wait to be written", MOST_WAITING
                )
            self._left_out += 1

    @property
    def waiting(self) -> int:
        """Clips that are not written yet."""
        return self._waiting.qsize()

    def finish(self) -> None:
        """Write what waits, if that is quick.  Worker thread."""
        self._background.finish(LAST_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        # Not of a lower priority than the others: while it waited for the processor it
        # could hold the lock of the interpreter, and the worker would wait with it.
        while True:
            try:
                clip = self._waiting.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if stop.is_set():
                    return
                clip = None
            try:
                self._work(clip)
            except OSError as error:
                self._say(f"{self._folder}: {error.strerror or error}")

    def _work(self, clip: Clip | None) -> None:
        if clip is not None:
            prepare(self._folder)
            if not has_room(self._folder, self._settings):
                least = self._settings.min_free_mib
                self._say(f"the disk has less than {least:g} MiB left")
                return
            self._save(clip)
        now = self._utc()
        due = self._cleaned is None or not (
            timedelta(0) <= now - self._cleaned < CLEAN_EVERY
        )
        if clip is not None or due:
            self._cleaned = now
            clean(self._folder, self._settings, now)

    def _save(self, clip: Clip) -> None:
        sound = save(self._folder, clip)
        if sound is None:
            return
        logger.info("clip %s%s", sound.name, f" ({clip.cut})" if clip.cut else "")
        if self._problem:
            logger.info("clips are stored again, after %d left out", self._left_out)
        self._problem, self._left_out = "", 0

    def _say(self, problem: str) -> None:
        """Say a problem once, count what it costs."""
        self._left_out += 1
        if problem != self._problem:
            logger.error("clips cannot be stored: %s", problem)
        self._problem = problem


LONGEST_SHARE = 0.7
"""Of the ring: the rest is for what is told late, and for a worker that is late."""


class AudioHistory(Protocol):
    """What a sink of clips needs of the rings."""

    def stop(self, source: str, /) -> int:
        """Absolute index after the newest sample of a source."""

    def capacity(self, source: str, /) -> int:
        """Samples that can be looked back at."""

    def read(self, source: str, start: int, stop: int, /) -> tuple[int, Samples]:
        """Copy what there still is: index of the first sample, and the samples."""


@dataclass(slots=True)
class _Pending:
    """An event whose sound is still to be taken."""

    record: Onset | Event
    start: int
    """First sample that is wanted."""

    stop: int
    """After the last one that is wanted, or can be had if the event goes on."""

    ended: bool
    start_utc: datetime
    """Of the event."""


class Clips(Sink):
    """Takes the sound of each event, with some seconds before and after.

    It waits until what comes after the event is there, and then copies everything at
    once.  Of an event that is longer than the ring can hold the first part is taken.
    Nothing but the copy happens on the worker's thread.
    """

    def __init__(
        self,
        settings: ClipSettings,
        folder: Path,
        past: AudioHistory,
        sample_rate: int,
        utc: Callable[[], datetime],
    ) -> None:
        """Prepare; nothing is written before the first event.

        Args:
            settings: Its section.
            folder: Where clips go.
            past: The rings of all sources.
            sample_rate: Of the positions in records.
            utc: The clock on the wall.
        """
        self._settings = settings
        self._past = past
        self._sample_rate = sample_rate
        self._writer = Writer(folder, settings, utc)
        self._pending: dict[str, _Pending] = {}
        self._taken: set[str] = set()
        """Ids of events that go on, and whose first part has been taken."""

    def write(self, batch: Sequence[Timed]) -> None:
        """Take records."""
        for timed in batch:
            record = timed.record
            if not isinstance(record, (Onset, Event)) or _is_of_another_run(record):
                continue
            # A recording that is played faster than it sounds has no time, and its ring
            # runs ahead of the worker; whoever plays it has it.
            if timed.start_utc is not None and self._is_wanted(record.label):
                self._follow(record, timed.start_utc)
        self._take_what_is_there()

    def report(self, statistics: Statistics) -> None:
        """Look whether what comes after an event is there now, or will not come."""
        self._writer.keep_running()
        broken = {s.source for s in statistics.sources if s.state != "listening"}
        for event_id, pending in list(self._pending.items()):
            # When it comes back, silence takes the place of what was lost, and of
            # what is wanted.
            if pending.ended and pending.record.source in broken:
                self._take(event_id)
        self._take_what_is_there()

    @property
    def queues(self) -> dict[str, int]:
        """Clips that are not written yet."""
        return {"clips": self._writer.waiting}

    def close(self) -> None:
        """Take what there is of the events that were just ended, and write it."""
        for event_id in list(self._pending):
            self._take(event_id)
        self._writer.finish()

    def _is_wanted(self, label: str) -> bool:
        return not self._settings.labels or label in self._settings.labels

    def _follow(self, record: Onset | Event, start_utc: datetime) -> None:
        ended = isinstance(record, Event)
        if record.id in self._taken:
            if ended:
                self._taken.discard(record.id)
            return
        before = round(self._settings.before_seconds * self._sample_rate)
        after = round(self._settings.after_seconds * self._sample_rate)
        longest = round(LONGEST_SHARE * self._past.capacity(record.source))
        start = max(0, record.start - before)
        stop = start + longest
        if ended:
            stop = min(stop, record.stop + after)
        self._pending[record.id] = _Pending(record, start, stop, ended, start_utc)

    def _take_what_is_there(self) -> None:
        for event_id, pending in list(self._pending.items()):
            if self._past.stop(pending.record.source) >= pending.stop:
                self._take(event_id)

    def _take(self, event_id: str) -> None:
        pending = self._pending.pop(event_id)
        if not pending.ended:
            self._taken.add(event_id)
        record = pending.record
        first, samples = self._past.read(record.source, pending.start, pending.stop)
        count = samples.shape[1]
        if not count:
            logger.warning(
                "no clip of %s at %s: its sound has been overwritten",
                record.label,
                record.source,
            )
            return
        seconds = (first - record.start) / self._sample_rate
        begins = pending.start_utc + timedelta(seconds=seconds)
        ends = begins + timedelta(seconds=count / self._sample_rate)
        stop = record.stop if pending.ended else first + count
        clip = Clip(
            event_id=event_id,
            source=record.source,
            label=record.label,
            begins=begins,
            ends=ends,
            sample_rate=self._sample_rate,
            samples=samples,
            event_start=max(0, record.start - first),
            event_stop=min(count, stop - first),
            cut=_cut(record, pending, first, first + count),
        )
        self._writer.add(clip)


def _is_of_another_run(record: Onset | Event) -> bool:
    """Whether the samples that it names are not those of the rings."""
    return isinstance(record, Event) and record.end_reason == "interrupted"


def _cut(record: Onset | Event, pending: _Pending, first: int, last: int) -> str:
    if first > record.start:
        return "the beginning of the event had been overwritten"
    if not pending.ended or record.stop > last:
        return "the event is longer than the clip"
    return ""
