"""Health of all sources: judged by their samples, by who listens, and by other threads.

Driven by the worker, between what the pipeline makes and what the sinks get.

The desk: where any thread says that something is wrong, and when it is over.
"""

import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from monitor.audio.signal_health import Debouncer, SignalHealth
from monitor.audio.timeline import Timeline
from monitor.config.audio import HealthSettings
from monitor.config.config import Config
from monitor.records import (
    EVERY_SOURCE,
    Health,
    HealthKind,
    HealthState,
    PlacedRecord,
    ScoreFrame,
)
from monitor.statistics import SourceStatistics, Statistics


@dataclass(frozen=True, slots=True)
class HealthReport:
    """What is told of health, without its place on the timeline."""

    kind: HealthKind
    state: HealthState
    detail: str
    """A sentence for the operator, maybe empty."""

    source: str = EVERY_SOURCE


class HealthReports:
    """Takes notices of any thread, and hands them as records to the worker.

    Saying the same again changes nothing: only the first `raised` and the first
    `cleared` after it become records.  Of what is said of one thing before the worker
    comes by, the newest counts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._notices: dict[tuple[str, HealthKind], HealthReport] = {}
        self._raised: dict[tuple[str, HealthKind], Health] = {}

    def post(self, notice: HealthReport) -> None:
        """Say that something is wrong, or over.  Any thread; never waits."""
        with self._lock:
            self._notices[notice.source, notice.kind] = notice

    def drain(
        self,
        place: Callable[[str], int | None],
        ignored: Collection[HealthKind] = (),
    ) -> list[Health]:
        """Make records of the notices since the last call.  Worker's thread.

        Args:
            place: The newest sample of a source; None: there is no such source.
            ignored: Kinds that are not raised.
        """
        with self._lock:
            notices, self._notices = self._notices, {}
        records = []
        for notice in notices.values():
            if notice.state == "raised" and notice.kind in ignored:
                continue
            stop = place(notice.source)
            record = None if stop is None else self._take(notice, stop)
            records += [] if record is None else [record]
        return records

    def finish(
        self, source: str, place: Callable[[str], int | None], detail: str
    ) -> list[Health]:
        """End what is raised of a source: nobody looks any more.  Worker's thread."""
        for raised in list(self._raised.values()):
            if raised.source == source:
                self.post(HealthReport(raised.kind, "cleared", detail, source))
        return self.drain(place)

    def _take(self, notice: HealthReport, stop: int) -> Health | None:
        key = notice.source, notice.kind
        raised = self._raised.get(key)
        if notice.state == "cleared":
            if raised is None:
                return None
            del self._raised[key]
            return replace(raised, stop=stop, state="cleared", detail=notice.detail)
        if raised is not None:
            return None
        self._raised[key] = Health(
            notice.source,
            stop,
            stop,
            notice.kind,
            "raised",
            notice.detail,
            uuid.uuid4().hex,
        )
        return self._raised[key]


LONGEST_LOOK_SECONDS = 5.0
"""What passed between two looks counts up to this: a machine that slept is not deaf."""

LATE_SECONDS = 5.0
"""A worker that is further behind after a step than this does not keep up."""

FRAMES_WAITING = 200
"""Of each source: a store that can write has written a good part of them."""

OVERLOAD = "the analysis does not keep up with what is heard: it is told late, or lost"
DISK = "what was heard cannot be stored and waits in memory: is the disk full?"

_MILLISECONDS = 1000

Place = Callable[[str], int | None]
"""The newest sample of a source; None: there is no such source."""


