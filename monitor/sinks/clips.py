"""The sink of clips: copies the sound of events from the rings, and stores it.

The copy is made on the worker's thread, the files are written on another one.
"""

import logging
import queue
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

from monitor.clock import Clock, WallClockCheck
from monitor.config.outputs import ClipSettings
from monitor.errors import StoreError
from monitor.records import Event, HealthKind, Onset, Timed
from monitor.sinks.clip_files import (
    PICTURE,
    Clip,
    ClipFollower,
    Samples,
    clean,
    has_room,
    locked_excess,
    prepare,
    save,
    stored_clips,
)
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.store.queries import open_to_read
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)

QUEUE_LENGTH = 4
"""Clips in memory, of some megabytes each; further ones are dropped."""

LONGEST_SHARE = 0.7
"""Longest clip as a share of the ring; the rest is a reserve for a late worker."""

POLL_SECONDS = 0.1
CLEAN_SECONDS = 3600.0
"""Longest time from one look at the limits of the folder to the next."""

KINDS: tuple[HealthKind, ...] = ("clips", "locked-clips")
"""Its troubles."""

LAST_SECONDS = 0.5
"""Time at the end for the clips in the queue."""


class SourceTimeline(Protocol):
    """The part of `audio.timeline.Timeline` that the sink uses."""

    capacity: int
    """Samples that the ring of the source holds."""

    @property
    def stop(self) -> int:
        """Absolute index after the newest sample."""

    def read(self, start: int, stop: int, /) -> tuple[int, Samples]:
        """Copy the samples that are left; return the index of the first, and them."""


@dataclass(frozen=True, slots=True)
class _Pending:
    """An event whose sound is still to be copied."""

    record: Onset | Event
    start_utc: datetime
    start: int
    """First sample of the clip."""

    stop: int
    """Sample after the clip; of an ongoing event, after the longest clip."""


