"""Everything that runs in a daemon, as one configuration has it."""

import hashlib
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from monitor.config.config import Config
from monitor.model.classifier import Classifier
from monitor.model.header import open_model_file
from monitor.model.model_file import load_model
from monitor.runtime.assembly import Monitor, Speed, build_monitor
from monitor.runtime.clock import Clock
from monitor.runtime.companions import Companion, Surroundings, build_companions
from monitor.runtime.health_desk import HealthDesk
from monitor.runtime.past import Past
from monitor.runtime.supervision import Summary
from monitor.runtime.telling import Orders, Telling, build_orders
from monitor.sinks.console import LiveConsole
from monitor.sinks.event_log import EventLog
from monitor.sinks.plain import Plain
from monitor.sinks.sink import Sink
from monitor.sinks.status.daemon import DaemonFacts
from monitor.sinks.store.database import Database
from monitor.sinks.store.session import Session
from monitor.sinks.store.store import Store

Screen = Plain | LiveConsole


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
    past: Past = field(default_factory=Past)
    desk: HealthDesk = field(default_factory=HealthDesk)


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
    companions: Mapping[str, Companion]

    @property
    def all(self) -> list[Sink]:
        """In the order in which they are told."""
        # First the store: what any other sink tells is on the disk by then.
        sinks: list[Sink] = [] if self.store is None else [self.store]
        sinks += [self.screen, self.summary]
        sinks += [] if self.event_log is None else [self.event_log]
        return sinks + [companion.sink for companion in self.companions.values()]


@dataclass(slots=True)
class Station:
    """What runs; a reload exchanges its parts."""

    site: Site
    config: Config
    engine: Engine
    sinks: Sinks
    telling: Telling | None
    """None: there is no database, and so there are no alerts."""

    monitor: Monitor
    ended: dict[str, int] = field(default_factory=dict)
    """By source that is configured no more, where its samples ended."""


def load_engine(config: Config) -> Engine:
    """Load the model of `config`, for a new session.

    Raises:
        SoundMonitorError: It, or the compute device, cannot be used.
    """
    digest = digest_of_model(config.model.file)
    model = load_model(config.model.file)
    # A service whose GPU did not survive a restart of the machine listens all the same.
    classifier = Classifier(
        model, config.model.compute_device, config.model.threads, spares_gpu=True
    )
    return Engine(classifier, digest, new_session(classifier))


def digest_of_model(path: str | None) -> str:
    """What tells the model file at `path` from any other; None: the program's own.

    Raises:
        ModelFileError: It cannot be read.
    """
    with open_model_file(path) as (file, _):
        return hashlib.sha256(file.read()).hexdigest()


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
    companions = build_companions(surroundings(config, engine, site))
    telling = _telling(config, orders, site)
    sinks = Sinks(
        screen,
        Summary(site.clock),
        _store(config, engine, site, telling),
        open_event_log(config, site),
        companions,
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


def surroundings(config: Config, engine: Engine, site: Site) -> Surroundings:
    """What companions are built from."""
    return Surroundings(
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


def _telling(config: Config, orders: Orders, site: Site) -> Telling | None:
    if config.store.path is None:
        return None
    database = Database(site.state_dir / config.store.path, site.clock.utc)
    return Telling(orders, database, site.clock)


def _store(
    config: Config, engine: Engine, site: Site, telling: Telling | None
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
