"""The state behind the live display: the newest facts, and the latest records."""

import logging
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.records import (
    EVERY_SOURCE,
    Event,
    Gap,
    Health,
    HealthKind,
    Onset,
    ScoreFrame,
    SourceState,
    SourceStateName,
    Timed,
)
from monitor.statistics import SourceStatistics, Statistics
from monitor.text import WeightedUnits

if TYPE_CHECKING:
    from monitor.sinks.live import ColumnReader

HISTORY_LENGTH = 100
LOG_LENGTH = 200
"""Log lines that are kept until the terminal is the user's again."""

MINUTE_SECONDS = 60.0
RISE_SECONDS = 30.0
"""Time for which a label that has risen is shown."""

RISE = 0.5
"""Part of its threshold at which a label counts as risen."""


class Setup(NamedTuple):
    """The facts of a configuration that the display needs."""

    title: str
    """Names of the models."""

    labels: tuple[str, ...]
    """Labels of the scores, in their order."""

    reported: Mapping[str, Sequence[str]]
    """By source, in the order of the configuration: the labels that are reported."""

    sample_rate: int
    thresholds: Mapping[str, float] = {}
    """Onset threshold of each label."""

    units: WeightedUnits = WeightedUnits({})
    """Units of the A-weighted levels."""

    columns: Mapping[str, "ColumnReader"] = {}
    """By source: reads its log-mel columns."""

    band_hz: tuple[float, ...] = ()
    """Centre of each band of the columns, the lowest first."""


class Moment(NamedTuple):
    """The scores and the level of one window."""

    seconds: float
    """End of the window, from the opening of the source."""

    scores: NDArray[np.float32]
    level_dbfs: float


class LogLine(NamedTuple):
    """A line of the log."""

    at: datetime
    level: int
    text: str


@dataclass
class SourceView:
    """The newest facts of one source."""

    name: str
    state: SourceStateName = "opening"
    detail: str = ""
    frame: ScoreFrame | None = None
    """Newest window; None before the first, and while the source is not listening."""

    statistics: SourceStatistics | None = None
    troubles: list[HealthKind] = field(default_factory=list)
    """Health that is raised now, the oldest first."""

    minute: deque[Moment] = field(default_factory=deque)
    """The windows of the latest minute."""

    @property
    def ongoing(self) -> set[str]:
        """Labels that go on in the newest window."""
        return {each.label for each in self.frame.ongoing} if self.frame else set()

    def scored(self, frame: ScoreFrame, seconds: float) -> None:
        """Take the newest window, which ends at `seconds`."""
        self.frame = replace(frame, embedding=None)
        moment = Moment(seconds, np.array(frame.scores, np.float32), frame.level_dbfs)
        self.minute.append(moment)
        while self.minute[0].seconds <= seconds - MINUTE_SECONDS:
            self.minute.popleft()

    @property
    def highest(self) -> NDArray[np.float32]:
        """Highest score of each label in the latest half minute; none before any."""
        since = self.minute[-1].seconds - RISE_SECONDS if self.minute else 0.0
        found = [it.scores for it in self.minute if it.seconds > since]
        return np.max(found, axis=0) if found else np.zeros(0, np.float32)


