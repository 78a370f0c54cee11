"""The status of the running monitor as one JSON document; keys are only added to it."""

import contextlib
import math
import os
import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from monitor import __version__
from monitor.clock import Clock, SystemClock
from monitor.memory import resident_bytes
from monitor.records import EVERY_SOURCE
from monitor.sinks.alerts.outbox import count_alerts
from monitor.sinks.status_client import SCHEMA, Document
from monitor.sinks.status_sentence import sentence_of
from monitor.statistics import CanaryResult, Listened, Statistics, Trouble
from monitor.text import WeightedUnits, rounded, utc_text, without_secrets

CPU_STEP_SECONDS = 10.0
CPU_STEPS = 6
"""The share of the processor is that of the latest minute."""

DISK_SECONDS = 0.5  # longest wait for the disk


@dataclass(frozen=True, slots=True)
class Watchdog:
    """The watchdog: that of the service manager, or of `run --watchdog`."""

    limit_seconds: float
    """A monitor that is silent for so long is ended."""

    reset_at: float
    """Time of the latest reset, monotonic seconds."""


@dataclass(frozen=True, slots=True)
class Reload:
    """The latest reload of the configuration."""

    at: datetime
    """Time of its end, UTC."""

    is_taken: bool
    detail: str
    """The changes, or the reason of the rejection."""


@dataclass(slots=True)
class DaemonFacts:
    """Facts of the main thread; it replaces each as a whole, any thread reads them."""

    configuration: str = ""
    """Path of the file, or a remark that there is none."""

    configuration_digest: str = ""
    """SHA-256 of the text in use, as it was read; empty: there is no file."""

    began: datetime = field(default_factory=lambda: datetime.now(UTC))
    pid: int = field(default_factory=os.getpid)
    watchdog: Watchdog | None = None
    reload: Reload | None = None
    dropped_lines: int = 0
    """Lines of output and log that nobody took."""

    overrides: str = ""
    """Settings that were changed while the monitor ran, for people; empty: none."""

    unfit_overrides: tuple[str, ...] = ()
    """Those that are left out, for people; a sentence each."""

    page: str | None = None
    """Address of the page of `run --web`; empty until it serves; None: no page."""

    page_fault: str = ""
    """Why that page has ended, a sentence; empty: it has not."""

    began_seconds: float = field(default_factory=SystemClock().monotonic)
    """The same as `began`, monotonic: the time of day may step."""

    rollout: Document | None = None
    """The bundle that is used, and those that are not; None: there is no roll out."""

    bundle_fault: str = ""
    """Why the bundle is left out of the configuration, a sentence; empty: it is not."""

    command_environ: Mapping[str, str] = field(default_factory=dict)
    """Variables with which a command of this program has the same configuration."""


@dataclass(frozen=True, slots=True)
class SnapshotSettings:
    """The parts of a configuration that a snapshot needs."""

    state_dir: Path
    database: Path | None
    endpoints: Sequence[str]
    """Endpoints of the alerts: RULE/KIND."""

    compute_device: str
    """Configured device: `auto`, `cpu`, `cuda` or `mps`."""

    weighted_units: WeightedUnits = field(default_factory=lambda: WeightedUnits({}))
    """Units of the A-weighted levels of the sources."""


