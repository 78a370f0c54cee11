"""A monitor that plays a recording, and reloads its configuration."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from monitor.clock import SystemClock
from monitor.config.config import Config
from monitor.model.trained import save_model
from monitor.runtime.app import App, Environment, load, plan_app
from monitor.runtime.commands import MonitorCommands
from monitor.runtime.reload import FreshConfig, Reloader
from monitor.runtime.supervisor import ServiceManager, Summary, Supervisor
from monitor.sinks.status_snapshot import DaemonFacts
from tests.support.models import seeded_model

DEADLINE_SECONDS = 60.0


class FakeManager(ServiceManager):
    """Remembers the sentences and states that it was given."""

    def __init__(self) -> None:
        super().__init__({})
        self.states: list[str] = []

    def ready(self) -> None:
        self.states.append("ready")

    def reloading(self) -> None:
        self.states.append("reloading")


class Running:
    """A monitor that plays a recording, and its reloader."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        recording = folder / "street.wav"
        soundfile.write(recording, np.zeros(120 * 16_000), 16_000)
        save_model(folder / "model.safetensors", seeded_model())
        self.settings: dict[str, Any] = {
            "sources": [{"name": "street", "input": f"file:{recording}"}],
            "model": {"file": str(folder / "model.safetensors")},
        }
        clock = SystemClock()
        self.facts = DaemonFacts()
        self.environment = Environment(
            clock,
            "realtime",
            folder,
            self.facts,
            Summary(clock),
            {},
            commands=MonitorCommands(),
        )
        config = self.config()
        self.app = App(
            plan_app(config, self.environment, load(config, folder)), self.environment
        )
        self.again: Callable[[], FreshConfig] = lambda: FreshConfig(
            self.config(), folder
        )
        self.manager, self.done = FakeManager(), threading.Event()
        supervisor = Supervisor(
            self.manager, clock, self.app.turns, self.environment.summary.sentence
        )
        self.reloader = Reloader(self.app, self.reread, supervisor, self.done.set)

    def reread(self) -> FreshConfig:
        return self.again()

    def config(self, **changes: Any) -> Config:
        return Config.model_validate({**self.settings, **changes})

    def reload(self, digest: str = "", **changes: Any) -> str:
        """Reload with changed settings; return the sentence of the status document."""
        self.again = lambda: FreshConfig(
            self.config(**changes), self.folder, digest=digest
        )
        self.reloader.ask()
        self.wait()
        assert self.facts.reload is not None
        return self.facts.reload.detail

    def wait(self) -> None:
        assert self.done.wait(DEADLINE_SECONDS)
        self.done.clear()
        running = self.reloader._running
        assert running is not None
        assert running.join(DEADLINE_SECONDS)
        self.reloader.look()

    def on_worker(self, run: Callable[[], None]) -> None:
        """Run something between two steps of the worker."""
        ran = threading.Event()

        def change() -> None:
            run()
            ran.set()

        self.app.worker.ask(change)
        assert ran.wait(DEADLINE_SECONDS)


@contextmanager
def started(folder: Path) -> Iterator[Running]:
    """A monitor whose threads run; they are joined at the end."""
    monitor = Running(folder)
    monitor.app.start()
    try:
        yield monitor
    finally:
        app = monitor.app
        app.threads.stop.set()
        assert app.threads.join(DEADLINE_SECONDS) == []
        app.senders.stop.set()
        assert app.senders.join(DEADLINE_SECONDS) == []
        assert app.threads.failure is None
        assert app.senders.failure is None
