"""The application: builds everything that a configuration asks for, top to bottom."""

import os
import threading
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from monitor.audio.sources.source import Source, Speed, build_source
from monitor.audio.timeline import Timeline
from monitor.clock import Clock
from monitor.config.config import Config
from monitor.errors import ConfigError, SoundMonitorError
from monitor.model.models import Models
from monitor.output import Output
from monitor.runtime.alerting import Alerting, build_alerting, without_groups
from monitor.runtime.health import HealthReport, HealthReports
from monitor.runtime.loading import (
    ChosenModels,
    choose_models,
    load_models,
)
from monitor.runtime.parts import Parts
from monitor.runtime.pipeline import Pipeline, build_pipeline
from monitor.runtime.running_source import RunningSource, SourceFactory
from monitor.runtime.screen import Screen, Shown
from monitor.runtime.services import ServiceContext, build_services, published
from monitor.runtime.supervisor import Summary
from monitor.runtime.threads import RunningThread, Threads, join
from monitor.runtime.worker import Worker
from monitor.sinks.alerts.secrets import hide_secrets, source_password
from monitor.sinks.event_log import EventLog
from monitor.sinks.file_sinks import FileSinks
from monitor.sinks.live_readers import LiveReaders
from monitor.sinks.recent import Recent
from monitor.sinks.sink import Sink
from monitor.sinks.status_requests import Commands
from monitor.sinks.status_snapshot import DaemonFacts
from monitor.sinks.store.database import Database
from monitor.sinks.store.records import Session
from monitor.sinks.store.store import Store


@dataclass(frozen=True, slots=True)
class Environment:
    """The objects that live as long as the process, under any configuration."""

    clock: Clock
    speed: Speed
    """Speed at which recordings are fed."""

    state_dir: Path
    """Folder for the files that the monitor writes."""

    facts: DaemonFacts
    """Facts of the main thread, for the status document."""

    summary: Summary
    """A sink of every configuration: it counts the events of the day."""

    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    """The variables of the process at its start; children do not get the secrets."""

    reports: HealthReports = field(default_factory=HealthReports)
    readers: LiveReaders = field(default_factory=LiveReaders)
    recent: Recent = field(default_factory=Recent)
    wakeup: threading.Event = field(default_factory=threading.Event)
    """Wakes the worker."""

    commands: Commands | None = None
    """Does what clients of the status socket ask for; None: no command is known."""

    output: Output | None = None
    """Standard output and error, handed over; None: they are written at once."""

    screen: Screen = field(default_factory=Screen)
    """What is shown on standard output."""