class Clips(Sink):
    """Stores the sound of each event, with some seconds before and after.

    A clip is copied at once, as soon as the seconds after the event are in the ring.
    Of an event that is longer than the ring can hold, the first part is stored.
    A thread of its own writes the files, and keeps the limits of their folder.
    """

    def __init__(
        self,
        settings: ClipSettings,
        folder: Path,
        timelines: Mapping[str, SourceTimeline],
        sample_rate: int,
        clock: Clock,
        database: Path | None = None,
        health: Callable[[HealthKind, str], None] = lambda _kind, _detail: None,
        followers: Sequence[ClipFollower] = (),
    ) -> None:
        """Prepare; nothing is written before the first event.

        The `database` says which events are locked; None: none is.  `health` takes
        the sentence about a trouble, an empty one when it is over; any thread.  The
        `followers` are called with each clip that is stored, on the thread of the
        clips.
        """
        self._followers = followers
        self._settings = settings
        self._folder = folder
        self._timelines = timelines
        self._sample_rate = sample_rate
        self._clock = clock
        self._database = database
        self._health = health
        self._pending: dict[str, _Pending] = {}
        self._taken: set[str] = set()
        """Ids of events that go on, and whose first part has been copied."""

        self._queue: queue.Queue[Clip] = queue.Queue(QUEUE_LENGTH)
        self._thread = BackgroundThread("clips", self._run)
        # Used by the thread, but for the count of clips that the queue had no room for.
        self._dropped = 0
        self._problem = self._database_problem = ""
        self._locked: Collection[str] | None = None
        """The events whose clips stay, as last known; None: unknown."""

        self._has_locks = False
        """True once they were read: without its database, clips stay locked."""

        self._clean_due = clock.monotonic()
        self._wall_clock: WallClockCheck | None = None

    @property
    def queues(self) -> dict[str, int]:
        """Clips that are not written yet."""
        return {"clips": self._queue.qsize()}

    def write(self, batch: Sequence[Timed]) -> None:
        """Take the events of `batch`, and copy those that are complete."""
        for timed in batch:
            if isinstance(timed.record, Onset | Event):
                self._follow(timed.record, timed.start_utc)
        self._copy_complete()

    def report(self, statistics: Statistics) -> None:
        """Copy events that are complete, or whose source has stopped listening."""
        self._thread.keep_running()
        broken = {s.source for s in statistics.sources if s.state != "listening"}
        for event_id, pending in list(self._pending.items()):
            # When the source is back, silence takes the place of the lost samples, and
            # overwrites the event.
            is_over = isinstance(pending.record, Event)
            if is_over and pending.record.source in broken:
                self._copy(event_id)
        self._copy_complete()

    def close(self) -> None:
        """Copy the events that were just ended as far as possible, and write them."""
        for event_id in list(self._pending):
            self._copy(event_id)
        self._thread.finish(LAST_SECONDS)
        # What replaces it, if anything does, finds out for itself.
        for kind in KINDS:
            self._health(kind, "")

    def _follow(self, record: Onset | Event, start_utc: datetime | None) -> None:
        # A recording that is played faster than it sounds has no time of day, and its
        # ring runs ahead of the worker.
        if start_utc is None or not self._is_wanted(record):
            return
        is_over = isinstance(record, Event)
        if record.id in self._taken:
            if is_over:
                self._taken.discard(record.id)
            return
        before = round(self._settings.before_seconds * self._sample_rate)
        after = round(self._settings.after_seconds * self._sample_rate)
        start = max(0, record.start - before)
        stop = start + round(LONGEST_SHARE * self._timelines[record.source].capacity)
        if is_over:
            stop = min(stop, record.stop + after)
        self._pending[record.id] = _Pending(record, start_utc, start, stop)

    def _is_wanted(self, record: Onset | Event) -> bool:
        if isinstance(record, Event) and record.end_reason == "interrupted":
            return False  # an event of an earlier run: the rings do not have it
        return not self._settings.labels or record.label in self._settings.labels

    def _copy_complete(self) -> None:
        for event_id, pending in list(self._pending.items()):
            if self._timelines[pending.record.source].stop >= pending.stop:
                self._copy(event_id)

    def _copy(self, event_id: str) -> None:
        pending = self._pending.pop(event_id)
        record, is_over = pending.record, isinstance(pending.record, Event)
        if not is_over:
            self._taken.add(event_id)
        timeline = self._timelines[record.source]
        first, samples = timeline.read(pending.start, pending.stop)
        count = samples.shape[1]
        if not count:
            logger.warning(
                "no clip of %s at %s: its sound has been overwritten",
                record.label,
                record.source,
            )
            return
        offset = timedelta(seconds=(first - record.start) / self._sample_rate)
        stop = record.stop if is_over else first + count
        clip = Clip(
            event_id=event_id,
            source=record.source,
            label=record.label,
            begins=pending.start_utc + offset,
            captured=self._clock.monotonic()
            - (timeline.stop - first) / self._sample_rate,
            sample_rate=self._sample_rate,
            samples=samples,
            event_start=max(0, record.start - first),
            event_stop=min(count, stop - first),
            cut=_cut(record, first, first + count),
        )
        self._add(clip)

    def _add(self, clip: Clip) -> None:
        try:
            self._queue.put_nowait(clip)
        except queue.Full:
            if not self._dropped:
                logger.warning("clips are dropped: %d wait to be written", QUEUE_LENGTH)
            self._dropped += 1

    def _run(self, stop: threading.Event) -> None:
        # Not of a lower priority than the others: while it waited for the processor it
        # could hold the lock of the interpreter, and the worker would wait with it.
        while True:
            try:
                clip = self._queue.get(timeout=POLL_SECONDS)
            except queue.Empty:
                if stop.is_set():
                    return
                clip = None
            try:
                self._work(clip)
            except OSError as error:
                self._fail(f"{self._folder}: {error.strerror or error}")

    def _work(self, clip: Clip | None) -> None:
        if clip is not None:
            prepare(self._folder)
            if not has_room(self._folder, self._settings):
                least = self._settings.min_free_mib
                self._fail(f"the disk has less than {least:g} MiB of free space")
                return
            self._save(clip)
        now = self._clock.monotonic()
        if clip is not None or now >= self._clean_due:
            self._clean_due = now + CLEAN_SECONDS
            self._clean()

    def _clean(self) -> None:
        """Delete what is beyond the limits; by age once the clock is believed."""
        utc = self._clock.utc()
        if self._wall_clock is None:
            self._wall_clock = check = WallClockCheck(self._clock)
            ends = (each.ends for each in stored_clips(self._folder))
            check.note_newest(
                max((e for e in ends if e <= check.doubted_since), default=None)
            )
        now = utc if self._wall_clock.is_believed() else None
        self._read_locks()
        if self._locked is None:
            return  # any may be locked
        count = clean(self._folder, self._settings, now, self._locked)
        if count:
            logger.info("%d clips beyond the limits of clips.* are deleted", count)
        excess = locked_excess(self._folder, self._settings, self._locked)
        self._health("locked-clips", excess)

    def _read_locks(self) -> None:
        """Find the events whose clips stay, if that is possible now."""
        problem, database = "", self._database
        try:
            if database is None or (not self._has_locks and not database.exists()):
                self._locked = ()
            else:
                with open_to_read(database) as reader:
                    self._locked, self._has_locks = reader.locked_events(), True
        except StoreError as error:
            problem = str(error)
        if problem and problem != self._database_problem:
            logger.warning("new locks of clips are unknown: %s", problem)
        self._database_problem = problem

    def _save(self, clip: Clip) -> None:
        sound = save(self._folder, clip)
        if sound is None:
            return
        logger.info("clip %s%s", sound.name, f" ({clip.cut})" if clip.cut else "")
        for follow in self._followers:
            follow(clip.source, sound.with_suffix(PICTURE))
        if self._problem:
            logger.info("clips are stored again; %d were dropped", self._dropped)
        self._problem, self._dropped = "", 0
        self._health("clips", "")

    def _fail(self, problem: str) -> None:
        """Log a problem once; count the clips that it costs."""
        self._dropped += 1
        if problem != self._problem:
            logger.error("clips cannot be stored: %s", problem)
        self._problem = problem
        self._health("clips", problem)


def _cut(record: Onset | Event, first: int, last: int) -> str:
    if first > record.start:
        return "the beginning of the event had been overwritten"
    if isinstance(record, Onset) or record.stop > last:
        return "the event is longer than the clip"
    return ""
