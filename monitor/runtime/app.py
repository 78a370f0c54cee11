"""Everything that runs in a daemon, as one configuration has it.

What a person sees: the live console, or plain lines.
"""

import contextlib
import logging
import os
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

from rich.console import Console

from monitor.clock import Clock
from monitor.config.config import Config
from monitor.model.card import model_digest
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from monitor.runtime.alerting import Alerting, Orders, build_orders
from monitor.runtime.assembly import Monitor, Speed, build_monitor, rules_of
from monitor.runtime.health import HealthReports
from monitor.runtime.services import (
    AudioHistory,
    Service,
    ServiceContext,
    build_services,
)
from monitor.runtime.supervisor import Summary
from monitor.sinks.console.live import LiveConsole, can_show
from monitor.sinks.console.plain import PlainConsole
from monitor.sinks.event_log import EventLog
from monitor.sinks.sink import Sink
from monitor.sinks.status_snapshot import DaemonFacts
from monitor.sinks.store.database import Database
from monitor.sinks.store.records import Session
from monitor.sinks.store.store import Store

Screen = PlainConsole | LiveConsole


@dataclass(frozen=True, slots=True)
class Site:
    """What stays for the life of the process."""

    clock: Clock
    speed: Speed
    state_dir: Path
    """Folder for what the monitor writes."""

    facts: DaemonFacts
    """What is told of the daemon to who asks."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    past: AudioHistory = field(default_factory=AudioHistory)
    desk: HealthReports = field(default_factory=HealthReports)


@dataclass(frozen=True, slots=True)
class Engine:
    """What listens."""

    classifier: Classifier
    digest: str
    """Of the model file: tells models apart."""

    session: Session


@dataclass(slots=True)
class Sinks:
    """Where records go."""

    screen: Screen
    summary: Summary
    store: Store | None
    event_log: EventLog | None
    services: Mapping[str, Service]

    @property
    def all(self) -> list[Sink]:
        """In the order in which they are told."""
        # First the store: what any other sink tells is on the disk by then.
        sinks: list[Sink] = [] if self.store is None else [self.store]
        sinks += [self.screen, self.summary]
        sinks += [] if self.event_log is None else [self.event_log]
        return sinks + [service.sink for service in self.services.values()]


@dataclass(slots=True)
class Station:
    """What runs; a reload exchanges its parts."""

    site: Site
    config: Config
    engine: Engine
    sinks: Sinks
    telling: Alerting | None
    """None: there is no database, and so there are no alerts."""

    monitor: Monitor
    ended: dict[str, int] = field(default_factory=dict)
    """By source that is configured no more, where its samples ended."""


def load_engine(config: Config) -> Engine:
    """Load the model of `config`, for a new session.

    Raises:
        SoundMonitorError: It, or the compute device, cannot be used.
    """
    digest = model_digest(config.model.file)
    model = load_model(config.model.file)
    # A service whose GPU did not survive a restart of the machine listens all the same.
    classifier = Classifier(
        model, config.model.compute_device, config.model.threads, cpu_fallback=True
    )
    return Engine(classifier, digest, new_session(classifier))


def new_session(classifier: Classifier) -> Session:
    """A run of the monitor, or the part of one in which one model listens."""
    return Session(
        uuid.uuid4().hex,
        classifier.name,
        classifier.labels,
        classifier.spec.sample_rate,
    )


def build_station(
    config: Config, engine: Engine, site: Site, screen: Screen
) -> Station:
    """Build everything; files are opened, nothing else is begun.

    Raises:
        SoundMonitorError: A part cannot be what the configuration says.
    """
    orders = build_orders(config, engine.classifier, site.environ)
    services = build_services(surroundings(config, engine, site))
    telling = _telling(config, orders, site)
    sinks = Sinks(
        screen,
        Summary(site.clock),
        _store(config, engine, site, telling),
        open_event_log(config, site),
        services,
    )
    monitor = build_monitor(
        config,
        engine.classifier,
        sinks.all,
        speed=site.speed,
        session=engine.session.session,
        clock=site.clock,
        past=site.past,
        model=engine.digest,
        desk=site.desk,
    )
    return Station(site, config, engine, sinks, telling, monitor)


def surroundings(config: Config, engine: Engine, site: Site) -> ServiceContext:
    """What companions are built from."""
    return ServiceContext(
        config,
        labels=engine.classifier.labels,
        sample_rate=engine.classifier.spec.sample_rate,
        clock=site.clock,
        past=site.past,
        state_dir=site.state_dir,
        environ=site.environ,
        daemon=site.facts,
        classifier=engine.classifier,
        desk=site.desk,
    )


def open_event_log(config: Config, site: Site) -> EventLog | None:
    """The event log, if there shall be one."""
    log = config.event_log
    if log.path is None:
        return None
    path = site.state_dir / log.path
    return EventLog(path, rotate_mib=log.rotate_mib, keep=log.keep)


def _telling(config: Config, orders: Orders, site: Site) -> Alerting | None:
    if config.store.path is None:
        return None
    database = Database(site.state_dir / config.store.path, site.clock.utc)
    return Alerting(orders, database, site.clock)


def _store(
    config: Config, engine: Engine, site: Site, telling: Alerting | None
) -> Store | None:
    if config.store.path is None or telling is None:
        return None
    return Store(
        site.state_dir / config.store.path,
        config.store,
        engine.session,
        site.clock,
        rules=telling.rules,
        committed=telling.wake,
    )


@contextlib.contextmanager
def open_screen(
    config: Config, classifier: Classifier, clock: Clock
) -> Iterator[PlainConsole | LiveConsole]:
    """A live console on a terminal, which takes the log lines too; else plain lines."""
    console = Console()
    if not can_show(console):
        yield PlainConsole(sys.stdout)
        return
    live = LiveConsole(console, now=clock.monotonic, **_contents(config, classifier))
    root = logging.getLogger()
    handlers = root.handlers
    root.handlers = [live.log_handler]
    try:
        yield live
    finally:
        live.close()
        root.handlers = handlers


def change_screen(
    screen: PlainConsole | LiveConsole, config: Config, classifier: Classifier
) -> None:
    """Show another configuration or model.  Worker's thread."""
    if isinstance(screen, LiveConsole):
        screen.change(**_contents(config, classifier))


def _contents(config: Config, classifier: Classifier) -> "_Contents":
    rules = rules_of(config, classifier)
    return {
        "sources": [source.name for source in config.sources],
        "labels": classifier.labels,
        "sample_rate": classifier.spec.sample_rate,
        "onset_thresholds": {
            label: rule.onset_threshold for label, rule in rules.items()
        },
        "title": classifier.name,
    }


class _Contents(TypedDict):
    sources: Sequence[str]
    labels: Sequence[str]
    sample_rate: int
    onset_thresholds: Mapping[str, float]
    title: str
