"""The sinks that write files, on a thread of their own: a disk may hang."""

import logging
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from monitor.clock import Clock
from monitor.errors import ClosedError, StoreUnavailableError
from monitor.records import ScoreFrame, SourceState, Timed
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)

T = TypeVar("T")

LATE_SECONDS = 2.0
"""Longest wait for the files; the analysis waits with it."""

STEADY_SECONDS = 10.0
"""A disk that has not been late for so long has ended its trouble."""

LAST_SECONDS = 3.0
"""Longest wait for the files at the end of the run."""

MOST_RECORDS = 10_000
"""Records that wait in memory for a disk that hangs: as many as in the store."""

MOST_FRAMES = 5_000
"""Score frames that wait beside them."""


@dataclass(slots=True)
class _Work:
    """Calls to the sinks that are carried out together."""

    is_wanted: bool = False
    batch: list[Timed] = field(default_factory=list)
    statistics: Statistics | None = None
    reopens: bool = False
    closes: bool = False
    asked: list[tuple[Callable[[], Any], Future[Any]]] = field(default_factory=list)
    """What other threads ask for; the worker does not wait for it alone."""

    done: threading.Event = field(default_factory=threading.Event)
    """Set when it was carried out, or never will be because the thread failed."""


class FileSinks(Sink):
    """Calls sinks that write files on a thread of their own, the files thread.

    The worker waits for each call, so that what it hands to other sinks afterwards is
    on the disk.  While the disk hangs, it waits no longer.  The records of the calls
    that follow are gathered, and are one call once the disk answers again.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        clock: Clock,
        late_seconds: float = LATE_SECONDS,
        last_seconds: float = LAST_SECONDS,
        most_records: int = MOST_RECORDS,
        most_frames: int = MOST_FRAMES,
    ) -> None:
        """Start nothing yet; `sinks` get each call in this order.

        Beyond `most_records` and `most_frames` the oldest
        of what waits is lost, and counted.
        """
        self._sinks = sinks
        self._clock = clock
        self._late_seconds = late_seconds
        self._last_seconds = last_seconds
        self._most = Counter({"records": most_records, "score frames": most_frames})
        self._thread = BackgroundThread("files", self._run)
        self._changed = threading.Condition()
        """Held for `_next`, `_running` and `_recovered`."""

        self._next = _Work()
        self._running: _Work | None = None
        self._recovered: list[Timed] = []
        self._failure: Exception | None = None
        self._has_raised = False
        self._has_begun = False
        self._is_closed = False
        self._late_at: float | None = None
        """Time of the latest call that was late, in the trouble that was logged."""

        self._lost: Counter[str] = Counter()

    @property
    def queues(self) -> Mapping[str, int]:
        """Queues of the sinks; disk: what waits, and the call going on.  Any thread."""
        with self._changed:
            waiting = len(self._next.batch)
            if self._running is not None:
                waiting += max(1, len(self._running.batch))
        queues = {"disk": waiting}
        for sink in self._sinks:
            queues |= sink.queues
        return queues

    def write(self, batch: Sequence[Timed]) -> None:
        """Have all sinks take the records; those that wait keep the time of now."""
        now = self._clock.utc()
        self._call(batch=[replace(timed, reported_utc=now) for timed in batch])

    def report(self, statistics: Statistics) -> None:
        """Have all sinks take the statistics; while the disk hangs, the newest."""
        self._call(statistics=statistics)

    def take_recovered(self) -> Sequence[Timed]:
        """Return what one of the sinks recovered; the others have got it."""
        if not self._has_begun:
            self._has_begun = True
            self._call()
        with self._changed:
            found, self._recovered = self._recovered, []
        return found

    def reopen(self) -> None:
        """Have all sinks open their files again."""
        self._call(reopens=True)

    def ask(self, work: Callable[[], T], seconds: float) -> T:
        """Run `work` on the files thread, between two calls; return its result.

        Any thread but the worker's.  An exception of `work` is raised here alone.

        Raises:
            StoreUnavailableError: The disk does not answer within `seconds`.
            ClosedError: The sinks are closed.
        """
        future: Future[T] = Future()
        with self._changed:
            is_over = self._is_closed or self._failure is not None
            if not is_over:
                self._next.asked.append((work, future))
                self._changed.notify()
        if is_over:
            raise ClosedError("the monitor stops or reloads: try it again")
        try:
            return future.result(seconds)
        except TimeoutError:
            outcome = "nothing was changed"
            if not future.cancel():
                outcome = "it may be done all the same"
            raise StoreUnavailableError(
                f"the disk does not answer within {seconds:g} s: {outcome}"
            ) from None

    def close(self) -> None:
        """Have all sinks close; log what is not written, if the disk hangs."""
        if self._is_closed or self._has_raised:
            return
        self._is_closed = True
        self._raise_failure()
        work = self._hand_over(closes=True)
        if work.done.wait(self._last_seconds):
            self._thread.finish(self._last_seconds)
        else:
            with self._changed:
                running = [] if self._running is None else self._running.batch
                missing = Counter(map(_kind, [*running, *self._next.batch]))
            logger.error(
                "the disk hangs: %d records and %d score frames may not be written",
                missing["records"],
                missing["score frames"],
            )
        self._raise_failure()

    def _call(
        self,
        *,
        batch: Sequence[Timed] = (),
        statistics: Statistics | None = None,
        reopens: bool = False,
    ) -> None:
        """Hand over a call; wait for it, unless one before is late."""
        self._raise_failure()
        with self._changed:
            running = self._running
            is_idle = not ((running and running.is_wanted) or self._next.is_wanted)
        work = self._hand_over(batch=batch, statistics=statistics, reopens=reopens)
        if is_idle:
            is_done = work.done.wait(self._late_seconds)
            self._raise_failure()
            self._log_change(is_late=not is_done)

    def _hand_over(
        self,
        *,
        batch: Sequence[Timed] = (),
        statistics: Statistics | None = None,
        reopens: bool = False,
        closes: bool = False,
    ) -> _Work:
        """Add a call to those that wait; start the thread if need be."""
        self._thread.keep_running()
        with self._changed:
            work = self._next
            work.is_wanted = True
            work.batch += batch
            work.statistics = statistics or work.statistics
            work.reopens |= reopens
            work.closes |= closes
            self._drop_oldest(work.batch)
            self._changed.notify()
        return work

    def _drop_oldest(self, batch: list[Timed]) -> None:
        """Drop what memory has no room for; records make no room for score frames."""
        excess = Counter(map(_kind, batch)) - self._most
        if not excess:
            return
        for kind in excess:
            if not self._lost[kind]:
                logger.error(
                    "the disk hangs, and memory for %d %s is full: the oldest are lost",
                    self._most[kind],
                    kind,
                )
        self._lost += excess
        kept = []
        for timed in batch:
            if excess[_kind(timed)] > 0:
                excess[_kind(timed)] -= 1
            else:
                kept.append(timed)
        batch[:] = kept

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._has_raised = True
            raise self._failure

    def _log_change(self, *, is_late: bool) -> None:
        """Log when the trouble begins, and when it is over."""
        now = self._clock.monotonic()
        if is_late:
            if self._late_at is None:
                logger.error(
                    "the disk hangs: what is to be written waits in memory, and what "
                    "is shown may not be on the disk"
                )
            self._late_at = now
        elif self._late_at is not None and now - self._late_at >= STEADY_SECONDS:
            logger.warning(
                "the disk answers again; %d records and %d score frames are lost",
                self._lost["records"],
                self._lost["score frames"],
            )
            self._late_at = None
            self._lost.clear()

    def _run(self, _: threading.Event) -> None:
        """Carry out calls until one closes.  Files thread."""
        is_closed = False
        while not is_closed:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._next.is_wanted or bool(self._next.asked)
                )
                work = self._running = self._next
                self._next = _Work()
            try:
                self._carry_out(work)
            except Exception as error:
                # Before the worker is released: it must not take this for written.
                self._failure = error
                raise
            finally:
                with self._changed:
                    self._running = None
                    work.done.set()
                    if self._failure is not None:
                        self._next.done.set()
            is_closed = work.closes

    def _carry_out(self, work: _Work) -> None:
        self._recover()
        for sink in self._sinks if work.batch else ():
            sink.write(work.batch)
        for sink in self._sinks:
            if work.statistics is not None:
                sink.report(work.statistics)
            if work.reopens:
                sink.reopen()
        for asked, future in work.asked:
            _answer(asked, future)
        self._recover()
        for sink in self._sinks if work.closes else ():
            sink.close()

    def _recover(self) -> None:
        """Have the other sinks, then the worker, take what one of them recovered."""
        for sink in self._sinks:
            recovered = sink.take_recovered()
            for other in self._sinks if recovered else ():
                if other is not sink:
                    other.write(recovered)
            with self._changed:
                self._recovered += recovered


def _answer(work: Callable[[], Any], future: Future[Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return  # nobody waits for it any more
    try:
        future.set_result(work())
    except Exception as error:  # noqa: BLE001 - is raised where it was asked for
        future.set_exception(error)


def _kind(timed: Timed) -> str:
    """What a record counts as; files have no line or row for a `SourceState`."""
    is_light = isinstance(timed.record, ScoreFrame | SourceState)
    return "score frames" if is_light else "records"
