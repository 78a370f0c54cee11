"""The sink behind /healthz and /metrics.

How the monitor is doing, as metrics of Prometheus.

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
from monitor.sinks.metrics_server import Answer, Server
from monitor.sinks.sink import BackgroundThread, Sink
from monitor.sinks.status_snapshot import EndpointFacts, Snapshot, Vitals
from monitor.statistics import CanaryResult, Latencies, SourceStatistics, Statistics

logger = logging.getLogger(__name__)


PREFIX = "sound_monitor"

Value = float | None


def families(it: Snapshot) -> Iterator[Metric]:
    """Everything that is known of the monitor at one moment.

    What is unknown or not a number is left out.
    """
    yield from _monitor(it)
    statistics = it.statistics
    if statistics is not None:
        rate = 1 if statistics.model is None else statistics.model.sample_rate
        yield from _sources(statistics, it.deaf)
        yield from _sound(statistics.sources, rate)
        yield from _losses(statistics.sources, rate)
        yield from _canary(statistics.canary)
        yield from _worker(statistics)
    if it.outbox is not None:
        yield from _outbox(it, it.outbox)


def _monitor(it: Snapshot) -> Iterator[Metric]:
    statistics = it.statistics
    info = {"version": __version__}
    failed = None
    if statistics is not None and statistics.model is not None:
        model = statistics.model
        info |= {"model": model.name, "compute_device": model.compute_device}
        failed = model.failed_compute_device is not None
    yield InfoMetricFamily(f"{PREFIX}_build", "What runs.", info)
    yield from _gauges(
        ("listening", "Whether all sources are truly listened to.", it.is_listening),
        ("compute_device_failed", "Whether it fell back to the CPU.", failed),
        ("threads", "Threads of the process.", it.process.threads),
    )
    yield from _gauges(
        ("start_time", "When it started.", it.daemon.began.timestamp()),
        ("report_age", "Since the analysis last moved.", it.age_seconds),
        unit="seconds",
    )
    yield from _gauges(
        ("disk_free", "Room where the monitor writes.", it.disk.free_bytes),
        ("database", "Size of the database.", it.disk.database_bytes),
        unit="bytes",
    )
    watchdog, reload = it.daemon.watchdog, it.daemon.reload
    if watchdog is not None:
        age = it.monotonic - watchdog.put_off
        text = "Since the watchdog was put off."
        yield from _gauges(("watchdog_age", text, age), unit="seconds")
    if reload is not None:
        at = reload.at.timestamp()
        yield from _gauges(("reload_time", "When it last was.", at), unit="seconds")
        text = "Whether the latest configuration was taken."
        yield from _gauges(("reload_taken", text, reload.is_taken))


def _sources(statistics: Statistics, deaf: Iterable[str]) -> Iterator[Metric]:
    sources = statistics.sources
    gauge = _gauge("source_listening", "Whether it is truly listened to.", "source")
    states = _gauge("source_state", "1 for the state it is in.", "source", "state")
    for each in sources:
        gauge.add_metric([each.source], each.source not in deaf)
        for state in get_args(SourceStateName):
            states.add_metric([each.source, state], each.state == state)
    yield gauge
    yield states
    troubles = _gauge("trouble", "1 for what is wrong now.", "source", "kind")
    for place, kind in {(each.source, each.kind) for each in statistics.troubles}:
        troubles.add_metric([place, kind], 1)
    yield troubles
    events = _counter("events", "Sounds that were heard.", "", "source", "label")
    for each in sources:
        for label, count in each.events:
            events.add_metric([each.source, label], count)
    yield events


def _sound(sources: Iterable[SourceStatistics], rate: int) -> Iterator[Metric]:
    """What came from each source."""
    readings: list[tuple[str, str, str, Callable[[SourceStatistics], Value]]] = [
        (
            *("last_sample_time", "seconds", "When its newest sample came."),
            lambda each: each.last_sample.timestamp() if each.last_sample else None,
        ),
        (
            *("backlog", "seconds", "Captured and not analysed."),
            lambda each: each.backlog_samples / rate,
        ),
        (
            *("listened", "ratio", "Share of its sound that was captured."),
            lambda each: each.listened.share,
        ),
        (
            *("listened_day", "ratio", "The same of the latest 24 hours."),
            lambda each: each.listened_day.share,
        ),
        ("level", "dbfs", "Level of the newest hop.", lambda each: each.level.dbfs),
        (
            *("laeq", "decibels", "A-weighted level of the newest hop."),
            lambda each: each.level.laeq_db,
        ),
        (
            *("noise_floor", "dbfs", "Exceeded in 95 % of ten minutes."),
            lambda each: each.noise_floor.dbfs,
        ),
        (
            *("noise_floor_laeq", "decibels", "The same, A-weighted."),
            lambda each: each.noise_floor.laeq_db,
        ),
    ]
    for name, unit, text, read in readings:
        gauge = _gauge(name, text, "source", unit=unit)
        for each in sources:
            value = read(each)
            if value is not None and math.isfinite(value):
                gauge.add_metric([each.source], value)
        yield gauge


def _losses(sources: Iterable[SourceStatistics], rate: int) -> Iterator[Metric]:
    captured = _counter("captured", "Sound that was captured.", "seconds", "source")
    lost = _counter("lost", "Sound that was lost.", "seconds", "source", "reason")
    gaps = _counter("gaps", "Stretches that were lost.", "", "source", "reason")
    for each in sources:
        captured.add_metric([each.source], each.captured_samples / rate)
        for loss in each.losses:
            lost.add_metric([each.source, loss.reason], loss.samples / rate)
            gaps.add_metric([each.source, loss.reason], loss.gaps)
    yield from (captured, lost, gaps)


def _canary(results: Iterable[CanaryResult]) -> Iterator[Metric]:
    came_out = _gauge("canary_ok", "Whether the known sound came out.", "source")
    when = _gauge("canary_time", "When it was tried.", "source", unit="seconds")
    for each in results:
        came_out.add_metric([each.source], each.ok)
        when.add_metric([each.source], each.at.timestamp())
    yield from (came_out, when)


def _worker(statistics: Statistics) -> Iterator[Metric]:
    factor = statistics.real_time_factor
    if math.isfinite(factor):
        text = "Processing time by duration of the sound."
        yield from _gauges(("real_time_factor", text, factor))
    queues = _gauge("queue_length", "What waits in a queue.", "queue")
    for name, count in statistics.queues:
        queues.add_metric([name], count)
    yield queues
    if statistics.latencies is not None:
        yield _latency(statistics.latencies)


def _latency(latencies: Latencies) -> Metric:
    bounds = [str(bound) for bound in latencies.bounds] + ["+Inf"]
    histogram = HistogramMetricFamily(
        f"{PREFIX}_latency_seconds", "From a sound to its record.", unit="seconds"
    )
    buckets = list(zip(bounds, accumulate(latencies.counts), strict=True))
    histogram.add_metric([], buckets, latencies.total_seconds)
    return histogram


def _outbox(it: Snapshot, endpoints: Iterable[EndpointFacts]) -> Iterator[Metric]:
    alerts = _gauge("alerts", "Alerts in the outbox.", "endpoint", "state")
    oldest = _gauge("alerts_oldest_age", "Of what waits.", "endpoint", unit="seconds")
    for each in endpoints:
        alerts.add_metric([each.endpoint, "pending"], each.pending)
        alerts.add_metric([each.endpoint, "dead"], each.dead)
        waited = it.utc - (each.oldest_pending or it.utc)
        oldest.add_metric([each.endpoint], waited.total_seconds())
    yield from (alerts, oldest)


def _gauges(*readings: tuple[str, str, Value], unit: str = "") -> Iterator[Metric]:
    for name, text, value in readings:
        if value is not None:
            gauge = _gauge(name, text, unit=unit)
            gauge.add_metric([], value)
            yield gauge


def _gauge(name: str, text: str, *labels: str, unit: str = "") -> GaugeMetricFamily:
    return GaugeMetricFamily(_full(name, unit), text, labels=labels, unit=unit)


def _counter(name: str, text: str, unit: str, *labels: str) -> CounterMetricFamily:
    return CounterMetricFamily(_full(name, unit), text, labels=labels, unit=unit)


def _full(name: str, unit: str) -> str:
    return f"{PREFIX}_{name}_{unit}" if unit else f"{PREFIX}_{name}"


RETRY_SECONDS = 5.0
FRESH_SECONDS = 1.0
"""So long a snapshot serves all who ask: their number does not matter."""

LAST_SECONDS = 0.5


class Metrics(Sink):
    """Serves how the monitor is doing over HTTP, on threads of its own."""

    def __init__(
        self,
        settings: MetricsSettings,
        vitals: Vitals,
        now: Callable[[], float],
        environ: Mapping[str, str],
    ) -> None:
        """Read the token; nothing listens before the first `report`.

        Args:
            settings: Its section; it has an address.
            vitals: What there is to tell.
            now: Monotonic seconds.
            environ: Of the process, for secrets.

        Raises:
            ConfigError: The token is missing or of the wrong form.
        """
        self._settings = settings
        self._vitals = vitals
        self._token = (
            None
            if settings.token_secret is None
            else read_one_line(settings.token_secret, "metrics.token_secret", environ)
        )
        self._pages = _Pages(vitals, now)
        self._background = BackgroundThread("metrics", self._run)
        self._server: Server | None = None
        self._is_failing = False

    def report(self, statistics: Statistics) -> None:
        """Learn how the monitor is doing."""
        self._vitals.report(statistics)
        self._background.keep_running()

    def close(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.wake()
        self._background.finish(LAST_SECONDS)

    def _run(self, stop: threading.Event) -> None:
        pages = {"/healthz": self._pages.healthz, "/metrics": self._pages.metrics}
        while not stop.is_set():
            try:
                self._server = Server(self._settings.address, pages, self._token)
            except OSError as error:
                self._complain(error)
                stop.wait(RETRY_SECONDS)
                continue
            logger.info(
                "metrics are served at http://%s/metrics", self._settings.listen
            )
            self._is_failing = False
            self._server.run(stop)

    def _complain(self, error: OSError) -> None:
        if not self._is_failing:
            logger.warning(
                "metrics.listen: %s cannot be listened on: %s; trying again",
                self._settings.listen,
                error.strerror,
            )
        self._is_failing = True


class _Pages(Collector):
    """Made at most once a second, however many ask.  Any thread."""

    def __init__(self, vitals: Vitals, now: Callable[[], float]) -> None:
        self._vitals = vitals
        self._now = now
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)
        ProcessCollector(registry=self._registry)
        self._lock = threading.Lock()
        self._taken = -math.inf
        self._snapshot: Snapshot
        self._texts: dict[str, bytes] = {}
        """Of the snapshot, by the type of their content."""

    def healthz(self, _accept: str) -> Answer:
        with self._lock:
            self._look()
            it = self._snapshot
        status = HTTPStatus.OK if it.is_listening else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(status, f"{it.sentence}\n".encode())

    def metrics(self, accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        with self._lock:
            self._look()
            text = self._texts.get(content_type)
            if text is None:
                text = self._texts[content_type] = encode(self._registry)
        return Answer(HTTPStatus.OK, text, content_type)

    def collect(self) -> Iterable[Metric]:
        """What is told.  Called by the encoder."""
        return families(self._snapshot)

    def _look(self) -> None:
        if self._now() - self._taken >= FRESH_SECONDS:
            self._snapshot, self._texts = self._vitals.snapshot(), {}
            self._taken = self._now()