@dataclass(frozen=True, slots=True)
class LoadedModels:
    """The models in use, the labels that they report, and their session."""

    models: Models
    chosen: ChosenModels
    digest: str
    """Identifies the models and the labels that they score."""

    file_digests: tuple[str, ...]
    """Identify the contents of the model files."""

    session: Session


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts that a configuration asks for, built and checked but not started."""

    config: Config
    models: LoadedModels
    factory: SourceFactory
    opened: Mapping[str, Source]
    """Sources to be opened, by name; the others continue."""

    pipeline: Pipeline
    services: Sequence[Sink]
    alerting: Alerting | None
    """None without a database: then there are no alerts."""

    timelines: dict[str, Timeline]
    """Timelines by source; filled by `connect`, read by the services."""

    def continued(self, running: Iterable[str]) -> set[str]:
        """Names of the sources of `running` that go on."""
        names = {settings.name for settings in self.config.sources}
        return (names & set(running)) - self.opened.keys()

    def close(self) -> None:
        """Release the parts of a plan that is not used."""
        for service in self.services:
            service.close()
        if self.alerting is not None:
            self.alerting.close()


@dataclass(frozen=True, slots=True)
class OpenSinks:
    """The sinks of a configuration."""

    store: Store | None
    files: FileSinks
    """The store, then the event log."""

    others: Sequence[Sink]

    @property
    def pending_records(self) -> int:
        """Number of records and alerts that could not be written yet.  Any thread."""
        pending = self.files.queues
        # Scores are written now and then, not at once.
        return sum(pending.values()) - pending.get("store-frames", 0)

    @property
    def all(self) -> list[Sink]:
        """The sinks, in the order in which they get the records."""
        # The store is the first: the records that any other sink shows are on the disk.
        return [self.files, *self.others]


def plan_app(
    config: Config,
    environment: Environment,
    models: LoadedModels,
    running: Mapping[str, RunningSource] | None = None,
) -> Plan:
    """Build everything that `config` asks for; no file is opened, no thread started.

    Sources of `running` that are not changed go on.

    Raises:
        SoundMonitorError: A part is impossible.
    """
    clock, spec, labels = environment.clock, models.models.spec, models.chosen.labels
    session = models.session.session
    pipeline = build_pipeline(config, models.models, session, models.chosen)
    factory = SourceFactory(
        config, spec, session, clock, environment.speed, environment.wakeup
    )
    opened: dict[str, Source] = {}
    for settings in config.sources:
        before = (running or {}).get(settings.name)
        if before is None or factory.must_reopen(before, settings):
            read_password = source_password(settings, environment.environ)
            try:
                opened[settings.name] = build_source(
                    settings, environment.speed, clock.monotonic, read_password
                )
            except ConfigError as error:
                raise ConfigError(f"source {settings.name!r}: {error}") from None
    timelines: dict[str, Timeline] = {}
    state_dir, environ = environment.state_dir, environment.environ
    single = without_groups(config, labels, environ)
    alerting: Alerting | None = None
    services = build_services(
        ServiceContext(
            single,
            labels.reported,
            spec.sample_rate,
            clock,
            state_dir,
            environ,
            timelines,
            environment.facts,
            models.models,
            environment.reports,
            environment.commands,
            lambda: () if alerting is None else alerting.mutes,
            readers=environment.readers,
            recent=environment.recent,
            explain=pipeline.explain,
        )
    )
    if config.store.path is not None:
        database = Database(state_dir / config.store.path, clock.utc)
        alerting = build_alerting(
            single, pipeline.rules, spec, database, clock, state_dir, environ
        )
    elif config.alerts:
        raise ConfigError("alerts need a database, and store.path is null")
    hide_secrets(config.model_dump())
    return Plan(
        config, models, factory, opened, pipeline, services, alerting, timelines
    )


def connect(
    plan: Plan,
    running: Mapping[str, RunningSource] | None = None,
    ended: Mapping[str, int] | None = None,
) -> dict[str, RunningSource]:
    """Give each source its timeline; the captures that do not go on have ended.

    `ended` has the last sample index of each source removed in this session.
    """
    sources: dict[str, RunningSource] = {}
    for settings in plan.config.sources:
        name, before = settings.name, (running or {}).get(settings.name)
        if before is not None and name not in plan.opened:
            sources[name] = plan.factory.keep(before, settings)
        else:
            stop = (ended or {}).get(name)
            sources[name] = plan.factory.open(settings, plan.opened[name], before, stop)
        plan.timelines[name] = sources[name].input.timeline
    return sources


def parts_of(plan: Plan, sources: Mapping[str, RunningSource]) -> Parts:
    """The worker's parts of a configuration, without the sinks."""
    return Parts(
        plan.pipeline,
        {name: source.input for name, source in sources.items()},
        plan.config.health,
        plan.models.session.session,
        frozenset(sources.keys() - plan.opened.keys()),
    )


def open_sinks(
    plan: Plan, environment: Environment, before: OpenSinks | None = None
) -> OpenSinks:
    """Open the database, the event log and the screen.

    `before` are the sinks of the configuration before, which are closed.

    Raises:
        StoreError: Another monitor writes to the database, or a newer version did.
    """
    config, log, state_dir = plan.config, plan.config.event_log, environment.state_dir
    store = event_log = None

    def forget(since: datetime | None, until: datetime) -> None:
        environment.recent.forget()
        if event_log is not None:
            event_log.forget(since, until)

    if config.store.path is not None and plan.alerting is not None:
        store = Store(
            state_dir / config.store.path,
            config.store,
            replace(plan.models.session, published=published(config)),
            environment.clock,
            rules=plan.alerting,
            committed=plan.alerting.confirm,
            damage=plan.alerting.take_damage,
            health=lambda state, detail: environment.reports.post(
                HealthReport("database", state, detail)
            ),
            forgotten=forget,
            before=None if before is None else before.store,
        )
    if log.path is not None:
        event_log = EventLog(
            state_dir / log.path,
            rotate_mib=log.rotate_mib,
            keep=log.keep,
            is_forgotten=(lambda _: False) if store is None else store.is_forgotten,
        )
    models, labels = plan.models.models, plan.models.chosen.labels.reported
    rules, timelines = plan.pipeline.rules, plan.timelines
    shown = Shown(config, state_dir, models, rules, labels, timelines)
    screen = environment.screen.sinks(shown, environment.clock, environment.output)
    written = [sink for sink in (store, event_log) if sink is not None]
    files = FileSinks(written, environment.clock)
    return OpenSinks(store, files, [*screen, environment.summary, *plan.services])


