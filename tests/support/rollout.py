"""One monitor of a fleet: its roll out, without the monitor."""

import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from monitor.config.rollout import RolloutSettings
from monitor.records import HealthKind
from monitor.runtime.health import HealthReports
from monitor.runtime.rollout import Rollout, RolloutContext
from monitor.runtime.rollout_state import bundle_folder
from monitor.sinks.status_snapshot import DaemonFacts, Reload
from monitor.statistics import ModelStatistics, Statistics, Trouble
from tests.support.bundles import BundleServer, made, public

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MODEL = ModelStatistics("urban", ("siren",), 44_100, "cpu", None)
WATCH_SECONDS = 600.0
NEVER = threading.Event()


def statistics(*troubles: tuple[HealthKind, str]) -> Statistics:
    found = tuple(Trouble(source, kind, NOW, "it is so") for kind, source in troubles)
    return Statistics((), 0.1, 0.2, 0.01, model=MODEL, troubles=found)


class Fleet:
    """One monitor of a fleet, without the monitor: its roll out and its reloads."""

    def __init__(self, state_dir: Path) -> None:
        self.server = BundleServer()
        self.folder = bundle_folder(state_dir)
        self.state_dir = state_dir
        self.facts, self.reports = DaemonFacts(), HealthReports()
        self.now = 0.0
        self.checked: list[int] = []
        self.problems = ""
        self.reloads = 0
        self.url = ""

    def begin(self, **changes: Any) -> None:
        """Make the roll out, as the start and each reload that is taken do."""
        settings = RolloutSettings(
            url=changes.get("url", self.url),
            public_keys=changes.get("keys", (public(),)),
            every_seconds=60.0,
            watch_seconds=WATCH_SECONDS,
        )
        context = RolloutContext(
            changes.get("monitor", "yard"),
            self.folder,
            self.facts,
            self.reports,
            self.reload,
            self.check,
            lambda: self.now,
        )
        self.rollout = Rollout(settings, context)
        self.rollout._latest = statistics()

    def check(self, version: int, stop: threading.Event) -> str:
        self.checked.append(version)
        assert (self.folder.path / f"{version}.json").exists()
        return self.problems

    def reload(self) -> None:
        self.reloads += 1

    def reloaded(self, *, is_taken: bool = True, detail: str = "") -> None:
        self.facts.reload = Reload(NOW, is_taken, detail)

    def offer(self, *arguments: Any, **more: Any) -> None:
        path = made(self.state_dir / "offered", *arguments, **more)
        self.server.content = path.read_bytes()

    def step(self, seconds: float = 70.0) -> None:
        self.now += seconds
        self.rollout.step(NEVER)

    def see(self, *troubles: tuple[HealthKind, str]) -> None:
        self.rollout._latest = statistics(*troubles)
        self.step(1.0)

    def tried(self, version: int) -> None:
        """Have a bundle taken, and the monitor reloaded with it."""
        self.offer(version)
        self.step()
        self.step(1.0)
        self.reloaded()
        self.begin()

    @property
    def shown(self) -> dict[str, Any]:
        assert self.facts.rollout is not None
        return self.facts.rollout

    @property
    def health(self) -> list[tuple[str, str, str]]:
        self.step(0.0)
        return [
            (it.kind, it.state, it.detail) for it in self.reports.drain(lambda _: 0)
        ]
