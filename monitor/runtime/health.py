"""Health records: from samples, from the statistics, and from reports of other threads.

The worker drives the `HealthWatch`, between the pipeline and the sinks.
"""

import threading
import uuid
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from monitor.audio.signal_health import Debouncer, SignalHealth
from monitor.audio.signal_statistics import SignalStatistics
from monitor.config.audio import HealthSettings
from monitor.records import (
    EVERY_SOURCE,
    Health,
    HealthKind,
    HealthState,
    PlacedRecord,
    ScoreFrame,
)
from monitor.sinks.status_sentence import why_not_analysed
from monitor.statistics import LEFT_OUT, Statistics


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A change of health, without its position in samples."""

    kind: HealthKind
    state: HealthState
    detail: str
    """A sentence for the operator, maybe empty."""

    source: str = EVERY_SOURCE
    lasted_samples: int = 0
    """What it has lasted already, samples of the source."""

    renews: bool = False
    """Whether another detail ends the problem that is raised, and raises a new one."""


class HealthReports:
    """Takes reports of any thread, and hands them to the worker as records.

    A repeated report changes nothing, unless it `renews`: only the first `raised` and
    the first `cleared` after it become records.  Of several reports of one kind and
    source between two steps of the worker, the newest counts.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._reports: dict[tuple[str, HealthKind], HealthReport] = {}
        self._raised: dict[tuple[str, HealthKind], Health] = {}

    def post(self, report: HealthReport) -> None:
        """Report that something is wrong, or over.  Any thread; never waits."""
        with self._lock:
            self._reports[report.source, report.kind] = report

    def drain(
        self,
        newest_sample: Callable[[str], int | None],
        ignored: Collection[HealthKind] = (),
    ) -> list[Health]:
        """Make records of the reports since the last call, but for kinds `ignored`.

        Worker's thread.
        """
        with self._lock:
            reports, self._reports = self._reports, {}
        records = []
        for report in reports.values():
            if report.state == "raised" and report.kind in ignored:
                continue
            stop = newest_sample(report.source)
            records += [] if stop is None else self._take(report, stop)
        return records

    def finish(
        self, source: str, newest_sample: Callable[[str], int | None], detail: str
    ) -> list[Health]:
        """Clear every raised problem of a source.  Worker's thread."""
        for raised in list(self._raised.values()):
            if raised.source == source:
                self.post(HealthReport(raised.kind, "cleared", detail, source))
        return self.drain(newest_sample)

    def _take(self, report: HealthReport, stop: int) -> list[Health]:
        key = report.source, report.kind
        raised = self._raised.get(key)
        if report.state == "cleared":
            if raised is None:
                return []
            del self._raised[key]
            return [replace(raised, stop=stop, state="cleared", detail=report.detail)]
        records = []
        if raised is not None:
            if not report.renews or report.detail == raised.detail:
                return []
            records.append(replace(raised, stop=stop, state="cleared", detail=""))
        self._raised[key] = Health(
            report.source,
            max(0, stop - report.lasted_samples),
            stop,
            report.kind,
            "raised",
            report.detail,
            uuid.uuid4().hex,
        )
        return [*records, self._raised[key]]


LONGEST_LOOK_SECONDS = 5.0
"""Longest time between two checks that counts: a machine that slept is not deaf."""

LATE_SECONDS = 5.0
"""A worker does not keep up that has a longer backlog after a step, or that has left
out windows so recently."""

FRAMES_WAITING = 200
"""Frames per source in memory from which the store counts as failing."""

OVERLOAD = "this machine is too slow: windows are left out, or events are late"
DISK = (
    "records, or scores and levels, wait in memory: is the disk full or read-only, or "
    "does it hang?"
)

_MILLISECONDS = 1000

NewestSample = Callable[[str], int | None]
"""The newest sample of a source; None: there is no such source."""


class SourceHealth:
    """Judges one source by its samples, for as long as it is open."""

    def __init__(
        self,
        source: str,
        sample_rate: int,
        settings: HealthSettings,
        *,
        level_gate_dbfs: float,
        session: str,
        live: bool,
    ) -> None:
        """Begin with nothing known; the arguments are those of `SignalHealth`."""
        self.made_for = (settings, level_gate_dbfs, session)
        self.sample_rate = sample_rate
        self.signal = SignalHealth(
            source,
            sample_rate,
            settings,
            level_gate_dbfs=level_gate_dbfs,
            session=session,
            live=live,
        )
        self.deaf = Debouncer(forgives=1) if live else None
        """Detects deafness; None for a recording."""


