"""The hand-over of one source's samples from its capture thread to the worker.

The pieces of a source's timeline that wait for the worker, and their bound.
"""

import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from monitor.audio.channel_statistics import VitalsQueue
from monitor.audio.ring import Ring, Samples
from monitor.errors import OverrunError
from monitor.records import Gap, GapReason, SourceState, SourceStateName

MOST_PIECES = 1024


@dataclass(slots=True)
class Stretch:
    """Samples [start, stop) that the worker has not taken yet, and where they are."""

    ring: Ring
    start: int
    stop: int


Piece = Stretch | Gap | SourceState


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive samples of one stretch."""

    start: int
    samples: Samples
    """float32, shape (1 or 2, n), n > 0; the reader's own copy."""

    @property
    def stop(self) -> int:
        """Absolute index after the newest sample."""
        return self.start + int(self.samples.shape[1])


class LossCount:
    """Counts what was lost; a gap that goes on in the next one is counted once."""

    def __init__(self) -> None:
        self.samples = 0
        self.gaps = 0
        self._last: Gap | None = None

    def add(self, taken: Iterable[Block | Gap | SourceState]) -> None:
        """Count the gaps among what was taken, which follows what was before."""
        for gap in taken:
            if not isinstance(gap, Gap):
                continue
            self.samples += gap.stop - gap.start
            last = self._last
            if last is None or (last.stop, last.reason) != (gap.start, gap.reason):
                self.gaps += 1
            self._last = gap


def append_gap(pieces: list[Any], gap: Gap) -> None:
    """Append `gap`, or make the gap before it longer if it has the same reason."""
    last = pieces[-1] if pieces else None
    if isinstance(last, Gap) and last.reason == gap.reason:
        pieces[-1] = replace(last, stop=gap.stop)
    else:
        pieces.append(gap)


def bounded(pieces: list[Piece], source: str) -> list[Piece]:
    """Give up the older half of too many pieces: it is lost to an overrun.

    Only a source that breaks many times a second, and a worker that hangs, get here.
    Of the states in that half the newest remains.
    """
    if len(pieces) <= MOST_PIECES:
        return pieces
    half = len(pieces) // 2
    old = pieces[:half]
    states = [piece for piece in old if isinstance(piece, SourceState)]
    spans = [piece for piece in old if not isinstance(piece, SourceState)]
    kept: list[Piece] = [*states[-1:]]
    if spans:
        kept.append(Gap(source, spans[0].start, spans[-1].stop, "overrun"))
    return kept + pieces[half:]


__all__ = ["Block", "Timeline"]

_NEWEST_SECONDS = 4.6
"""What a worker that was lapped goes on with: a window and a hop of the article's."""

_MOST_ARRIVALS = 4096
_POLL_SECONDS = 0.05


