"""The base class of everything that takes records, and threads for sinks."""

import logging
import queue
import threading
from collections.abc import Callable, Mapping, Sequence

from monitor.records import Timed
from monitor.statistics import CanaryResult, Statistics

logger = logging.getLogger(__name__)

LATE_SECONDS = 2.0
"""Longest wait for the files; the analysis waits with it."""

STEADY_SECONDS = 10.0
"""A disk that has not been late for so long has ended its trouble."""

LAST_SECONDS = 4.0
"""Longest wait for the files at the end of the run."""

MOST_CALLS = 5000
"""Batches that wait for the files in memory: those of tens of minutes."""


class Sink:
    """Takes records.  Called by the worker's thread alone; a subclass overrides parts.

    An expected failure of a sink (a full disk, a closed pipe) stays inside it: it is
    logged once and counted.  An exception that leaves a sink ends the process.
    """

    canary_results: Sequence[CanaryResult] = ()
    """The newest result of each source.  Any thread."""

    @property
    def queues(self) -> Mapping[str, int]:
        """Lengths of the sink's queues, by name."""
        return {}

    def write(self, batch: Sequence[Timed], /) -> None:
        """Take records, those of each source in the order of its samples."""

    def report(self, statistics: Statistics, /) -> None:
        """Take the newest statistics.  Called several times a second."""

    def take_recovered(self) -> Sequence[Timed]:
        """Return records of an earlier run, for all other sinks, once."""
        return ()

    def reopen(self) -> None:
        """Open files again: they may have been moved away."""

    def close(self) -> None:
        """Write what is pending, and release files and the terminal."""


class MemorySink(Sink):
    """Keeps all records in memory, in order."""

    def __init__(self) -> None:
        self.records: list[Timed] = []

    def write(self, batch: Sequence[Timed]) -> None:
        """Keep the records of `batch`."""
        self.records += batch


class BackgroundThread:
    """Runs one function on a daemon thread, for one sink.

    The worker never waits for it, except for a moment at the end.  An exception of the
    thread is raised in the worker: a sink whose thread has died would be silent for
    ever.
    """

    def __init__(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Prepare `run(stop)`, which ends soon after `stop`; see `keep_running`."""
        self._run = run
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def keep_running(self) -> None:
        """Start the thread if need be; raise the exception that ended it."""
        if self._failure is not None:
            raise self._failure
        if self._thread.ident is None:
            self._thread.start()

    @property
    def has_failed(self) -> bool:
        """True if an exception has ended the thread."""
        return self._failure is not None

    def finish(self, seconds: float) -> bool:
        """Set `stop`; return whether the thread ended within `seconds`.

        A thread that hangs where nothing can wake it, such as in the resolver, does not
        keep the process from ending.
        """
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._run(self._stop)
        except Exception as error:  # noqa: BLE001 - is raised in the worker
            self._failure = error


class FileSinks(Sink):
    """Sinks that write files, on a thread of their own.

    The worker waits for each call, so that what it hands to other sinks afterwards is
    on the disk.  While the disk hangs, it waits no longer: the calls follow in order
    once the disk answers again, and those that memory has no room for are counted.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        now: Callable[[], float],
        late_seconds: float = LATE_SECONDS,
        most_calls: int = MOST_CALLS,
    ) -> None:
        """Start nothing yet; `sinks` get each call in this order.

        `now` is a monotonic clock.
        """
        self._sinks = sinks
        self._now = now
        self._late_seconds = late_seconds
        self._calls: queue.Queue[tuple[Callable[[], None], threading.Event] | None]
        self._calls = queue.Queue(most_calls)
        self._thread = BackgroundThread("files", self._run)
        self._newest = threading.Event()
        """Set when the newest call was carried out."""

        self._is_late = False
        """True from a call that was late to one that is not."""

        self._late_at: float | None = None
        """Time of the latest call that was late, in the trouble that was logged."""

        self._lost = 0

    @property
    def queues(self) -> Mapping[str, int]:
        """Queues of the sinks, and the calls that wait for the disk.  Any thread."""
        queues = {"disk": self._calls.qsize()}
        for sink in self._sinks:
            queues |= sink.queues
        return queues

    def write(self, batch: Sequence[Timed]) -> None:
        """Have all sinks take the records."""
        self._call(lambda sink: sink.write(batch))

    def report(self, statistics: Statistics) -> None:
        """Have all sinks take the statistics, unless the disk hangs."""
        if not self._is_late or self._newest.is_set():
            self._call(lambda sink: sink.report(statistics))

    def take_recovered(self) -> Sequence[Timed]:
        """Return what one of the sinks recovered; the others have got it."""
        found: list[Timed] = []
        for sink in () if self._is_late else self._sinks:
            recovered = sink.take_recovered()
            found += recovered
            for other in self._sinks if recovered else ():
                if other is not sink:
                    other.write(recovered)
        return found

    def reopen(self) -> None:
        """Have all sinks open their files again."""
        self._call(lambda sink: sink.reopen())

    def close(self) -> None:
        """Have all sinks close, if the disk does not hang."""
        if self._thread.has_failed:
            return  # the worker has raised it
        self._call(lambda sink: sink.close(), LAST_SECONDS)
        if self._newest.wait(LAST_SECONDS):
            self._calls.put(None)
            self._thread.finish(LAST_SECONDS)
        else:
            count = self._calls.qsize()
            logger.error("the disk hangs: %d batches could not be written", count)

    def _call(self, use: Callable[[Sink], None], full_seconds: float = 0.0) -> None:
        """Call all sinks on the thread; wait, unless the call before is late.

        `full_seconds` is the longest wait for room in memory.
        """

        def call() -> None:
            for sink in self._sinks:
                use(sink)

        self._thread.keep_running()
        before, done = self._newest, threading.Event()
        try:
            self._calls.put((call, done), timeout=full_seconds)
        except queue.Full:
            if not self._lost:
                logger.error("the disk hangs, and memory is full: records are lost")
            self._lost += 1
            return
        self._newest = done
        if not self._is_late or before.is_set():
            self._is_late = not done.wait(self._late_seconds)
            self._thread.keep_running()
            self._log_change()

    def _log_change(self) -> None:
        """Log when the trouble begins, and when it is over."""
        now = self._now()
        if self._is_late:
            if self._late_at is None:
                logger.error(
                    "the disk hangs: what is to be written waits in memory, and what "
                    "is shown may not be on the disk"
                )
            self._late_at = now
        elif self._late_at is not None and now - self._late_at >= STEADY_SECONDS:
            logger.warning("the disk answers again; %d batches are lost", self._lost)
            self._late_at, self._lost = None, 0

    def _run(self, _: threading.Event) -> None:
        while (item := self._calls.get()) is not None:
            call, done = item
            try:
                call()
            finally:
                done.set()