class HealthWatch:
    """Makes the health records of all sources and of the monitor.

    Lives as long as the worker, and is used by its thread.
    """

    def __init__(self, reports: HealthReports) -> None:
        """Begin with nothing known; `reports` takes what other threads find."""
        self._reports = reports
        self._monitor: dict[HealthKind, Debouncer] = {
            "overload": Debouncer(),
            "disk": Debouncer(),
            "compute-device": Debouncer(),
        }
        self._looked: float | None = None
        self._left_out = 0
        self._left_out_at = float("-inf")

    def judge(
        self,
        health: SourceHealth,
        intervals: Iterable[SignalStatistics],
        records: Iterable[PlacedRecord],
    ) -> list[Health]:
        """Judge the samples of a source, by their statistics and their levels."""
        found = [record for each in intervals for record in health.signal.push(each)]
        for record in records:
            if isinstance(record, ScoreFrame):
                found += health.signal.push_level(record)
        return found

    def look(
        self,
        settings: HealthSettings,
        sources: Mapping[str, SourceHealth],
        statistics: Statistics,
        now: float,
        newest_sample: NewestSample,
    ) -> list[Health]:
        """Check for deaf sources and trouble of the monitor, and take the reports."""
        passed = 0.0 if self._looked is None else now - self._looked
        self._looked = now
        clear = round(_MILLISECONDS * settings.clear_seconds)
        step = round(_MILLISECONDS * min(passed, LONGEST_LOOK_SECONDS))

        def follow(
            debouncer: Debouncer,
            is_ill: bool,
            hold_seconds: float,
            report: HealthReport,
        ) -> None:
            hold = round(_MILLISECONDS * hold_seconds)
            change = debouncer.push(0, step, is_ill, hold, clear)
            if change == "cleared":
                report = replace(report, detail="")
            if change is not None:
                self._reports.post(replace(report, state=change))

        late = 0.0
        before, self._left_out = self._left_out, _left_out_samples(statistics)
        if self._left_out > before:
            self._left_out_at = now
        for each in statistics.sources:
            health = sources.get(each.source)
            if health is None or health.deaf is None:
                continue
            late = max(late, each.backlog_samples / health.sample_rate)
            if each.state != "ended":
                is_open = each.state == "listening"
                why = why_not_analysed(each) if is_open else each.detail
                deaf_seconds = settings.deaf_seconds
                lasted = round(deaf_seconds * health.sample_rate)
                report = HealthReport("deaf", "raised", why, each.source, lasted)
                follow(health.deaf, not each.is_analysed(), deaf_seconds, report)
        is_late = late > LATE_SECONDS or now - self._left_out_at < LATE_SECONDS
        for kind, is_ill, detail in _monitor_health(statistics, is_late=is_late):
            report = HealthReport(kind, "raised", detail)
            follow(self._monitor[kind], is_ill, settings.hold_seconds, report)
        return self._reports.drain(newest_sample, settings.ignore)

    def finish(
        self,
        source: str,
        health: SourceHealth | None,
        detail: str,
        newest_sample: NewestSample,
    ) -> list[Health]:
        """Clear the raised problems of a source or the monitor, due to `detail`."""
        found = [] if health is None else health.signal.finish(detail)
        return [*found, *self._reports.finish(source, newest_sample, detail)]


def _left_out_samples(statistics: Statistics) -> int:
    return sum(
        loss.samples
        for each in statistics.sources
        for loss in each.losses
        if loss.reason in LEFT_OUT
    )


def _monitor_health(
    statistics: Statistics, *, is_late: bool
) -> Sequence[tuple[HealthKind, bool, str]]:
    model = statistics.model
    failed = None if model is None else model.failed_compute_device
    return (
        ("overload", is_late, OVERLOAD),
        ("disk", _cannot_store(statistics), DISK),
        ("compute-device", failed is not None, f"{failed} failed: now on the CPU"),
    )


def _cannot_store(statistics: Statistics) -> bool:
    pending = dict(statistics.queues)
    if any(pending.get(name) for name in ("store-records", "store-alerts", "disk")):
        return True
    most = FRAMES_WAITING * len(statistics.sources)
    return pending.get("store-frames", 0) > most