class App:
    """The monitor that runs: a capture for each source, the worker and its sinks."""

    def __init__(self, plan: Plan, environment: Environment) -> None:
        """Open the files; nothing is started.

        Raises:
            StoreError: See `open_sinks`.
        """
        self.environment = environment
        self.plan = plan
        self.ended: dict[str, int] = {}
        """Last sample index of each source that was removed in this session."""

        self.sources: Mapping[str, RunningSource] = connect(plan)
        self.sinks = open_sinks(plan, environment)
        self.worker = Worker(
            replace(parts_of(plan, self.sources), sinks=self.sinks.all),
            wakeup=environment.wakeup,
            clock=environment.clock,
            reports=environment.reports,
            wait_for_captures=lambda seconds: join(
                tuple(self._captures.values()), seconds
            ),
        )
        self.threads = Threads()
        """Threads of the captures, the worker and the reload."""

        self.senders = Threads()
        """Threads of the alerts; they end after the others."""

        self._captures: dict[str, RunningThread] = {}

    def start(self) -> None:
        """Start all threads."""
        self.start_captures(self.sources)
        self.threads.start("worker", lambda _: self.worker.run(self.threads.stop))
        if self.plan.alerting is not None:
            self.plan.alerting.start(self.senders)

    def start_captures(self, names: Iterable[str]) -> None:
        """Start the captures of some sources."""
        for name in names:
            run = self.sources[name].capture.run
            self._captures[name] = self.threads.start(f"capture-{name}", run)

    def end_captures(self, names: Iterable[str], seconds: float) -> list[str]:
        """End the captures of some sources; return the names of the late ones.

        The samples that they delivered stay in their timelines.
        """
        ending = [self._captures.pop(name) for name in names]
        for capture in ending:
            capture.stop.set()
        return join(ending, seconds)

    def turns(self) -> dict[str, float]:
        """Time of the latest turn of each thread in use, monotonic seconds, by name."""
        turns = {
            f"capture-{name}": source.capture.latest_turn
            for name, source in self.sources.items()
            if not source.capture.finished.is_set()
        }
        return {**turns, "worker": self.worker.latest_turn}

    @property
    def failure(self) -> SoundMonitorError | None:
        """Error that kept a recording from being played to its end."""
        failures = (source.capture.failure for source in self.sources.values())
        return next((failure for failure in failures if failure is not None), None)


def load(config: Config, state_dir: Path) -> LoadedModels:
    """Load the models of `config` for a new session.

    Labels that were taught are in `state_dir`.

    Raises:
        SoundMonitorError: A model, a label or the compute device is unusable.
    """
    # A service listens even if its GPU did not survive a restart of the machine.
    return load_chosen(config, choose_models(config, state_dir), cpu_fallback=True)


def load_chosen(
    config: Config, chosen: ChosenModels, *, cpu_fallback: bool
) -> LoadedModels:
    """Load models for a new session.

    Raises:
        SoundMonitorError: A model or the compute device is unusable.
    """
    models = load_models(config.model, chosen, cpu_fallback=cpu_fallback)
    session = Session(
        uuid.uuid4().hex,
        models.name,
        models.labels,
        models.spec.sample_rate,
        models.members[models.embedding].classifier.network_digest,
    )
    digests = chosen.digest(), chosen.model_digests()
    return LoadedModels(models, chosen, *digests, session)
