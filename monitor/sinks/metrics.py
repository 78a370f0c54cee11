"""The sink that serves /healthz and /metrics, with metrics of Prometheus.

Names and units follow https://prometheus.io/docs/practices/naming and OpenMetrics.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from itertools import accumulate
from typing import get_args

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from monitor import __version__
from monitor.config.outputs import MetricsSettings
from monitor.records import SourceStateName
from monitor.sinks.alerts.secrets import read_one_line
from monitor.sinks.metrics_server import Answer, MetricsServer
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.status_snapshot import Snapshot, StatusTracker
from monitor.statistics import Latencies, SourceStatistics, Statistics

logger = logging.getLogger(__name__)

PREFIX = "sound_monitor"
RETRY_SECONDS = 5.0
FRESH_SECONDS = 1.0
"""One snapshot serves all requests for so long."""

CLOSE_SECONDS = 0.5

Sample = tuple[str, tuple[str, ...], float | None]
"""Name of the family, values of its labels, and the value."""

GAUGE, COUNTER = GaugeMetricFamily, CounterMetricFamily
SOURCE = ("source",)
FAMILIES = (
    # kind, name, unit, labels, text
    (GAUGE, "listening", "", (), "Whether all sources are listened to."),
    (GAUGE, "compute_device_failed", "", (), "Whether it fell back to the CPU."),
    (GAUGE, "threads", "", (), "Threads of the process."),
    (GAUGE, "start_time", "seconds", (), "When the process started."),
    (GAUGE, "report_age", "seconds", (), "Since the analysis last moved."),
    (GAUGE, "disk_free", "bytes", (), "Room where the monitor writes."),
    (GAUGE, "database", "bytes", (), "Size of the database."),
    (GAUGE, "watchdog_age", "seconds", (), "Since the watchdog was put off."),
    (GAUGE, "reload_time", "seconds", (), "When the configuration was last reloaded."),
    (GAUGE, "reload_taken", "", (), "Whether the latest configuration was accepted."),
    (GAUGE, "source_listening", "", SOURCE, "Whether the source is listened to."),
    (GAUGE, "source_state", "", ("source", "state"), "1 for the state it is in."),
    (GAUGE, "trouble", "", ("source", "kind"), "1 for each trouble that lasts."),
    (COUNTER, "events", "", ("source", "label"), "Events that have ended."),
    (GAUGE, "last_sample_time", "seconds", SOURCE, "When the newest sample came."),
    (GAUGE, "backlog", "seconds", SOURCE, "Captured and not analysed."),
    (GAUGE, "listened", "ratio", SOURCE, "Share of the sound that was captured."),
    (GAUGE, "listened_day", "ratio", SOURCE, "The same share of the last 24 hours."),
    (GAUGE, "level", "dbfs", SOURCE, "Level of the newest hop."),
    (GAUGE, "laeq", "decibels", SOURCE, "A-weighted level of the newest hop."),
    (GAUGE, "noise_floor", "dbfs", SOURCE, "Exceeded in 95 % of ten minutes."),
    (GAUGE, "noise_floor_laeq", "decibels", SOURCE, "The same, A-weighted."),
    (COUNTER, "captured", "seconds", SOURCE, "Sound that was captured."),
    (COUNTER, "lost", "seconds", ("source", "reason"), "Sound that was lost."),
    (COUNTER, "gaps", "", ("source", "reason"), "Gaps in the sound."),
    (GAUGE, "canary_ok", "", SOURCE, "Whether the latest canary was detected."),
    (GAUGE, "canary_time", "seconds", SOURCE, "When the latest canary ended."),
    (GAUGE, "real_time_factor", "", (), "Processing time by duration of the sound."),
    (GAUGE, "queue_length", "", ("queue",), "Items that wait in a queue."),
    (GAUGE, "alerts", "", ("endpoint", "state"), "Alerts in the outbox."),
    (GAUGE, "alerts_oldest_age", "seconds", ("endpoint",), "Of the oldest pending."),
)


class Metrics(Sink):
    """Serves the status of the monitor over HTTP, on threads of its own."""

    def __init__(
        self,
        settings: MetricsSettings,
        tracker: StatusTracker,
        now: Callable[[], float],
        environ: Mapping[str, str],
    ) -> None:
        """Read the token; nothing listens before the first `report`.

        Args:
            settings: Its section; it has an address.
            tracker: Source of the snapshots.
            now: Monotonic seconds.
            environ: Environment variables of the process, for secrets.

        Raises:
            ConfigError: The token is missing or of the wrong form.
        """
        self._settings = settings
        self._tracker = tracker
        self._token = (
            None
            if settings.token_secret is None
            else read_one_line(settings.token_secret, "metrics.token_secret", environ)
        )
        self._snapshots = _Snapshots(tracker, now)
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self._snapshots)
        ProcessCollector(registry=self._registry)
        self._thread = BackgroundThread("metrics", self._run)
        self._server: MetricsServer | None = None
        self._is_failing = False

    def report(self, statistics: Statistics) -> None:
        """Take the newest statistics."""
        self._tracker.report(statistics)
        self._thread.keep_running()

    def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.wake()
        self._thread.finish(CLOSE_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        pages = {"/healthz": self._healthz, "/metrics": self._metrics}
        address, shown = self._settings.address, self._settings.listen
        while not stop.is_set():
            try:
                self._server = MetricsServer(address, pages, self._token)
            except OSError as error:
                if not self._is_failing:
                    message = "metrics.listen: cannot listen on %s: %s; trying again"
                    logger.warning(message, shown, error.strerror)
                self._is_failing = True
                stop.wait(RETRY_SECONDS)
                continue
            logger.info("metrics are served at http://%s/metrics", shown)
            self._is_failing = False
            self._server.run(stop)

    def _healthz(self, _accept: str) -> Answer:
        it = self._snapshots.latest()
        status = HTTPStatus.OK if it.is_listening else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(status, f"{it.sentence}\n".encode())

    def _metrics(self, accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        return Answer(HTTPStatus.OK, encode(self._registry), content_type)


class _Snapshots(Collector):
    """Takes at most one snapshot a second, however many clients ask.  Any thread."""

    def __init__(self, tracker: StatusTracker, now: Callable[[], float]) -> None:
        self._tracker = tracker
        self._now = now
        self._lock = threading.Lock()
        self._taken = -math.inf
        self._snapshot: Snapshot

    def latest(self) -> Snapshot:
        with self._lock:
            if self._now() - self._taken >= FRESH_SECONDS:
                self._snapshot, self._taken = self._tracker.snapshot(), self._now()
            return self._snapshot

    def collect(self) -> Iterable[Metric]:
        return families(self.latest())


def families(it: Snapshot) -> Iterator[Metric]:
    """Write a snapshot as metric families; what is unknown or no number is left out."""
    values: dict[str, dict[tuple[str, ...], float]] = {}
    for name, labels, value in _samples(it):
        if value is not None and math.isfinite(value):
            values.setdefault(name, {})[labels] = value
    model = None if it.statistics is None else it.statistics.model
    info = {"version": __version__}
    if model is not None:
        info |= {"model": model.name, "compute_device": model.compute_device}
    yield InfoMetricFamily(f"{PREFIX}_build", "Program and model.", info)
    for kind, name, unit, label_names, text in FAMILIES:
        if name in values:
            full = f"{PREFIX}_{name}_{unit}" if unit else f"{PREFIX}_{name}"
            family = kind(full, text, labels=label_names, unit=unit)
            for labels, value in values[name].items():
                family.add_metric(labels, value)
            yield family
    if it.statistics is not None and it.statistics.latencies is not None:
        yield _latency(it.statistics.latencies)


def _samples(it: Snapshot) -> Iterator[Sample]:
    watchdog, reload = it.daemon.watchdog, it.daemon.reload
    yield "listening", (), it.is_listening
    yield "threads", (), it.threads
    yield "start_time", (), it.daemon.began.timestamp()
    yield "report_age", (), it.age_seconds
    yield "disk_free", (), it.free_bytes
    yield "database", (), it.database_bytes
    if watchdog is not None:
        yield "watchdog_age", (), it.monotonic - watchdog.put_off
    if reload is not None:
        yield "reload_time", (), reload.at.timestamp()
        yield "reload_taken", (), reload.is_taken
    for endpoint in it.outbox or ():
        place = endpoint.endpoint
        yield "alerts", (place, "pending"), endpoint.pending
        yield "alerts", (place, "dead"), endpoint.dead
        age = it.utc - (endpoint.oldest_pending or it.utc)
        yield "alerts_oldest_age", (place,), age.total_seconds()
    if it.statistics is not None:
        yield from _statistics(it.statistics, it.not_listening)


def _statistics(it: Statistics, not_listening: list[str]) -> Iterator[Sample]:
    rate = 1 if it.model is None else it.model.sample_rate
    for source in it.sources:
        is_heard = source.source not in not_listening
        yield "source_listening", (source.source,), is_heard
        yield from _source(source, rate)
    for trouble in it.troubles:
        yield "trouble", (trouble.source, trouble.kind), 1
    for canary in it.canary:
        yield "canary_ok", (canary.source,), canary.ok
        yield "canary_time", (canary.source,), canary.at.timestamp()
    for queue, count in it.queues:
        yield "queue_length", (queue,), count
    yield "real_time_factor", (), it.real_time_factor
    if it.model is not None:
        failed = it.model.failed_compute_device is not None
        yield "compute_device_failed", (), failed


def _source(it: SourceStatistics, rate: int) -> Iterator[Sample]:
    name = it.source
    for state in get_args(SourceStateName):
        yield "source_state", (name, state), it.state == state
    if it.last_sample is not None:
        yield "last_sample_time", (name,), it.last_sample.timestamp()
    yield "backlog", (name,), it.backlog_samples / rate
    yield "listened", (name,), it.listened.share
    yield "listened_day", (name,), it.listened_day.share
    yield "level", (name,), it.level.dbfs
    yield "laeq", (name,), it.level.laeq_db
    yield "noise_floor", (name,), it.noise_floor.dbfs
    yield "noise_floor_laeq", (name,), it.noise_floor.laeq_db
    yield "captured", (name,), it.captured_samples / rate
    for loss in it.losses:
        yield "lost", (name, loss.reason), loss.samples / rate
        yield "gaps", (name, loss.reason), loss.gaps
    for label, count in it.events:
        yield "events", (name, label), count


def _latency(latencies: Latencies) -> Metric:
    histogram = HistogramMetricFamily(
        f"{PREFIX}_latency_seconds", "From a sound to its record.", unit="seconds"
    )
    bounds = [*map(str, latencies.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(latencies.counts), strict=True))
    histogram.add_metric([], buckets, latencies.total_seconds)
    return histogram
