"""How the monitor is doing: latency, cost and losses, gathered by the worker."""

import math
from collections import deque
from collections.abc import Sequence

from monitor.audio.feed import Feed
from monitor.records import SourceStatistics, Statistics


class Meter:
    """Gathers figures of the worker's latest steps.  Used by its thread alone."""

    def __init__(self, sample_rate: int, *, memory_steps: int = 500) -> None:
        self._sample_rate = sample_rate
        self._latencies: deque[float] = deque(maxlen=memory_steps)
        self._costs: deque[tuple[float, float]] = deque(maxlen=memory_steps)

    def add_step(self, processing_seconds: float, samples: int) -> None:
        """Count one step of the worker, and the samples of all sources it analysed."""
        self._costs.append((processing_seconds, samples / self._sample_rate))

    def add_latency(self, seconds: float) -> None:
        """Count one window: from its last sample to its records."""
        self._latencies.append(seconds)

    def statistics(self, feeds: Sequence[Feed]) -> Statistics:
        """Figures of the latest steps and the state of every source."""
        processing = sum(cost for cost, _ in self._costs)
        audio = sum(duration for _, duration in self._costs)
        return Statistics(
            sources=tuple(_source_statistics(feed) for feed in feeds),
            latency_seconds_p50=_quantile(self._latencies, 0.5),
            latency_seconds_p95=_quantile(self._latencies, 0.95),
            real_time_factor=processing / audio if audio else math.nan,
        )


def _source_statistics(feed: Feed) -> SourceStatistics:
    stop, taken = feed.stop, feed.taken
    return SourceStatistics(
        source=feed.name,
        state=feed.state_name,
        captured_samples=stop - feed.lost_samples,
        lost_samples=feed.lost_samples,
        gaps=feed.gaps,
        backlog_samples=max(0, stop - taken),
    )


def _quantile(values: Sequence[float] | deque[float], share: float) -> float:
    if not values:
        return math.nan
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
