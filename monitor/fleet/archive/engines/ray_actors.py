"""Workers as actors of Ray, on one machine or on all of a cluster."""

import logging
import os
import socket
from collections.abc import Sequence
from typing import Any

# Ray reads it when it is imported: it would send figures about its use.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.exceptions import RayError

from monitor.errors import SoundMonitorError
from monitor.fleet.archive.analysis import Analyzer, ArchiveSettings, Task
from monitor.fleet.archive.engines.engine import Report
from monitor.fleet.archive.manifest import Entry
from monitor.text import first_line, printable

_CONNECT_SECONDS = 10.0


class _Worker:
    """The actor: one thread analyses, another one answers how far it is."""

    def __init__(self, settings: ArchiveSettings, model: str) -> None:
        self._share = 0.0
        self._refusal: str | None = None
        try:
            self._analyzer = Analyzer(settings, model)
        except SoundMonitorError as error:
            self._refusal = str(error)

    def ready(self) -> str | None:
        """Return why it can analyse nothing; None: it can."""
        return self._refusal

    def analyze(self, task: Task) -> Entry | str:
        """Return an entry, or why it can analyse nothing more."""

        def take(share: float) -> None:
            self._share = share

        self._share = 0.0
        try:
            return self._analyzer.analyze(task, take)
        except SoundMonitorError as error:
            return str(error)

    def share(self) -> float:
        return self._share


def _check_reachable(address: str | None) -> None:
    """Raise `OSError` where nothing answers: Ray would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), _CONNECT_SECONDS).close()


class RayActors:
    """An engine of Ray; see `Engine`."""

    def __init__(
        self,
        settings: ArchiveSettings,
        model: str,
        workers: int | None,
        address: str | None,
    ) -> None:
        """Start nothing yet.

        Args:
            settings: Those of the run.
            model: Digest of the models.
            workers: Number of actors; None: one for each core or GPU of the cluster.
            address: That of a cluster; None: Ray is started here.
        """
        self.workers = workers or 0
        self._arguments = (settings, model)
        self._address = address
        self._is_on_gpu = settings.config.model.compute_device == "cuda"
        self._threads = settings.config.model.threads
        self._actors: dict[int, Any] = {}
        self._calls: dict[Any, tuple[int, str]] = {}
        """The calls that go on: of which worker, and what they return."""

    def start(self) -> None:
        """Connect to the cluster, or start one here, and create the actors."""
        cores = {"num_cpus": self.workers * self._threads} if self.workers else {}
        here = {} if self._address else {"include_dashboard": False, **cores}
        try:
            _check_reachable(self._address)
            ray.init(
                address=self._address or "local",
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=False,
                **here,
            )
        except (OSError, RuntimeError, ValueError, OverflowError, RayError) as error:
            reason = getattr(error, "strerror", None) or first_line(error)
            place = f" at {printable(self._address)}" if self._address else ""
            raise SoundMonitorError(
                f"--engine ray: Ray cannot be started or reached{place}: {reason}"
            ) from None
        if not self.workers:
            resources = ray.cluster_resources()
            units = resources.get("GPU" if self._is_on_gpu else "CPU", 0)
            self.workers = int(units) // (1 if self._is_on_gpu else self._threads)
        if not self.workers:
            raise SoundMonitorError("--engine ray: the cluster has no free core or GPU")
        for worker in range(self.workers):
            self._start(worker)

    def _start(self, worker: int) -> None:
        variables = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        options = {
            "num_cpus": self._threads,
            "num_gpus": 1 if self._is_on_gpu else 0,
            "max_concurrency": 2,
            "max_restarts": 0,
            "runtime_env": {
                "env_vars": dict.fromkeys(variables, str(self._threads)),
            },
        }
        actor = ray.remote(**options)(_Worker).remote(*self._arguments)
        self._actors[worker] = actor
        self._calls[actor.ready.remote()] = (worker, "ready")

    def give(self, worker: int, task: Task) -> None:
        """Have a worker analyse a task."""
        actor = self._actors[worker]
        self._calls[actor.analyze.remote(task)] = (worker, "entry")
        self._calls[actor.share.remote()] = (worker, "share")

    def wait(self, seconds: float) -> Sequence[Report]:
        """Return what the workers report."""
        calls = [call for call, (_, kind) in self._calls.items() if kind != "share"]
        shares = [call for call, (_, kind) in self._calls.items() if kind == "share"]
        done, _ = ray.wait(calls, num_returns=1, timeout=seconds)
        if shares:
            done += ray.wait(shares, num_returns=len(shares), timeout=0)[0]
        reports = (self._receive(call) for call in done if call in self._calls)
        return [report for report in reports if report is not None]

    def _receive(self, call: Any) -> Report | None:
        worker, kind = self._calls.pop(call)
        try:
            value = ray.get(call)
        except RayError as error:
            self._calls = {
                other: about
                for other, about in self._calls.items()
                if about[0] != worker
            }
            self._start(worker)
            return Report(worker, death=first_line(error))
        if kind == "entry":
            is_refusal = isinstance(value, str)
            return Report(worker, **{"refusal" if is_refusal else "entry": value})
        if kind == "ready":
            return Report(worker, is_ready=value is None, refusal=value)
        is_busy = (worker, "entry") in self._calls.values()
        if is_busy:
            self._calls[self._actors[worker].share.remote()] = (worker, "share")
        return Report(worker, share=value) if is_busy else None

    def close(self) -> None:
        """Leave the cluster, which ends the actors."""
        ray.shutdown()
