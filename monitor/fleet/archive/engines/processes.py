"""Workers as processes of this machine, each at the other end of a pipe."""

import logging
import multiprocessing
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from monitor.errors import SoundMonitorError
from monitor.fleet.archive.analysis import Analyzer, ArchiveSettings, Task
from monitor.fleet.archive.engines.engine import Report
from monitor.fleet.archive.manifest import Entry

_END_SECONDS = 5.0

_Message = tuple[str, float | str | Entry | None]


@dataclass(frozen=True, slots=True)
class _Worker:
    process: SpawnProcess
    pipe: Connection


class Processes:
    """An engine of processes; see `Engine`."""

    def __init__(self, settings: ArchiveSettings, model: str, workers: int) -> None:
        """Start nothing yet."""
        self.workers = workers
        self._arguments = (settings, model)
        # A fork of a process with threads, as of the progress, may hang.
        self._context = multiprocessing.get_context("spawn")
        self._running: dict[int, _Worker] = {}

    def start(self) -> None:
        """Start all workers."""
        for worker in range(self.workers):
            self._start(worker)

    def _start(self, worker: int) -> None:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(
            target=_run, args=(theirs, *self._arguments), name=f"archive-{worker}"
        )
        process.start()
        # With the other end here, the death of the worker would go unnoticed.
        theirs.close()
        self._running[worker] = _Worker(process, ours)

    def give(self, worker: int, task: Task) -> None:
        """Have a worker analyse a task."""
        with suppress(OSError):  # it has died, which `wait` reports
            self._running[worker].pipe.send(task)

    def wait(self, seconds: float) -> Sequence[Report]:
        """Return what the workers report."""
        pipes = {each.pipe: worker for worker, each in self._running.items()}
        ready = wait(list(pipes), seconds)
        return [self._receive(pipes[it]) for it in ready if isinstance(it, Connection)]

    def _receive(self, worker: int) -> Report:
        try:
            kind, value = self._running[worker].pipe.recv()
        except (EOFError, OSError):
            return self._replace(worker)
        return Report(worker, **{kind: value})

    def _replace(self, worker: int) -> Report:
        dead = self._running.pop(worker)
        dead.pipe.close()
        dead.process.join(_END_SECONDS)
        code = dead.process.exitcode
        if code is None:
            dead.process.kill()
            dead.process.join()
        self._start(worker)
        if code is not None and code < 0:
            return Report(worker, death=f"killed by {signal.Signals(-code).name}")
        return Report(worker, death=f"exit code {code}")

    def close(self) -> None:
        """End all workers at once."""
        for each in self._running.values():
            each.process.kill()
        for each in self._running.values():
            each.process.join()
            each.pipe.close()
        self._running.clear()


def _run(pipe: Connection, settings: ArchiveSettings, model: str) -> None:
    """Analyse what comes, until the other end is closed.  Runs in the worker."""
    # Ctrl-C reaches all processes of a terminal: the program ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What is wrong with a recording is in its entry.
    logging.getLogger("monitor").setLevel(logging.CRITICAL)

    def send(kind: str, value: float | str | bool | Entry) -> None:
        pipe.send((kind, value))

    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        try:
            analyzer = Analyzer(settings, model)
            send("is_ready", True)
            while True:
                task = pipe.recv()
                entry = analyzer.analyze(task, lambda share: send("share", share))
                send("entry", entry)
        except SoundMonitorError as error:
            send("refusal", str(error))
