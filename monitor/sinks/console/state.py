"""What a display knows: the latest of every source, and what happened lately."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from monitor.records import (
    EVERY_SOURCE,
    Event,
    Gap,
    Health,
    HealthKind,
    Onset,
    Record,
    ScoreFrame,
    SourceState,
    SourceStateName,
    Timed,
)
from monitor.statistics import SourceStatistics, Statistics

MEMORY = 100


@dataclass
class SourceView:
    """The latest of one source."""

    name: str
    state: SourceStateName = "opening"
    detail: str = ""
    frame: ScoreFrame | None = None
    """None until the first window, and while the source is not listened to."""

    statistics: SourceStatistics | None = None
    going_on: dict[str, Onset] = field(default_factory=dict)
    """By label, what has begun and not ended."""

    troubles: dict[HealthKind, Health] = field(default_factory=dict)
    """What is wrong with it now, the oldest first."""


@dataclass(frozen=True, slots=True)
class Happening:
    """An occurrence, a gap or a trouble, for the list of what happened."""

    record: Onset | Event | Gap | Health
    utc: datetime | None
    seconds: float


class Board:
    """Gathers what is shown.  Used by one thread."""

    def __init__(
        self,
        sources: Sequence[str],
        labels: Sequence[str],
        sample_rate: int,
        onset_thresholds: Mapping[str, float],
    ) -> None:
        self.sources: dict[str, SourceView] = {}
        self.statistics: Statistics | None = None
        self._happenings: deque[Happening] = deque(maxlen=MEMORY)
        self.labels: tuple[str, ...] = ()
        self.change(sources, labels, sample_rate, onset_thresholds)

    def change(
        self,
        sources: Sequence[str],
        labels: Sequence[str],
        sample_rate: int,
        onset_thresholds: Mapping[str, float],
    ) -> None:
        """Show these from now on; what is known of sources that stay is kept."""
        if self.labels != tuple(labels):
            # The scores of the latest frames are of other labels.
            for source in self.sources.values():
                source.frame = None
        self.labels = tuple(labels)
        self.sample_rate = sample_rate
        self.onset_thresholds = onset_thresholds
        self.sources = {
            name: self.sources.get(name) or SourceView(name) for name in sources
        }

    @property
    def happenings(self) -> list[Happening]:
        """What happened, the latest first."""
        return list(reversed(self._happenings))

    def take(self, timed: Timed) -> None:
        """Learn of a record."""
        record: Record = timed.record
        if isinstance(record, Health):
            self._take_health(record, timed)
            return
        # Not of a source that is shown: of the run before, or of one taken away.
        source = self.sources.get(record.source) or SourceView(record.source)
        match record:
            case ScoreFrame():
                source.frame = record
            case SourceState():
                source.state, source.detail = record.state, record.detail
                if record.state != "listening":
                    source.frame = None
            case Onset():
                source.going_on[record.label] = record
                self._happenings.append(_happening(record, timed))
            case Event():
                source.going_on.pop(record.label, None)
                self._end(record, timed)
            case Gap():
                self._happenings.append(_happening(record, timed))

    def report(self, statistics: Statistics) -> None:
        """Learn how the monitor is doing."""
        self.statistics = statistics
        for latest in statistics.sources:
            if latest.source in self.sources:
                self.sources[latest.source].statistics = latest

    def seconds_so_far(self, onset: Onset) -> float:
        """How long something that has not ended has been going on."""
        source = self.sources.get(onset.source)
        frame = None if source is None else source.frame
        stop = onset.stop if frame is None else max(onset.stop, frame.stop)
        return (stop - onset.start) / self.sample_rate

    def _take_health(self, record: Health, timed: Timed) -> None:
        """Show it with its source; what concerns all, with each of them."""
        names = [record.source]
        if record.source == EVERY_SOURCE:
            names = list(self.sources)
        for name in names:
            if name not in self.sources:
                continue
            troubles = self.sources[name].troubles
            if record.state == "raised":
                troubles[record.kind] = record
            else:
                troubles.pop(record.kind, None)
        self._happenings.append(_happening(record, timed))

    def _end(self, event: Event, timed: Timed) -> None:
        """Put the event in the place of its onset."""
        for index, happening in enumerate(self._happenings):
            known = happening.record
            if isinstance(known, Onset) and known.id == event.id:
                self._happenings[index] = _happening(event, timed)
                return
        self._happenings.append(_happening(event, timed))


def _happening(record: Onset | Event | Gap | Health, timed: Timed) -> Happening:
    return Happening(record, timed.start_utc, timed.start_seconds)
