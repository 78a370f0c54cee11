"""What the worker expects of everything that takes records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, runtime_checkable

from monitor.records import CanaryResult, Statistics, Timed


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
