"""The sink that serves /healthz, /livez and /metrics, with metrics of Prometheus.

Names and units follow https://prometheus.io/docs/practices/naming and OpenMetrics.
"""

import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
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

from monitor.config.outputs import MetricsSettings
from monitor.records import EVERY_SOURCE, SourceStateName
from monitor.sinks.alerts.secrets import read_one_line
from monitor.sinks.metrics_server import LIVENESS, TEXT, MetricsServer, Page
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.status_client import Document
from monitor.sinks.status_snapshot import StatusTracker
from monitor.statistics import Latencies, Statistics

logger = logging.getLogger(__name__)

PREFIX = "sound_monitor"
RETRY_SECONDS = 5.0
FRESH_SECONDS = 1.0
"""Time for which one snapshot serves all requests."""

CLOSE_SECONDS = 0.5
HANG_SECONDS = 60.0
"""An analysis that has not moved for so long hangs."""

Sample = tuple[str, tuple[str, ...], float | None]
"""Name of the family, values of its labels, and the value."""

GAUGE, COUNTER = GaugeMetricFamily, CounterMetricFamily
SOURCE = ("source",)
FAMILIES = (
    # type, name, unit, labels, text
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
    (GAUGE, "listened", "ratio", SOURCE, "Share of the time that was analysed."),
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
    (GAUGE, "publish_pending", "", (), "Records that wait for a fleet's broker."),
    (GAUGE, "publish_failing", "", (), "Whether they cannot be published now."),
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

        Raises:
            ConfigError: The token is missing or of the wrong form.
        """
        self._settings = settings
        self._tracker = tracker
        self._now = now
        self._token = (
            None
            if settings.token_secret is None
            else read_one_line(settings.token_secret, "metrics.token_secret", environ)
        )
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Status(self._snapshot, tracker))
        ProcessCollector(registry=self._registry)
        self._lock = threading.Lock()
        self._latest: tuple[float, Document] = (-math.inf, {})
        self._thread = BackgroundThread("metrics", self._run)
        self._server: MetricsServer | None = None

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
        address, shown = self._settings.address, self._settings.listen
        is_failing = False
        while not stop.is_set():
            try:
                self._server = MetricsServer(address, self._token, self._page)
            except OSError as error:
                if not is_failing:
                    message = "metrics.listen: cannot listen on %s: %s; trying again"
                    logger.warning(message, shown, error.strerror)
                is_failing = True
                stop.wait(RETRY_SECONDS)
                continue
            logger.info("metrics are served at http://%s/metrics", shown)
            self._server.run(stop)

    def _page(self, path: str, accept: str) -> Page | None:
        """Make a page.  Called on the threads of connections."""
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return HTTPStatus.OK, encode(self._registry), content_type
        it = self._snapshot()
        if path == LIVENESS:
            if it["statistics_age_seconds"] < HANG_SECONDS:
                return HTTPStatus.OK, b"alive\n", TEXT
            return HTTPStatus.SERVICE_UNAVAILABLE, b"the analysis hangs\n", TEXT
        if path != "/healthz":
            return None
        status = HTTPStatus.OK if it["listening"] else HTTPStatus.SERVICE_UNAVAILABLE
        return status, f"{it['sentence']}\n".encode(), TEXT

    def _snapshot(self) -> Document:
        """Take at most one snapshot a second, however many clients ask."""
        with self._lock:
            taken, snapshot = self._latest
            if self._now() - taken >= FRESH_SECONDS:
                snapshot = self._tracker.snapshot()
                self._latest = self._now(), snapshot
            return snapshot


class _Status(Collector):
    """The status document as metrics; the encoder of prometheus_client reads it."""

    def __init__(
        self, snapshot: Callable[[], Document], tracker: StatusTracker
    ) -> None:
        self._snapshot = snapshot
        self._tracker = tracker

    def collect(self) -> Iterator[Metric]:
        it = self._snapshot()
        values: dict[str, dict[tuple[str, ...], float]] = {}
        for name, labels, value in _samples(it):
            if value is not None:
                values.setdefault(name, {})[labels] = value
        info = {"version": it["version"]}
        if it["model"] is not None:
            info["model"] = it["model"]["name"]
            info["compute_device"] = it["model"]["compute_device"]
        yield InfoMetricFamily(f"{PREFIX}_build", "Program and model.", info)
        for kind, name, unit, label_names, text in FAMILIES:
            if name in values:
                full = f"{PREFIX}_{name}_{unit}" if unit else f"{PREFIX}_{name}"
                family = kind(full, text, labels=label_names, unit=unit)
                for labels, value in values[name].items():
                    family.add_metric(labels, value)
                yield family
        statistics = self._tracker.latest
        if statistics is not None and statistics.latencies is not None:
            yield _latency(statistics.latencies)


def _samples(it: Document) -> Iterator[Sample]:
    yield "listening", (), it["listening"]
    yield "threads", (), it["process"]["threads"]
    yield "start_time", (), _timestamp(it["since"])
    yield "report_age", (), it["statistics_age_seconds"]
    yield "disk_free", (), it["disk"]["free_bytes"]
    yield "database", (), it["disk"]["database_bytes"]
    yield "real_time_factor", (), it["real_time_factor"]
    model, watchdog, reload = it["model"], it["watchdog"], it["reload"]
    if model is not None:
        failed = model["failed_compute_device"] is not None
        yield "compute_device_failed", (), failed
    if watchdog is not None:
        yield "watchdog_age", (), watchdog["reset_seconds_ago"]
    if reload is not None:
        yield "reload_time", (), _timestamp(reload["time"])
        yield "reload_taken", (), reload["outcome"] == "taken"
    for queue, count in it["queues"].items():
        yield "queue_length", (queue,), count
    for trouble in it["troubles"]:
        yield "trouble", (EVERY_SOURCE, trouble["kind"]), 1
    for source in it["sources"]:
        yield from _source(source)
    if it["publishing"] is not None:
        yield "publish_pending", (), it["publishing"]["pending"]
        yield "publish_failing", (), it["publishing"]["problem"] is not None
    endpoints = {} if it["outbox"] is None else it["outbox"]["endpoints"]
    for endpoint, alerts in endpoints.items():
        yield "alerts", (endpoint, "pending"), alerts["pending"]
        yield "alerts", (endpoint, "dead"), alerts["dead"]
        oldest = alerts["oldest_pending"] or it["time"]
        age = (_moment(it["time"]) - _moment(oldest)).total_seconds()
        yield "alerts_oldest_age", (endpoint,), age


def _source(it: Document) -> Iterator[Sample]:
    name = it["name"]
    for state in get_args(SourceStateName):
        yield "source_state", (name, state), it["state"] == state
    yield "source_listening", (name,), it["listening"]
    yield "last_sample_time", (name,), _timestamp(it["last_sample"])
    yield "backlog", (name,), it["backlog_seconds"]
    yield "listened", (name,), it["listened"]["share"]
    yield "listened_day", (name,), it["listened_24h"]["share"]
    yield "level", (name,), it["level_dbfs"]
    yield "laeq", (name,), it["laeq_db"]
    yield "noise_floor", (name,), it["noise_floor_dbfs"]
    yield "noise_floor_laeq", (name,), it["noise_floor_laeq_db"]
    yield "captured", (name,), it["captured_seconds"]
    for reason, loss in it["losses"].items():
        yield "lost", (name, reason), loss["seconds"]
        yield "gaps", (name, reason), loss["gaps"]
    for label, count in it["events"].items():
        yield "events", (name, label), count
    for trouble in it["troubles"]:
        yield "trouble", (name, trouble["kind"]), 1
    if it["canary"] is not None:
        yield "canary_ok", (name,), it["canary"]["ok"]
        yield "canary_time", (name,), _timestamp(it["canary"]["time"])


def _latency(latencies: Latencies) -> Metric:
    histogram = HistogramMetricFamily(
        f"{PREFIX}_latency_seconds", "From a sound to its record.", unit="seconds"
    )
    bounds = [*map(str, latencies.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(latencies.counts), strict=True))
    histogram.add_metric([], buckets, latencies.total_seconds)
    return histogram


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _timestamp(text: str | None) -> float | None:
    return None if text is None else _moment(text).timestamp()
