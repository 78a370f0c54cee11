"""Statistics, gathered by the worker: of each source, and of the worker itself."""

import bisect
import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from monitor.audio.level import quiet_level
from monitor.audio.timeline import Timeline
from monitor.clock import Clock
from monitor.model.models import Models
from monitor.records import (
    Event,
    Gap,
    GapReason,
    Health,
    Record,
    ScoreFrame,
    SourceState,
    Timed,
)
from monitor.runtime.gaps import Outages
from monitor.sinks.sink import Sink
from monitor.statistics import (
    LEFT_OUT,
    Latencies,
    Levels,
    Listened,
    Loss,
    ModelStatistics,
    SourceStatistics,
    Statistics,
    Trouble,
)

DAY_SECONDS = 86_400.0
MARK_SECONDS = 600.0
"""Resolution of the figures of the latest 24 hours."""

MINUTE_SECONDS = 60.0
MINUTE_MARK_SECONDS = 5.0

FLOOR_SECONDS = 600
FLOOR_EVERY_SECONDS = 10
FLOOR_SHARE = 0.05
"""Share of lower levels: the floor is L95, exceeded 95 % of the time."""


class SourceMeter:
    """Gathers figures of one source.  Used by the worker's thread alone."""

    def __init__(self, timeline: Timeline) -> None:
        """Begin at zero; `timeline` counts the captured samples itself."""
        self.timeline = timeline
        self.outages = Outages(timeline.name, timeline.sample_rate, timeline.start)
        """Losses on their way to become records."""

        self._counted = 0  # samples of losses whose gap is not reported yet
        self._losses: dict[GapReason, Loss] = {}
        self._latest_gap: Gap | None = None
        self._events: Counter[str] = Counter()
        self._detail = ""
        self._level = Levels()
        self._loudness = _Loudness(timeline.sample_rate)
        self._day = _Marks(DAY_SECONDS, MARK_SECONDS)
        self._minute = _Marks(MINUTE_SECONDS, MINUTE_MARK_SECONDS)
        self._scored = self._scored_before = 0
        self._analysed_at = -math.inf
        self._is_away = self._was_analysed = False

    def take(self, record: Record) -> None:
        """Count a record of the source."""
        if isinstance(record, ScoreFrame):
            self._scored = record.stop
            self._level = Levels(record.level_dbfs, record.laeq_db)
            self._loudness.add(record.stop, self._level)
        elif isinstance(record, Event):
            self._events[record.label] += 1
        elif isinstance(record, SourceState):
            self._detail = record.detail
        elif isinstance(record, Gap):
            # One that continues the latest is the same gap.
            last, self._latest_gap = self._latest_gap, record
            goes_on = last and (last.stop, last.reason) == (record.start, record.reason)
            total = record.stop - record.start
            total = total if record.left_out is None else record.left_out
            counted = min(total, self._counted)
            if record.reason == "overload":
                counted = total
            else:
                self._counted -= counted
            self._count(record.reason, 0 if goes_on else 1, total - counted)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Gaps that are reported, and lost samples, by reason."""
        return tuple(self._losses.values())

    def look(self, now: float) -> None:
        """Remember what later figures are compared with; `now`: monotonic seconds."""
        captured, missed = self._coverage(now)
        self._day.mark(now, captured, missed)
        self._minute.mark(now, captured, self._left_out)
        self._follow_analysis(now)

    def statistics(self, now: float, utc: datetime) -> SourceStatistics:
        """Figures as of `now`, monotonic seconds, and `utc`, the same moment.

        `look` comes before it, with the same `now`.
        """
        timeline, losses = self.timeline, self.losses
        arrival = timeline.newest_arrival
        captured, missed = self._coverage(now)
        yesterday, latest = self._day.oldest, self._minute.oldest
        return SourceStatistics(
            source=timeline.name,
            state=timeline.state_name,
            captured_samples=captured,
            lost_samples=sum(loss.samples for loss in losses),
            gaps=max(sum(loss.gaps for loss in losses), 1 if losses else 0),
            backlog_samples=max(0, timeline.stop - timeline.taken),
            detail=self._detail,
            last_sample=arrival and utc - timedelta(seconds=now - arrival[1]),
            listened=_listened(captured, missed, timeline.sample_rate),
            listened_day=_listened(
                captured - yesterday[0], missed - yesterday[1], timeline.sample_rate
            ),
            left_out=_share(self._left_out - latest[1], captured - latest[0]),
            losses=losses,
            level=self._level,
            noise_floor=self._loudness.floor,
            events=tuple(sorted(self._events.items())),
            idle_seconds=now - self._analysed_at,
            silent_seconds=math.inf if arrival is None else now - arrival[1],
            is_losing=self.outages.is_open,
        )

    def lose(self, gap: Gap) -> None:
        """Count the samples of a loss; its gap is counted when it is reported."""
        samples = gap.stop - gap.start
        self._count(gap.reason, 0, samples)
        if gap.reason != "overload":
            self._counted += samples

    def _follow_analysis(self, now: float) -> None:
        """Note when the source was analysed; sound that comes back will be, at once.

        Not that samples were taken: between many gaps no window may be whole.  So what
        was analysed before an outage is believed to be again, but only once.
        """
        if self._scored != self._scored_before:
            self._scored_before, self._analysed_at = self._scored, now
            self._was_analysed = True
        if self.timeline.state_name != "listening":
            self._is_away = True
        elif self._is_away:
            self._is_away = False
            if self._was_analysed:
                self._was_analysed, self._analysed_at = False, now

    def _count(self, reason: GapReason, gaps: int, samples: int) -> None:
        loss = self._losses.get(reason, Loss(reason, 0, 0))
        self._losses[reason] = Loss(reason, loss.gaps + gaps, loss.samples + samples)

    @property
    def _left_out(self) -> int:
        return sum(loss.samples for loss in self.losses if loss.reason in LEFT_OUT)

    def _coverage(self, now: float) -> tuple[int, int]:
        """Samples that are, or will be, analysed, and those that never will."""
        missed = sum(loss.samples for loss in self.losses)
        # Sound between losses that no window covers is not analysed either.
        missed += max(0, self.outages.unreported - self._counted)
        captured = self.timeline.stop - self.timeline.start - missed
        return captured, missed + self._unreported(now)

    def _unreported(self, now: float) -> int:
        """Samples lost to an ongoing outage that is not reported yet."""
        arrival = self.timeline.newest_arrival
        if self.timeline.state_name != "waiting" or arrival is None:
            return 0
        stop, seconds = arrival
        missing = round((now - seconds) * self.timeline.sample_rate)
        return max(0, missing - (self.timeline.stop - stop))


class _Loudness:
    """The levels of the latest minutes, and the noise floor under them."""

    def __init__(self, sample_rate: int) -> None:
        self._memory = FLOOR_SECONDS * sample_rate
        self._every = FLOOR_EVERY_SECONDS * sample_rate
        self._levels: deque[tuple[int, Levels]] = deque()
        self._due = 0
        self.floor = Levels()

    def add(self, stop: int, level: Levels) -> None:
        self._levels.append((stop, level))
        while self._levels[0][0] <= stop - self._memory:
            self._levels.popleft()
        if stop >= self._due:
            self._due = stop + self._every
            self.floor = Levels(
                quiet_level((it.dbfs for _, it in self._levels), FLOOR_SHARE),
                quiet_level((it.laeq_db for _, it in self._levels), FLOOR_SHARE),
            )


class _Marks:
    """Counts of captured and lost samples at times of the latest day, or minute."""

    def __init__(self, memory_seconds: float, step_seconds: float) -> None:
        self._memory_seconds = memory_seconds
        self._step_seconds = step_seconds
        self._marks: deque[tuple[float, int, int]] = deque()

    @property
    def oldest(self) -> tuple[int, int]:
        """The oldest figures of the time, or 0 and 0."""
        return self._marks[0][1:] if self._marks else (0, 0)

    def mark(self, now: float, captured: int, lost: int) -> None:
        """Remember these figures, if it is time."""
        marks = self._marks
        if not marks:
            marks.append((now, 0, 0))
        if now - marks[-1][0] >= self._step_seconds:
            marks.append((now, captured, lost))
        while len(marks) > 1 and marks[1][0] <= now - self._memory_seconds:
            marks.popleft()


def _share(part: int, rest: int) -> float:
    return part / (part + rest) if part > 0 else 0.0


def _listened(captured: int, lost: int, sample_rate: int) -> Listened:
    samples = captured + lost
    if samples <= 0:
        return Listened()
    return Listened(samples / sample_rate, captured / samples)


LATENCY_BOUNDS = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class WorkerMeter:
    """Gathers figures of the worker's latest steps.  Used by its thread alone."""

    def __init__(self, clock: Clock, *, memory_steps: int = 500) -> None:
        self._clock = clock
        self._latencies: deque[float] = deque(maxlen=memory_steps)
        self._costs: deque[tuple[float, float]] = deque(maxlen=memory_steps)
        self._counts = [0] * (len(LATENCY_BOUNDS) + 1)
        self._total_latency = 0.0
        self._troubles: dict[str, Trouble] = {}

    def add_step(self, processing_seconds: float, audio_seconds: float) -> None:
        """Count one step of the worker, and the duration of the audio it analysed."""
        self._costs.append((processing_seconds, audio_seconds))

    def add_latency(self, seconds: float) -> None:
        """Count one window: from its last sample to its records."""
        self._latencies.append(seconds)
        self._counts[bisect.bisect_left(LATENCY_BOUNDS, seconds)] += 1
        self._total_latency += seconds

    def take(self, batch: Sequence[Timed]) -> None:
        """Count the records, and keep the raised troubles."""
        for timed in batch:
            if isinstance(timed.record, Health):
                self._follow_trouble(timed.record, timed)

    def statistics(
        self,
        sources: Iterable[SourceMeter],
        sinks: Sequence[Sink],
        models: Models,
    ) -> Statistics:
        """Figures of the latest steps and the state of every source."""
        processing = sum(cost for cost, _ in self._costs)
        audio = sum(duration for _, duration in self._costs)
        now, utc = self._clock.monotonic(), self._clock.utc()
        meters = tuple(sources)
        for meter in meters:
            meter.look(now)
        return Statistics(
            sources=tuple(meter.statistics(now, utc) for meter in meters),
            latency_seconds_p50=_quantile(self._latencies, 0.5),
            latency_seconds_p95=_quantile(self._latencies, 0.95),
            real_time_factor=processing / audio if audio else math.nan,
            latencies=Latencies(
                LATENCY_BOUNDS, tuple(self._counts), self._total_latency
            ),
            queues=tuple(each for sink in sinks for each in sink.queues.items()),
            troubles=tuple(self._troubles.values()),
            model=ModelStatistics(
                models.name,
                models.labels,
                models.spec.sample_rate,
                models.compute_device,
                models.failed_compute_device,
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
