"""The state behind the live display: the newest facts, and the latest records."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

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

HISTORY_LENGTH = 100


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

    @property
    def ongoing(self) -> set[str]:
        """Labels that go on in the newest window."""
        return {each.label for each in self.frame.ongoing} if self.frame else set()


class ConsoleState:
    """The newest facts of every source, and a history.  Used by one thread."""

    def __init__(
        self,
        sources: Sequence[str],
        labels: Sequence[str],
        sample_rate: int,
        onset_thresholds: Mapping[str, float],
    ) -> None:
        self.sources = {name: SourceView(name) for name in sources}
        self.statistics: Statistics | None = None
        self.labels = tuple(labels)
        self.sample_rate = sample_rate
        self.onset_thresholds = onset_thresholds
        self._history: deque[Timed] = deque(maxlen=HISTORY_LENGTH)

    @property
    def history(self) -> list[Timed]:
        """Onsets, events, gaps and health, the newest first.

        An event takes the place of its onset.
        """
        return list(reversed(self._history))

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
                source.frame = record
            case SourceState():
                source.state, source.detail = record.state, record.detail
                if record.state != "listening":
                    source.frame = None
            case Onset() | Gap():
                self._history.append(timed)
            case Event():
                if source.frame is not None:
                    still = (o for o in source.frame.ongoing if o.id != record.id)
                    source.frame = replace(source.frame, ongoing=tuple(still))
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
        return (stop - record.start) / self.sample_rate

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
