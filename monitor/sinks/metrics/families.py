"""How the monitor is doing, as metrics of Prometheus.

Names and units follow https://prometheus.io/docs/practices/naming and OpenMetrics.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import get_args

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from monitor import __version__
from monitor.records import (
    CanaryResult,
    Latencies,
    SourceStateName,
    SourceStatistics,
    Statistics,
)
from monitor.sinks.status.outbox import EndpointFacts
from monitor.sinks.status.vitals import Snapshot

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