class HealthWatch:
    """Makes the health records of all sources.  Used by the worker's thread."""

    def __init__(
        self,
        settings: HealthSettings,
        live: Mapping[str, bool],
        *,
        sample_rate: int,
        session: str,
        desk: HealthReports,
    ) -> None:
        """Begin with nothing known.

        Args:
            settings: What counts as ill.
            live: By source, whether it is live; else it is a recording.
            sample_rate: Of the model.
            session: Told apart in the ids of records.
            desk: Where other threads tell of health.
        """
        self._settings = settings
        self._desk = desk
        self._judges = {
            source: SignalHealth(
                source, sample_rate, settings, session=session, live=is_live
            )
            for source, is_live in live.items()
        }
        self._deaf = {source: Debouncer(forgives=1) for source in live if live[source]}
        self._own: dict[HealthKind, Debouncer] = {
            "overload": Debouncer(),
            "disk": Debouncer(),
            "compute-device": Debouncer(),
        }
        self._looked: float | None = None
        self._sample_rate = sample_rate

    @classmethod
    def of(
        cls, config: Config, *, sample_rate: int, session: str, desk: HealthReports
    ) -> "HealthWatch":
        """One that watches over the sources of `config`; for the rest see above."""
        live = {source.name: source.is_live for source in config.sources}
        return cls(
            config.health, live, sample_rate=sample_rate, session=session, desk=desk
        )

    @classmethod
    def idle(cls) -> "HealthWatch":
        """One that watches over nothing."""
        return cls(
            HealthSettings(), {}, sample_rate=1, session="", desk=HealthReports()
        )

    def hear(
        self, timelines: Iterable[Timeline], records: Iterable[PlacedRecord]
    ) -> list[Health]:
        """Judge what was captured.

        Args:
            timelines: Of which the samples were taken.
            records: That the pipeline made of them.
        """
        told: list[Health] = []
        for timeline in timelines:
            cells = timeline.take_cells()
            judge = self._judges.get(timeline.name)
            if judge is not None:
                told += [record for cell in cells for record in judge.push(cell)]
        for record in records:
            judge = self._judges.get(record.source)
            if judge is not None and isinstance(record, ScoreFrame):
                told += judge.push_level(record)
        return told

    def look(self, statistics: Statistics, now: float, place: Place) -> list[Health]:
        """See who is listened to, and take what other threads have told.

        Args:
            statistics: Of this moment.
            now: Monotonic seconds.
            place: The newest sample of a source.
        """
        passed = 0.0 if self._looked is None else now - self._looked
        self._looked = now
        step = round(_MILLISECONDS * min(passed, LONGEST_LOOK_SECONDS))
        for each in statistics.sources:
            if each.source in self._deaf and each.state != "ended":
                self._follow(each, not each.is_analysed(), step)
        self._follow_monitor(statistics, step)
        return self._desk.drain(place, self._settings.ignore)

    def take_over(self, source: str, before: "HealthWatch") -> None:
        """Go on with a source where `before` was, by the own settings."""
        if source in self._judges and source in before._judges:
            self._judges[source] = before._judges[source]
            self._judges[source].adopt(self._settings)
        if source in self._deaf and source in before._deaf:
            self._deaf[source] = before._deaf[source]

    def go_on_from(self, before: "HealthWatch") -> None:
        """Go on with what concerns the monitor where `before` was."""
        self._own = before._own

    def finish(self, source: str, detail: str, place: Place) -> list[Health]:
        """End what is raised of a source: nobody looks any more, because of `detail`.

        `EVERY_SOURCE` for what concerns the monitor.
        """
        judge = self._judges.get(source)
        told = [] if judge is None else judge.finish(detail)
        return [*told, *self._desk.finish(source, place, detail)]

    def _follow(self, source: SourceStatistics, is_deaf: bool, step: int) -> None:
        """Post what has changed in `step` milliseconds."""
        latch, hold = self._deaf[source.source], self._settings.deaf_seconds
        change = self._push(latch, step, is_deaf, hold)
        if change is not None:
            detail = "" if change == "cleared" else _why_deaf(source)
            self._desk.post(HealthReport("deaf", change, detail, source.source))

    def _follow_monitor(self, statistics: Statistics, step: int) -> None:
        """Post whether the analysis keeps up, where, and what it finds is stored."""
        late = [
            each.backlog_samples / self._sample_rate
            for each in statistics.sources
            if each.source in self._deaf
        ]
        model = statistics.model
        failed = None if model is None else model.failed_compute_device
        own: list[tuple[HealthKind, bool, str]] = [
            ("overload", max(late, default=0) > LATE_SECONDS, OVERLOAD),
            ("disk", _cannot_store(statistics), DISK),
            ("compute-device", failed is not None, f"{failed} failed: now on the CPU"),
        ]
        for kind, is_ill, detail in own:
            hold = self._settings.hold_seconds
            change = self._push(self._own[kind], step, is_ill, hold)
            if change is not None:
                told = detail if change == "raised" else ""
                self._desk.post(HealthReport(kind, change, told))

    def _push(
        self, latch: Debouncer, step: int, is_ill: bool, hold_seconds: float
    ) -> HealthState | None:
        hold = round(_MILLISECONDS * hold_seconds)
        clear = round(_MILLISECONDS * self._settings.clear_seconds)
        return latch.push(0, step, is_ill, hold, clear)


def _why_deaf(source: SourceStatistics) -> str:
    if source.state == "listening":
        return "it is open, but no sound arrives"
    return source.detail


def _cannot_store(statistics: Statistics) -> bool:
    waiting = dict(statistics.queues)
    if waiting.get("store-records", 0) or waiting.get("store-alerts", 0):
        return True
    most = FRAMES_WAITING * len(statistics.sources)
    return waiting.get("store-frames", 0) > most
