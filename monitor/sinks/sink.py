"""The base class of everything that takes records, and the thread of a sink."""

import threading
from collections.abc import Callable, Mapping, Sequence

from monitor.records import Timed
from monitor.statistics import CanaryResult, Statistics


class Sink:
    """Takes records.  A subclass overrides parts.

    One thread calls it: the files thread those in `FileSinks`, the worker all others.

    An expected failure of a sink (a full disk, a closed pipe) stays inside it: it is
    logged once and counted.  An exception that leaves a sink ends the process.
    """

    canary_results: Sequence[CanaryResult] = ()
    """The newest result of each source.  Any thread."""

    @property
    def queues(self) -> Mapping[str, int]:
        """Lengths of the sink's queues, by name.  Any thread, also during a call."""
        return {}

    def write(self, batch: Sequence[Timed], /) -> None:
        """Take records, those of each source in the order of its samples."""

    def report(self, statistics: Statistics, /) -> None:
        """Take the newest statistics.

        Called every 0.25 s; less often while the worker is late or the disk hangs.
        """

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