class StatusTracker:
    """Keeps the newest statistics, and takes snapshots of the monitor."""

    latest: Statistics | None = None
    """Newest statistics; None before the first step of the worker."""

    def __init__(
        self,
        settings: SnapshotSettings,
        daemon: DaemonFacts,
        clock: Clock,
        mutes: Callable[[], Sequence[Document]] = tuple,
        publishing: Callable[[], Document | None] = lambda: None,
        mqtt: Callable[[], Document | None] = lambda: None,
    ) -> None:
        """Prepare; any thread calls `mutes`, of the alert rules, and the others."""
        self._settings = settings
        self._daemon = daemon
        self._clock = clock
        self._mutes = mutes
        self._publishing = publishing
        self._mqtt = mqtt
        self._reported = clock.monotonic()
        self._cpu_times = deque([(self._reported, time.process_time())], CPU_STEPS)
        self._lock = threading.Lock()
        self._reader: threading.Thread | None = None
        self._on_disk: Document = {}

    @property
    def uptime_seconds(self) -> float:
        """For how long the program has run.  Any thread."""
        return self._clock.monotonic() - self._daemon.began_seconds

    @property
    def is_listening(self) -> bool:
        """Whether all sources listen, as in a snapshot.  Any thread."""
        with self._lock:
            latest, reported = self.latest, self._reported
        return _listens(latest, self._clock.monotonic() - reported)

    def report(self, statistics: Statistics) -> None:
        """Take the newest statistics.  Worker's thread."""
        now = self._clock.monotonic()
        with self._lock:
            self.latest, self._reported = statistics, now
        if now - self._cpu_times[-1][0] >= CPU_STEP_SECONDS:
            self._cpu_times.append((now, time.process_time()))

    def snapshot(self) -> Document:
        """Write the status as schema 1.  Any thread but the worker's: it reads files.

        Times are UTC in ISO 8601 with milliseconds; what is unknown is null.  Secrets,
        users in URLs and queries of URLs are left out.
        """
        now, utc = self._clock.monotonic(), self._clock.utc()
        with self._lock:
            latest, age = self.latest, now - self._reported
        statistics = latest or Statistics((), math.nan, math.nan, math.nan)
        mutes = list(self._mutes())
        daemon, watchdog, reload = (it := self._daemon), it.watchdog, it.reload
        return {
            "schema": SCHEMA,
            "running": True,
            "listening": _listens(latest, age),
            "sentence": sentence_of(latest, age, utc, mutes),
            "pid": daemon.pid,
            "version": __version__,
            "time": utc_text(utc),
            "since": utc_text(daemon.began),
            "configuration": daemon.configuration,
            "configuration_digest": daemon.configuration_digest or None,
            "overrides": daemon.overrides or None,
            "bundle": daemon.rollout and daemon.rollout["bundle"],
            "rollout": daemon.rollout,
            "page": daemon.page or None,
            "statistics_age_seconds": rounded(age, 1),
            "sources": _sources(statistics, age, self._settings.weighted_units),
            "latency_seconds": {
                "p50": rounded(statistics.latency_seconds_p50, 3),
                "p95": rounded(statistics.latency_seconds_p95, 3),
            },
            "real_time_factor": rounded(statistics.real_time_factor, 4),
            "queues": dict(statistics.queues),
            "troubles": _troubles(statistics.troubles, EVERY_SOURCE),
            "model": self._model(statistics),
            "process": self._process(now),
            **self._stored(),
            "mutes": mutes,
            "publishing": self._publishing(),
            "mqtt": self._mqtt(),
            "watchdog": watchdog
            and {
                "limit_seconds": watchdog.limit_seconds,
                "reset_seconds_ago": rounded(now - watchdog.reset_at, 1),
            },
            "reload": reload
            and {
                "time": utc_text(reload.at),
                "outcome": "taken" if reload.is_taken else "rejected",
                "detail": without_secrets(reload.detail),
            },
        }

    def _model(self, statistics: Statistics) -> Document | None:
        model = statistics.model
        if model is None:
            return None
        return {
            "name": model.name,
            "labels": list(model.labels),
            "compute_device": model.compute_device,
            "configured_compute_device": self._settings.compute_device,
            "failed_compute_device": model.failed_compute_device,
        }

    def _stored(self) -> Document:
        """Figures of the disk; null if it hangs, or no thread can be started."""
        with self._lock:
            reader = self._reader
            if reader is None or not reader.is_alive():
                reader = self._reader = threading.Thread(
                    target=self._read_disk, name="status-disk", daemon=True
                )
                try:
                    reader.start()
                except RuntimeError:  # the system has no more threads
                    reader = self._reader = None
        if reader is not None:
            reader.join(DISK_SECONDS)
            if not reader.is_alive():
                return self._on_disk
        unknown = {"free_bytes": None, "database_bytes": None}
        disk = {"state_dir": str(self._settings.state_dir), **unknown}
        return {"outbox": None, "disk": disk}

    def _read_disk(self) -> None:
        folder, database = self._settings.state_dir, self._settings.database
        self._on_disk = {
            "outbox": database and count_alerts(database, self._settings.endpoints),
            "disk": {
                "state_dir": str(folder),
                "free_bytes": _free_bytes(folder),
                "database_bytes": database and _database_bytes(database),
            },
        }

    def _process(self, now: float) -> Document:
        """Figures of this process, without the programs that it started."""
        since, spent = self._cpu_times[0]
        share = (time.process_time() - spent) / (now - since) if now > since else None
        return {
            "rss_bytes": resident_bytes(),
            "open_files": _open_files(),
            "threads": threading.active_count(),
            "cpu_share": rounded(share, 4),
            "dropped_lines": self._daemon.dropped_lines,
        }