class ConsoleState:
    """The newest facts of every source, and a history.  Used by one thread."""

    def __init__(self, setup: Setup, began: datetime) -> None:
        """Begin with nothing known; `began` is the time of the start, UTC."""
        self.began = began
        self.statistics: Statistics | None = None
        self.counts: Counter[str] = Counter()
        """Number of events of each label that began today, with those that go on."""

        self.counted_from: datetime | None = None
        """Time from which they are counted; None: the start of the day."""

        self._counted: set[str] = set()
        """Events that go on, and are counted."""

        self.log: deque[LogLine] = deque(maxlen=LOG_LENGTH)
        self._day = began.astimezone().date()
        self._history: deque[Timed] = deque(maxlen=HISTORY_LENGTH)
        self.sources: dict[str, SourceView] = {}
        self.renew(setup)

    def renew(self, setup: Setup) -> None:
        """Go on with another configuration; the history stays."""
        self.setup = setup
        self.sources = {name: SourceView(name) for name in setup.reported}

    @property
    def history(self) -> list[Timed]:
        """Onsets, events, gaps and health, the newest first.

        An event takes the place of its onset.
        """
        return list(reversed(self._history))

    def begin_day(self, now: datetime) -> None:
        """Count from zero if `now` is in another day, local time."""
        day = now.astimezone().date()
        if day != self._day:
            self._day, self.counted_from = day, None
            self.counts.clear()

    def take(self, timed: Timed) -> None:
        """Take a record."""
        record = timed.record
        if isinstance(record, Health):
            self._take_health(record, timed)
            return
        # A record of a source that is not shown: of an earlier run, or just removed.
        source = self.sources.get(record.source) or SourceView(record.source)
        match record:
            case ScoreFrame():
                source.scored(record, record.stop / self.setup.sample_rate)
            case SourceState():
                source.state, source.detail = record.state, record.detail
                if record.state != "listening":
                    source.frame = None
            case Gap():
                self._history.append(timed)
            case Onset():
                self._history.append(timed)
                self._count(record, timed)
                self._counted.add(record.id)
            case Event():
                if source.frame is not None:
                    still = (o for o in source.frame.ongoing if o.id != record.id)
                    source.frame = replace(source.frame, ongoing=tuple(still))
                if record.id not in self._counted:
                    self._count(record, timed)
                self._counted.discard(record.id)
                self._end(record, timed)

    def report(self, statistics: Statistics) -> None:
        """Take the newest statistics."""
        self.statistics = statistics
        for latest in statistics.sources:
            source = self.sources.get(latest.source)
            if source is not None:
                source.statistics = latest
                # Records from before a reload do not come again.
                source.state, source.detail = latest.state, latest.detail
                source.troubles = [
                    trouble.kind
                    for trouble in statistics.troubles
                    if trouble.source in (source.name, EVERY_SOURCE)
                ]

    def seconds(self, record: Onset | Event | Gap | Health) -> float:
        """Duration of a record; of an onset, until the newest window of its source."""
        stop = record.stop
        source = self.sources.get(record.source)
        if isinstance(record, Onset) and source is not None and source.frame:
            stop = max(stop, source.frame.stop)
        return (stop - record.start) / self.setup.sample_rate

    def risen(self, source: SourceView) -> list[int]:
        """Indices of the labels of a source that rose in the latest half minute."""
        reported, ongoing = set(self.setup.reported[source.name]), source.ongoing
        labels, thresholds = self.setup.labels, self.setup.thresholds

        def has_risen(label: str, highest: float) -> bool:
            return label in ongoing or highest >= RISE * thresholds.get(label, 1.0)

        return [
            index
            for index, highest in enumerate(source.highest.tolist())
            if labels[index] in reported and has_risen(labels[index], highest)
        ]

    @property
    def newest_warning(self) -> LogLine | None:
        """The newest line of the log that is a warning or an error."""
        warnings = (line for line in reversed(self.log) if line.level > logging.INFO)
        return next(warnings, None)

    def _count(self, event: Onset | Event, timed: Timed) -> None:
        start = timed.start_utc
        # Those that an earlier run left open are in the database, which was counted.
        if start is None or (
            start >= self.began and start.astimezone().date() >= self._day
        ):
            self.counts[event.label] += 1

    def _take_health(self, record: Health, timed: Timed) -> None:
        """Take health of one source, or of all."""
        for source in self.sources.values():
            if record.source not in (source.name, EVERY_SOURCE):
                continue
            source.troubles = [it for it in source.troubles if it != record.kind]
            source.troubles += [record.kind] if record.state == "raised" else []
        self._history.append(timed)

    def _end(self, event: Event, timed: Timed) -> None:
        for index, earlier in enumerate(self._history):
            record = earlier.record
            if isinstance(record, Onset) and record.id == event.id:
                self._history[index] = timed
                return
        self._history.append(timed)