class Timeline:
    """Takes what one capture thread delivers, and hands it in order to one worker.

    Samples, gaps and states are pieces of one timeline: blocks and gaps that `take`
    returns follow each other without hole or overlap from `start` to `stop`.  The
    capture thread never waits for the worker; of a worker that falls behind by more
    than the ring, the samples that it missed become a gap of reason "overrun".

    A lock guards the list of pieces while it is appended to or exchanged.  Samples are
    copied outside it.
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
        self.vitals = VitalsQueue()
        """What the samples say of the microphone; nobody is woken for it."""
        self.capacity = round(capacity_seconds * sample_rate)
        """Samples that can be waiting for the worker."""
        self.source_rate: int | None = None
        """Samples a second that the source itself delivers; None before it does."""

        self.wakeup: threading.Event | None = None
        """Set when there is something to take; may be shared by several timelines.  The
        worker clears it before it takes."""
        self._ring: Ring | None = None
        self._lock = threading.Lock()
        self._pieces: list[Piece] = []
        self._arrivals: deque[tuple[int, float]] = deque(maxlen=_MOST_ARRIVALS)
        self._heard: tuple[int, float] | None = None
        self._stop = start
        self._state_name: SourceStateName = "opening"
        self._new_stretch = True
        self._marked = False
        self._needs_room = False

        self._taken = start
        self._losses = LossCount()
        self._room = threading.Event()

    # Any thread.

    @property
    def stop(self) -> int:
        """Absolute index after the newest sample, captured or lost."""
        return self._stop

    @property
    def heard(self) -> tuple[int, float] | None:
        """Index after the newest sample that was captured, and when it arrived.

        Monotonic seconds; None before the first.
        """
        return self._heard

    @property
    def taken(self) -> int:
        """Absolute index up to which the worker has taken everything."""
        return self._taken

    @property
    def lost_samples(self) -> int:
        """Samples that were lost, for whatever reason, as of the latest take."""
        return self._losses.samples

    @property
    def gaps(self) -> int:
        """Gaps, as of the latest take; one that goes on after it is counted once."""
        return self._losses.gaps

    @property
    def state_name(self) -> SourceStateName:
        """What the source is doing."""
        return self._state_name

    @property
    def has_marks(self) -> bool:
        """Whether something waits that should not wait until more sound has come.

        A gap, a state, or so many samples that the worker must make room: a worker
        that lets small blocks collect still has to take them then.
        """
        crowded = 2 * (self._stop - self._taken) > self.capacity
        return self._marked or self._needs_room or crowded

    def keep(self, capacity_seconds: float) -> None:
        """Keep so many seconds of sound from the next block on, and lose none."""
        self.capacity = round(capacity_seconds * self.sample_rate)

    # The capture thread.

    def open(self, channels: int) -> None:
        """Begin a stretch of `channels` channels.  Runs on the capture thread.

        What was lost since the last stretch is told by `lose`, before or after.
        """
        if self._ring is None or self._ring.channels != channels:
            # As above: the pieces that wait hold the old one.
            self._ring = Ring(channels, self.capacity, start=self._stop)
        self._new_stretch = True

    def write(self, block: Samples, now: float) -> None:
        """Hand over one block.  Runs on the capture thread: copy, count, return.

        Args:
            block: float32, shape (channels, n), finite, any n.
            now: When its last sample arrived, monotonic seconds.
        """
        assert self._ring is not None, "a block before the source was opened"
        if block.shape[1] == 0:
            return
        if self._ring.capacity != self.capacity:
            # The pieces that wait hold the old ring for as long as it is needed.
            self._ring = self._ring.resized(self.capacity)
            self._new_stretch = True
        self._ring.write(block)
        with self._lock:
            start, self._stop = self._stop, self._stop + block.shape[1]
            last = self._pieces[-1] if self._pieces else None
            if isinstance(last, Stretch) and not self._new_stretch:
                last.stop = self._stop
            else:
                self._append(Stretch(self._ring, start, self._stop))
            self._heard = (self._stop, now)
            self._arrivals.append(self._heard)
        self._new_stretch = False
        self._wake()

    def lose(self, count: int, reason: GapReason) -> None:
        """Count samples that the source did not deliver.  Runs on the capture thread.

        Args:
            count: How many, at the rate of the timeline; none is no gap.
            reason: Why.
        """
        assert count >= 0, "samples cannot be found again"
        if count == 0:
            return
        if self._ring is not None:
            self._ring.skip(count)
        with self._lock:
            start, self._stop = self._stop, self._stop + count
            self._append(Gap(self.name, start, self._stop, reason))
        self._wake()

    def state(self, state: SourceStateName, detail: str) -> None:
        """Tell how the source is doing, from here on.  Runs on the capture thread."""
        with self._lock:
            self._state_name = state
            self._append(SourceState(self.name, state, detail))
        self._wake()

    def wait_for_room(self, count: int, stop: threading.Event) -> bool:
        """Wait until `count` samples can be written without loss.

        For recordings, which come as fast as they are read; a live source never waits.
        Runs on the capture thread.

        Returns:
            False if `stop` was set instead.

        Raises:
            ValueError: So many samples never fit.
        """
        if count > self.capacity:
            raise ValueError(f"{count} samples for a ring of {self.capacity}")
        while not stop.is_set():
            self._room.clear()
            self._needs_room = self._stop + count - self._taken > self.capacity
            if not self._needs_room:
                return True
            self._wake()
            self._room.wait(_POLL_SECONDS)  # then look at `stop` again
        return False

    # The worker.

    def take(self) -> list[Block | Gap | SourceState]:
        """Return everything since the last take, in order.  Runs on the worker thread.

        Returns:
            Blocks and gaps that follow each other without hole or overlap, with the
            states of the source between them.  Neighbouring gaps of one reason are one;
            a block ends where the source was opened anew.
        """
        with self._lock:
            pieces, self._pieces = self._pieces, []
            self._marked = False
            stop = self._stop
        taken: list[Block | Gap | SourceState] = []
        for piece in pieces:
            if isinstance(piece, Stretch):
                self._read(piece, taken)
            elif isinstance(piece, Gap):
                append_gap(taken, piece)
            else:
                taken.append(piece)
        self._losses.add(taken)
        self._taken = stop
        self._room.set()
        return taken

    def arrivals(self) -> list[tuple[int, float]]:
        """Return which sample arrived when, since the last call, oldest first.

        Runs on the worker thread.  If it is not called for long, the oldest are gone.

        Returns:
            Pairs of absolute index after a block and its time in monotonic seconds.
        """
        fresh: deque[tuple[int, float]] = deque(maxlen=_MOST_ARRIVALS)
        with self._lock:
            arrivals, self._arrivals = self._arrivals, fresh
        return list(arrivals)

    def past(self, start: int, stop: int) -> tuple[int, Samples]:
        """Copy what there still is of the samples [start, stop).  Worker thread.

        Whether they were taken does not matter.  What is lost is silence, and what is
        older than the ring, or of another number of channels, is left out.

        Returns:
            Index of the first sample, and float32 of shape (channels, n): n may be 0.
        """
        ring = self._ring
        if ring is None:
            return start, np.zeros((1, 0), np.float32)
        return ring.read_what_is_left(start, stop)

    def _read(self, stretch: Stretch, taken: list[Block | Gap | SourceState]) -> None:
        """Append the samples of `stretch`, and a gap for those that are overwritten."""
        start, stop = stretch.start, stretch.stop
        while start < stop:
            try:
                taken.append(Block(start, stretch.ring.read(start, stop - start)))
                return
            except OverrunError:
                newest = max(stretch.ring.oldest, self._stop - self._newest_samples)
                lost = Gap(self.name, start, min(newest, stop), "overrun")
                append_gap(taken, lost)
                start = lost.stop

    @property
    def _newest_samples(self) -> int:
        """How much a worker that was lapped goes on with."""
        # The margin keeps the writer from lapping a reader that has just caught up.
        return min(
            round(_NEWEST_SECONDS * self.sample_rate),
            self.capacity - self.capacity // 16,
        )

    def _append(self, piece: Piece) -> None:
        """Append to the pieces; the caller holds the lock."""
        if isinstance(piece, Gap):
            append_gap(self._pieces, piece)
        else:
            self._pieces.append(piece)
        self._marked = self._marked or not isinstance(piece, Stretch)
        self._pieces = bounded(self._pieces, self.name)

    def _wake(self) -> None:
        if self.wakeup is not None:
            self.wakeup.set()