def _sources(
    statistics: Statistics, age_seconds: float, units: WeightedUnits
) -> list[Document]:
    if statistics.model is None:
        return []
    rate = statistics.model.sample_rate
    listening = statistics.listening(age_seconds)
    canary = {each.source: _canary(each) for each in statistics.canary}
    return [
        {
            "name": each.source,
            "state": each.state,
            "detail": without_secrets(each.detail),
            "listening": listening.get(each.source, True),
            "analysed": each.is_analysed(age_seconds),
            "last_sample": utc_text(each.last_sample),
            "listened": _listened(each.listened),
            "listened_24h": _listened(each.listened_day),
            "left_out_share": rounded(each.left_out, 4),
            "captured_seconds": rounded(each.captured_samples / rate, 3),
            "lost_samples": each.lost_samples,
            "lost_seconds": rounded(each.lost_samples / rate, 3),
            "gaps": each.gaps,
            "losses": {
                loss.reason: {
                    "gaps": loss.gaps,
                    "samples": loss.samples,
                    "seconds": rounded(loss.samples / rate, 3),
                }
                for loss in each.losses
            },
            "backlog_seconds": rounded(each.backlog_samples / rate, 3),
            "level_dbfs": rounded(each.level.dbfs, 1),
            "laeq_db": rounded(each.level.laeq_db, 1),
            "laeq_unit": units.of(each.source),
            "noise_floor_dbfs": rounded(each.noise_floor.dbfs, 1),
            "noise_floor_laeq_db": rounded(each.noise_floor.laeq_db, 1),
            "events": dict(each.events),
            "canary": canary.get(each.source),
            "troubles": _troubles(statistics.troubles, each.source),
        }
        for each in statistics.sources
    ]


def _listened(listened: Listened) -> Document:
    share = rounded(listened.share, 6)
    return {"share": share, "of_seconds": rounded(listened.seconds, 1)}


def _canary(result: CanaryResult) -> Document:
    return {
        "time": utc_text(result.at),
        "ok": result.ok,
        "detail": without_secrets(result.detail),
        "label": result.label,
        "score": rounded(result.score, 4),
        "seconds": rounded(result.seconds, 1),
    }


def _troubles(troubles: Iterable[Trouble], source: str) -> list[Document]:
    return [
        {
            "kind": each.kind,
            "since": utc_text(each.since),
            "detail": without_secrets(each.detail),
        }
        for each in troubles
        if each.source == source
    ]


def _open_files() -> int | None:
    for folder in ("/proc/self/fd", "/dev/fd"):
        # One of them is that of the listing itself.
        with contextlib.suppress(OSError):
            return sum(1 for _ in Path(folder).iterdir()) - 1
    return None


def _free_bytes(folder: Path) -> int | None:
    """Free space of the file system of `folder`, which need not exist."""
    for existing in (folder, *folder.parents):
        try:
            return shutil.disk_usage(existing).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _database_bytes(database: Path) -> int | None:
    """Size of the database with its journal; None: there is none."""
    sizes = []
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(OSError):
            sizes.append(Path(f"{database}{suffix}").stat().st_size)
    return sum(sizes) if sizes else None


def _listens(latest: Statistics | None, age: float) -> bool:
    """Whether there are sources, and all of them listen."""
    listening = latest.listening(age) if latest else {}
    return bool(listening) and all(listening.values())
