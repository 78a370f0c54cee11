"""The interface of an engine: workers that analyse one recording at a time each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from monitor.fleet.archive.analysis import Task
from monitor.fleet.archive.manifest import Entry


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker reports; one of the fields below it is set."""

    worker: int
    is_ready: bool = False
    """It has loaded the models, and can be given a task."""

    share: float | None = None
    """The share of its recording that has been analysed."""

    entry: Entry | None = None
    """Its task is done."""

    refusal: str | None = None
    """It can analyse nothing, for this reason: the run ends."""

    death: str | None = None
    """It died, for this reason, and another one takes its place."""


class Engine(Protocol):
    """Starts workers, and starts each that dies anew.  Used by one thread."""

    workers: int
    """Number of workers."""

    def start(self) -> None:
        """Start all workers.

        Raises:
            SoundMonitorError: They cannot be started.
        """

    def give(self, worker: int, task: Task) -> None:
        """Have a worker that is ready, or has reported its entry, analyse a task."""

    def wait(self, seconds: float) -> Sequence[Report]:
        """Return what the workers report; wait at most `seconds` for the first."""

    def close(self) -> None:
        """End all workers at once, whatever they do."""
