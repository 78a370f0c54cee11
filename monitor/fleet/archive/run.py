"""The run of an archive: gives the recordings to the workers of an engine."""

import logging
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from monitor.errors import SoundMonitorError
from monitor.fleet.archive.analysis import Task
from monitor.fleet.archive.engines.engine import Engine, Report
from monitor.fleet.archive.manifest import Entry, Manifest
from monitor.fleet.archive.progress import Display

logger = logging.getLogger(__name__)

TRIES = 3
"""How often a recording is begun whose worker dies."""

_WAIT_SECONDS = 0.5


@dataclass(slots=True)
class Totals:
    """What became of the recordings of a run."""

    recordings: int = 0
    skipped: int = 0
    """Analysed before, with the same settings; they count below, too."""

    done: int = 0
    damaged: int = 0
    failed: int = 0
    without_time: int = 0
    """Of those with records."""

    seconds: float = 0.0
    events: int = 0
    wall_seconds: float = 0.0
    """Length of the run."""

    analyzed_seconds: float = 0.0
    """Sound that this run has analysed."""

    def add(self, entry: Entry, *, is_skipped: bool = False) -> None:
        """Take in a recording."""
        self.recordings += 1
        self.skipped += is_skipped
        setattr(self, entry.status, getattr(self, entry.status) + 1)
        if entry.output is not None:
            self.without_time += entry.start is None
        self.seconds += entry.seconds
        self.events += entry.events
        if not is_skipped:
            self.analyzed_seconds += entry.seconds


@dataclass(slots=True)
class _Run:
    """The state of a run."""

    engine: Engine
    manifest: Manifest
    display: Display
    totals: Totals
    waiting: deque[Task]
    running: dict[int, Task] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)
    deaths: dict[str, int] = field(default_factory=dict)
    """Of workers, by the recording that they had."""

    failed_starts: int = 0
    """Workers that died one after the other before they had a recording."""

    def finish(self, entry: Entry, size: int) -> None:
        self.manifest.add(entry)
        self.totals.add(entry)
        self.display.finish(entry.file, size, entry.error)

    def take(self, report: Report) -> None:
        """Follow a report of a worker."""
        worker = report.worker
        if report.refusal is not None:
            raise SoundMonitorError(report.refusal)
        if report.share is not None and worker in self.running:
            self.display.advance(self.running[worker].input.name, report.share)
        if report.death is not None:
            self._requeue(worker, report.death)
        if report.entry is not None:
            task = self.running.pop(worker)
            self.finish(report.entry, task.input.size)
        if report.is_ready or report.entry is not None:
            self.failed_starts = 0
            self.idle.append(worker)

    def _requeue(self, worker: int, reason: str) -> None:
        """Have the recording of a worker that died analysed again, or give it up."""
        if worker in self.idle:
            self.idle.remove(worker)
        task = self.running.pop(worker, None)
        if task is None:
            self.failed_starts += 1
            if self.failed_starts > TRIES * self.engine.workers:
                raise SoundMonitorError(f"the workers cannot be started: {reason}")
            return
        name = task.input.name
        deaths = self.deaths[name] = self.deaths.get(name, 0) + 1
        if deaths < TRIES:
            logger.warning("%s: its worker died (%s): it is tried again", name, reason)
            self.display.stop(name)
            self.waiting.append(task)
            return
        error = f"{name}: its worker died {deaths} times, at last: {reason}"
        entry = replace(task.entry, output=None, error=error)
        self.finish(entry, task.input.size)

    def give(self) -> None:
        """Give a recording to each worker that has none."""
        while self.waiting and self.idle:
            worker, task = self.idle.pop(), self.waiting.popleft()
            self.running[worker] = task
            self.display.begin(task.input.name, task.input.size)
            self.engine.give(worker, task)


def run_archive(
    tasks: Sequence[Task], manifest: Manifest, engine: Engine, display: Display
) -> Totals:
    """Analyse all recordings that the manifest does not have yet.

    The largest come first, so that the workers end together.

    Raises:
        SoundMonitorError: The workers cannot be started.
    """
    began, totals = time.monotonic(), Totals()
    waiting = []
    for task in tasks:
        entry = manifest.entries.get(task.input.name)
        is_known = entry is not None and entry.identity == task.entry.identity
        if entry is not None and is_known and entry.status != "failed":
            totals.add(entry, is_skipped=True)
        else:
            waiting.append(task)
    waiting.sort(key=lambda task: (-task.input.size, task.input.name))
    display.expect(len(waiting), sum(task.input.size for task in waiting))
    run = _Run(engine, manifest, display, totals, deque(waiting))
    if waiting:
        try:
            engine.start()
            while run.waiting or run.running:
                run.give()
                for report in engine.wait(_WAIT_SECONDS):
                    run.take(report)
        finally:
            engine.close()
    totals.wall_seconds = time.monotonic() - began
    return totals
