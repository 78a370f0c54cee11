"""Vital signs of a monitor that is doing as told."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from monitor.sinks.status_snapshot import DaemonFacts, Premises, Snapshot, Vitals
from monitor.statistics import ModelStatistics, Statistics
from tests.support.clock import FakeClock
from tests.support.timed import LABELS, SAMPLE_RATE, statistics

MODEL = ModelStatistics("urban", LABELS, SAMPLE_RATE, "cpu", None)


class Patient:
    """A monitor whose worker reports what the test says."""

    def __init__(
        self,
        state_dir: Path,
        endpoints: tuple[str, ...] = (),
        database: Path | None = None,
    ) -> None:
        self.clock = FakeClock()
        self.daemon = DaemonFacts("config.yaml", self.clock.utc(), 4711)
        premises = Premises(state_dir, database, endpoints, "auto")
        self.vitals = Vitals(premises, self.daemon, self.clock)
        self.captured = 60.0

    def hear(self, *sources: str, **changes: Any) -> Statistics:
        """Let a second of sound come from every source, and be analysed."""
        self.clock.advance(1)
        self.captured += 1
        told = statistics(*(sources or ("street",)), captured_seconds=self.captured)
        told = replace(told, **{"model": MODEL, **changes})
        self.vitals.report(told)
        return told

    @property
    def snapshot(self) -> Snapshot:
        return self.vitals.snapshot()
