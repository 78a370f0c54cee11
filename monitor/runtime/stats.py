"""How the monitor is doing: latency, cost and losses, gathered by the worker."""

import bisect
import math
from collections import deque
from collections.abc import Iterable, Sequence

from monitor.audio.timeline import Timeline
from monitor.clock import Clock
from monitor.model.classifier import Classifier
from monitor.records import Health, Timed
from monitor.runtime.source_meter import SourceMeter
from monitor.sinks.sink import Sink
from monitor.statistics import Latencies, ModelStatistics, Statistics, Trouble

LATENCY_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Meter:
    """Gathers figures of the worker's latest steps.  Used by its thread alone."""

    def __init__(self, clock: Clock, *, memory_steps: int = 500) -> None:
        self._clock = clock
        self._latencies: deque[float] = deque(maxlen=memory_steps)
        self._costs: deque[tuple[float, float]] = deque(maxlen=memory_steps)
        self._counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self._total_latency = 0.0
        self._meters: dict[str, SourceMeter] = {}
        self._troubles: dict[str, Trouble] = {}

    def follow(self, timelines: Iterable[Timeline]) -> None:
        """Measure the sources of `timelines` from now on; a new one begins at zero."""
        known = {meter.timeline: meter for meter in self._meters.values()}
        self._meters = {
            timeline.name: known.get(timeline) or SourceMeter(timeline)
            for timeline in timelines
        }

    def add_step(self, processing_seconds: float, audio_seconds: float) -> None:
        """Count one step of the worker, and the sound of all sources it analysed."""
        self._costs.append((processing_seconds, audio_seconds))

    def add_latency(self, seconds: float) -> None:
        """Count one window: from its last sample to its records."""
        self._latencies.append(seconds)
        self._counts[bisect.bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self._total_latency += seconds

    def take(self, batch: Sequence[Timed]) -> None:
        """Count records that are told."""
        for timed in batch:
            if isinstance(timed.record, Health):
                self._follow_trouble(timed.record, timed)
            meter = self._meters.get(timed.record.source)
            if meter is not None:  # else the source has just been taken away
                meter.take(timed.record)

    def statistics(self, sinks: Sequence[Sink], classifier: Classifier) -> Statistics:
        """Figures of the latest steps and the state of every source."""
        processing = sum(cost for cost, _ in self._costs)
        audio = sum(duration for _, duration in self._costs)
        now, utc = self._clock.monotonic(), self._clock.utc()
        return Statistics(
            sources=tuple(
                meter.statistics(now, utc) for meter in self._meters.values()
            ),
            latency_seconds_p50=_quantile(self._latencies, 0.5),
            latency_seconds_p95=_quantile(self._latencies, 0.95),
            real_time_factor=processing / audio if audio else math.nan,
            latencies=Latencies(
                LATENCY_BOUNDS, tuple(self._counts), self._total_latency
            ),
            queues=tuple(each for sink in sinks for each in sink.queues.items()),
            troubles=tuple(self._troubles.values()),
            model=ModelStatistics(
                classifier.name,
                classifier.labels,
                classifier.spec.sample_rate,
                classifier.compute_device,
                classifier.failed_compute_device,
            ),
            canary=tuple(each for sink in sinks for each in sink.canary_results),
        )

    def _follow_trouble(self, health: Health, timed: Timed) -> None:
        if health.state == "cleared":
            self._troubles.pop(health.id, None)
        else:
            self._troubles[health.id] = Trouble(
                health.source, health.kind, timed.start_utc, health.detail
            )


def _quantile(values: Sequence[float] | deque[float], share: float) -> float:
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
