"""What the worker expects of everything that takes records.

A thread of a sink's own, for what may have to wait for the world.

A sink that keeps everything, for recordings that are analysed as a whole.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from monitor.records import Timed
from monitor.statistics import CanaryResult, Statistics


class Sink(Protocol):
    """Takes records and does something with them.  Called by the worker's thread alone.

    Trouble that a sink can expect (a full disk, a closed pipe) stays inside it: it is
    said once and counted.  What a sink raises ends the process.
    """

    def write(self, batch: Sequence[Timed], /) -> None:
        """Take records, those of each source in the order of its samples."""

    def report(self, statistics: Statistics, /) -> None:
        """Learn how the monitor is doing.  Called several times a second."""

    def reopen(self) -> None:
        """Open files anew: they may have been moved away."""

    def close(self) -> None:
        """Write what is still held, and give back files and terminal."""


@runtime_checkable
class Finding(Protocol):
    """A sink that comes upon records itself, such as what a killed monitor left."""

    def take_found(self) -> Sequence[Timed]:
        """Records that all other sinks are to be told, once."""


@runtime_checkable
class Queueing(Protocol):
    """A sink in which something may have to wait."""

    @property
    def queues(self) -> Mapping[str, int]:
        """How much waits, by what it is.  Called by the worker's thread."""


@runtime_checkable
class Trying(Protocol):
    """A sink that tries the sources with a known sound."""

    @property
    def results(self) -> Iterable[CanaryResult]:
        """The newest of each source.  Any thread."""


def tried_by(sink: Sink) -> Iterable[CanaryResult]:
    """What `sink` has tried."""
    return sink.results if isinstance(sink, Trying) else ()


def waiting_in(sink: Sink) -> Iterable[tuple[str, int]]:
    """How much waits in `sink`, by what it is."""
    return sink.queues.items() if isinstance(sink, Queueing) else ()


class Background:
    """Runs one function on a daemon thread, for one sink.

    The worker never waits for it, except for a moment at the end.  What is raised there
    comes up in the worker: a sink whose thread has died would be silent for ever.
    """

    def __init__(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Prepare `run(stop)`; it starts with the first `keep_running`.

        Args:
            name: Of the thread.
            run: Returns soon after `stop` is set, if it can.
        """
        self._run = run
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def keep_running(self) -> None:
        """Start it if it does not run yet; raise what has ended it."""
        if self._failure is not None:
            raise self._failure
        if self._thread.ident is None:
            self._thread.start()

    def finish(self, seconds: float) -> bool:
        """Ask it to end; return whether it did within `seconds`.

        One that hangs where nothing can wake it, such as in the resolver, does not keep
        the process from ending.
        """
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._run(self._stop)
        except Exception as error:  # noqa: BLE001 - comes up in the worker
            self._failure = error


class Collector:
    """Keeps the records that it gets, in order."""

    def __init__(self) -> None:
        self.records: list[Timed] = []

    def write(self, batch: Sequence[Timed]) -> None:
        """Keep the records of `batch`."""
        self.records += batch

    def report(self, _: Statistics) -> None:
        """Ignore how the monitor is doing."""

    def reopen(self) -> None:
        """Do nothing: there is no file."""

    def close(self) -> None:
        """Do nothing: there is no file."""
