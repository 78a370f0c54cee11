"""Hand-over of one source's samples, gaps and states from its capture to the worker."""

import threading
from collections import deque
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from monitor.audio.ring import Ring, Samples
from monitor.audio.signal_statistics import SignalStatistics
from monitor.errors import OverrunError
from monitor.records import Gap, GapReason, SourceState, SourceStateName

_AHEAD_SECONDS = 8.0
"""A recording is read no further ahead, so that the worker can stop soon."""

_MOST_ARRIVALS = 4096
_MOST_STATISTICS = 1024
_POLL_SECONDS = 0.05

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive samples without an interruption."""

    start: int
    samples: Samples
    """float32, shape (1 or 2, n), n > 0; the reader's own copy."""

    @property
    def stop(self) -> int:
        """Absolute index after the newest sample."""
        return self.start + int(self.samples.shape[1])


Item = Block | Gap | SourceState


@dataclass(slots=True)
class _Span:
    """Samples [start, stop) that the worker has not taken yet, and their ring."""

    ring: Ring
    start: int
    stop: int


_Pending = _Span | Gap | SourceState


class Timeline:
    """Takes the samples of one capture thread, and hands them in order to one worker.

    The blocks and gaps that `take` returns follow each other without hole or overlap
    from `start` to `stop`.  The capture thread never waits for the worker; if the
    worker falls behind by more than the ring, the samples that it missed become a gap
    of reason "overrun".

    A lock guards the list of pending items while it is appended to or exchanged.
    Samples are copied outside it.
    """

    def __init__(
        self, name: str, sample_rate: int, capacity_seconds: float, start: int = 0
    ) -> None:
        """Make a timeline for the source `name` that keeps `capacity_seconds` of sound.

        `start` is the index of its first sample: a source may go on counting.
        """
        self.name = name
        self.sample_rate = sample_rate
        self.start = start
        """Absolute index of the first sample."""
        self.stop = start
        """Absolute index after the newest sample, captured or lost."""
        self.taken = start
        """Absolute index up to which the worker has taken everything."""
        self.newest_arrival: tuple[int, float] | None = None
        """Index after the newest captured sample, and its monotonic seconds."""
        self.state_name: SourceStateName = "opening"
        """State of the source."""
        self.capacity = round(capacity_seconds * sample_rate)
        """Samples that can be waiting for the worker."""
        self.source_rate: int | None = None
        """Samples a second that the source itself delivers; None before it does."""

        self.due_at = start
        """Absolute index from which on the worker wants to take the samples; it sets
        this.  Waking it for each small block would cost as much as the analysis."""
        self.wakeup: threading.Event | None = None
        """Set when there is something to take; may be shared by several timelines.  The
        worker clears it before it takes."""
        self._ring: Ring | None = None
        self._lock = threading.Lock()
        self._pending: list[_Pending] = []
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=_MOST_ARRIVALS)
        self._statistics: deque[SignalStatistics] = deque(maxlen=_MOST_STATISTICS)
        self._new_span = True
        self._urgent = False
        self._needs_room = False

        self._room = threading.Event()

    # Any thread.

    @property
    def is_urgent(self) -> bool:
        """True if something should be taken before more sound has come.

        That is a gap, a state, or so many samples that the worker must make room.
        """
        crowded = 2 * (self.stop - self.taken) > self.capacity
        return self._urgent or self._needs_room or crowded

    @property
    def is_due(self) -> bool:
        """True if the worker should take now."""
        return self.stop >= self.due_at or self.is_urgent

    # The capture thread.

    def open(self, channels: int) -> None:
        """Begin an uninterrupted run of samples.  Runs on the capture thread.

        Samples lost since the last run are reported by `lose`, before or after.
        """
        if self._ring is None or self._ring.channels != channels:
            # Pending spans hold the old ring for as long as it is needed.
            self._ring = Ring(channels, self.capacity, start=self.stop)
        self._new_span = True

    def write(self, block: Samples, now: float) -> None:
        """Hand over one block.  Runs on the capture thread: copy, count, return.

        Args:
            block: float32, shape (channels, n), finite, any n.
            now: Arrival of its last sample, monotonic seconds.
        """
        assert self._ring is not None, "a block before the source was opened"
        if block.shape[1] == 0:
            return
        self._ring.write(block)
        with self._lock:
            start, self.stop = self.stop, self.stop + block.shape[1]
            last = self._pending[-1] if self._pending else None
            if isinstance(last, _Span) and not self._new_span:
                last.stop = self.stop
            else:
                self._append(_Span(self._ring, start, self.stop))
            self.newest_arrival = (self.stop, now)
            self._arrivals.append(self.newest_arrival)
        self._new_span = False
        if self.is_due:
            self._wake()

    def lose(self, count: int, reason: GapReason) -> None:
        """Count samples that the source did not deliver.  On the capture thread."""
        assert count >= 0, "lost samples cannot come back"
        if count == 0:
            return
        if self._ring is not None:
            self._ring.skip(count)
        with self._lock:
            start, self.stop = self.stop, self.stop + count
            self._append(Gap(self.name, start, self.stop, reason))
        self._wake()

    def state(self, state: SourceStateName, detail: str) -> None:
        """Change the state of the source.  Runs on the capture thread."""
        with self._lock:
            self.state_name = state
            self._append(SourceState(self.name, state, detail))
        self._wake()

    def add_statistics(self, statistics: SignalStatistics) -> None:
        """Hand over statistics of the samples; if too many wait, the oldest are lost.

        Runs on the capture thread.
        """
        self._statistics.append(statistics)

    def wait_for_room(self, count: int, stop: threading.Event) -> bool:
        """Wait until `count` samples can be written without loss, and not much waits.

        For recordings, which come as fast as they are read; a live source never waits.
        Runs on the capture thread.

        Returns:
            False if `stop` was set instead.

        Raises:
            ValueError: `count` is larger than the ring.
        """
        if count > self.capacity:
            raise ValueError(f"{count} samples for a ring of {self.capacity}")
        while not stop.is_set():
            self._room.clear()
            waiting = self.stop - self.taken
            is_ahead = waiting > _AHEAD_SECONDS * self.sample_rate
            self._needs_room = is_ahead or waiting + count > self.capacity
            if not self._needs_room:
                return True
            self._wake()
            self._room.wait(_POLL_SECONDS)  # then look at `stop` again
        return False

    # The worker.

    @property
    def pending_samples(self) -> int:
        """Samples that can be taken, without those that were lost.  Worker thread."""
        with self._lock:
            spans = [item for item in self._pending if isinstance(item, _Span)]
            return sum(span.stop - span.start for span in spans)

    def take(self, most: int | None = None) -> list[Item]:
        """Return everything since the last take, in order.  Runs on the worker thread.

        Args:
            most: Take the newest so many samples at most; those before are an overrun.

        Returns:
            Blocks and gaps that follow each other without hole or overlap, with the
            states of the source between them.  Neighbouring gaps of one reason are one;
            a block ends where the source was opened anew.
        """
        with self._lock:
            pending, self._pending = self._pending, []
            self._urgent = False
            stop = self.stop
        first = self.taken if most is None else stop - most
        taken: list[Item] = []
        for item in pending:
            if isinstance(item, _Span):
                self._take_span(item, first, taken)
            elif isinstance(item, Gap):
                _append_gap(taken, item)
            else:
                taken.append(item)
        self.taken = stop
        self._room.set()
        return taken

    def arrivals(self) -> list[tuple[int, float]]:
        """Return the arrivals of blocks since the last call, oldest first.

        Runs on the worker thread.  If it is not called for long, the oldest are gone.

        Returns:
            Pairs of absolute index after a block and its time in monotonic seconds.
        """
        return _drained(self._arrivals)

    def take_statistics(self) -> list[SignalStatistics]:
        """Return the statistics of the samples since the last call.  Worker thread."""
        return _drained(self._statistics)

    def read(self, start: int, stop: int) -> tuple[int, Samples]:
        """Copy the samples [start, stop) that the ring still has.  Worker thread.

        Taken or not.  Lost samples are silence; samples that are older than the ring,
        or of another number of channels, are left out.

        Returns:
            Index of the first sample, and float32 of shape (channels, n): n may be 0.
        """
        ring = self._ring
        if ring is None:
            return start, np.zeros((1, 0), np.float32)
        return ring.read_what_is_left(start, stop)

    def _take_span(self, span: _Span, first: int, taken: list[Item]) -> None:
        """Append the samples of `span` from `first` on, and gaps for the others."""
        start = min(max(span.start, first), span.stop)
        if start > span.start:
            _append_gap(taken, Gap(self.name, span.start, start, "overrun"))
        while start < span.stop:
            try:
                taken.append(Block(start, span.ring.read(start, span.stop - start)))
                return
            except OverrunError:
                # The margin keeps the writer from lapping the copy once more.
                newest = span.ring.oldest + self.capacity // 16
                lost = Gap(self.name, start, min(newest, span.stop), "overrun")
                _append_gap(taken, lost)
                start = lost.stop

    def _append(self, item: _Pending) -> None:
        """Append to the pending items; the caller holds the lock."""
        if isinstance(item, Gap):
            _append_gap(self._pending, item)
        else:
            self._pending.append(item)
        self._urgent = self._urgent or not isinstance(item, _Span)

    def _wake(self) -> None:
        if self.wakeup is not None:
            self.wakeup.set()


def _drained(queue: deque[T]) -> list[T]:
    # Either end of a deque may be used by a thread of its own.
    return [queue.popleft() for _ in range(len(queue))]


def _append_gap(items: list[Any], gap: Gap) -> None:
    """Append `gap`, or make the gap before it longer if it has the same reason."""
    last = items[-1] if items else None
    if isinstance(last, Gap) and last.reason == gap.reason:
        items[-1] = replace(last, stop=gap.stop)
    else:
        items.append(gap)
