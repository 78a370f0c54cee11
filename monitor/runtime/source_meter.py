"""How one source is doing: what it lost and why, how loud it is, what was heard."""

import math
from collections import Counter, deque
from datetime import datetime, timedelta

from monitor.audio.level import quiet_level
from monitor.audio.timeline import Timeline
from monitor.records import Event, Record, ScoreFrame, SourceState
from monitor.statistics import Levels, Listened, SourceStatistics

DAY_SECONDS = 86_400.0
MARK_SECONDS = 600.0
"""So finely the latest 24 hours are known."""

FLOOR_SECONDS = 600
FLOOR_EVERY_SECONDS = 10
FLOOR_SHARE = 0.05
"""As L95 of noise measurements: the level that 95 % of the time is louder than."""


class SourceMeter:
    """Gathers figures of one source.  Used by the worker's thread alone."""

    def __init__(self, timeline: Timeline) -> None:
        """Begin at nothing; `timeline` is asked for what it counts itself."""
        self.timeline = timeline
        self._events: Counter[str] = Counter()
        self._detail = ""
        self._level = Levels()
        self._loudness = _Loudness(timeline.sample_rate)
        self._day = _Day()
        self._analysed = 0
        self._analysed_at = -math.inf

    def take(self, record: Record) -> None:
        """Count a record of the source."""
        if isinstance(record, ScoreFrame):
            self._level = Levels(record.level_dbfs, record.laeq_db)
            self._loudness.add(record.stop, self._level)
        elif isinstance(record, Event):
            self._events[record.label] += 1
        elif isinstance(record, SourceState):
            self._detail = record.detail

    def statistics(self, now: float, utc: datetime) -> SourceStatistics:
        """Figures as of `now`, monotonic seconds, which is `utc` on the wall."""
        timeline = self.timeline
        losses, stop = timeline.losses, timeline.stop
        lost = sum(loss.samples for loss in losses)
        arrival = timeline.newest_arrival
        captured = stop - timeline.start - lost
        missed = lost + self._untold(now)
        listened = _listened(captured, missed, timeline.sample_rate)
        before = self._day.mark(now, captured, missed)
        backlog = max(0, stop - timeline.taken)
        if captured - backlog != self._analysed:
            self._analysed, self._analysed_at = captured - backlog, now
        return SourceStatistics(
            source=timeline.name,
            state=timeline.state_name,
            captured_samples=captured,
            lost_samples=lost,
            gaps=sum(loss.gaps for loss in losses),
            backlog_samples=backlog,
            detail=self._detail,
            last_sample=arrival and utc - timedelta(seconds=now - arrival[1]),
            listened=listened,
            listened_day=_listened(
                captured - before[0], missed - before[1], timeline.sample_rate
            ),
            losses=losses,
            level=self._level,
            noise_floor=self._loudness.floor,
            events=tuple(sorted(self._events.items())),
            idle_seconds=now - self._analysed_at,
        )

    def _untold(self, now: float) -> int:
        """Samples that an outage has cost which goes on, and are not told yet."""
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


class _Day:
    """What was captured and lost at moments of the latest 24 hours."""

    def __init__(self) -> None:
        self._marks: deque[tuple[float, int, int]] = deque()

    def mark(self, now: float, captured: int, lost: int) -> tuple[int, int]:
        """Remember these figures; return those of 24 hours ago, or 0 and 0."""
        marks = self._marks
        if not marks:
            marks.append((now, 0, 0))
        if now - marks[-1][0] >= MARK_SECONDS:
            marks.append((now, captured, lost))
        while len(marks) > 1 and marks[1][0] <= now - DAY_SECONDS:
            marks.popleft()
        return marks[0][1:]


def _listened(captured: int, lost: int, sample_rate: int) -> Listened:
    samples = captured + lost
    if samples <= 0:
        return Listened()
    return Listened(samples / sample_rate, captured / samples)
