"""The reload: another configuration while the monitor runs.

What another configuration changes.

A reload before it happens: everything new is built and checked, nothing touched.

The exchange: a monitor that runs goes on with the parts of a plan.
"""

import gc
import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch

from monitor.audio.sources.source import Source, build_source
from monitor.audio.timeline import Timeline
from monitor.config.audio import SourceSettings
from monitor.config.base import Settings
from monitor.config.config import Config
from monitor.errors import ConfigError, SoundMonitorError, SourceError
from monitor.model.card import model_digest
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from monitor.runtime.alerting import Orders, build_orders
from monitor.runtime.app import (
    Engine,
    Sinks,
    Station,
    change_screen,
    new_session,
    open_event_log,
    surroundings,
)
from monitor.runtime.assembly import (
    Ear,
    build_ear,
    build_health,
    build_lineup,
    build_pipeline,
)
from monitor.runtime.pipeline import Pipeline
from monitor.runtime.services import Service, build_services
from monitor.runtime.supervisor import Supervisor
from monitor.runtime.threads import Running, Threads
from monitor.sinks.status_snapshot import Reload

logger = logging.getLogger(__name__)


T = TypeVar("T", bound=Settings)

_APART = frozenset({"sources", "alerts", "detection"})
"""Sections that are compared in detail, or that do not concern a monitor."""

_OPENING = ("input", "sample_rate", "channels", "sample_format")
"""Settings with which a source is opened."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names that come, go or stand for something else from now on."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def describe(self, what: str) -> list[str]:
        """Phrases for people, such as "sources added: yard"."""
        kinds = {"added": self.added, "removed": self.removed, "changed": self.changed}
        return [
            f"{what} {kind}: {', '.join(names)}"
            for kind, names in kinds.items()
            if names
        ]


@dataclass(frozen=True, slots=True)
class Difference:
    """What a configuration changes against the one before."""

    sources: Names
    """Changed ones are opened anew."""

    adjusted: tuple[str, ...]
    """Sources that go on with other settings."""

    rules: Names
    thresholds: tuple[str, ...]
    """Labels that become events in another way."""

    settings: tuple[str, ...]
    """Other sections and settings that changed."""

    @property
    def sentence(self) -> str:
        """All of it for people; empty: nothing changed."""
        lists = {
            "sources adjusted": self.adjusted,
            "thresholds changed": self.thresholds,
            "settings changed": self.settings,
        }
        phrases = self.sources.describe("sources") + self.rules.describe("rules")
        phrases += [f"{what}: {', '.join(n)}" for what, n in lists.items() if n]
        return "; ".join(phrases)


def compare(before: Config, after: Config) -> Difference:
    """Find what `after` changes."""
    detection, wanted = before.detection, after.detection
    return Difference(
        _names(_named(before.sources), _named(after.sources), must_reopen),
        _names(_named(before.sources), _named(after.sources), _is_adjusted).changed,
        _names(_named(before.alerts), _named(after.alerts), _differs),
        tuple(
            label
            for label in {**detection.labels, **wanted.labels}
            if detection.labels.get(label) != wanted.labels.get(label)
        ),
        (
            *(
                f"detection.{key}"
                for key in _changed_keys(detection, wanted)
                if key != "labels"
            ),
            *(key for key in _changed_keys(before, after) if key not in _APART),
        ),
    )


def must_reopen(before: SourceSettings, after: SourceSettings) -> bool:
    """Whether a source has to be opened anew to become what `after` says."""
    return any(getattr(before, key) != getattr(after, key) for key in _OPENING)


def _is_adjusted(before: SourceSettings, after: SourceSettings) -> bool:
    return before != after and not must_reopen(before, after)


def _differs(before: Settings, after: Settings) -> bool:
    return before != after


def _changed_keys(before: Settings, after: Settings) -> list[str]:
    keys = type(before).model_fields
    return [key for key in keys if getattr(before, key) != getattr(after, key)]


def _named(entries: Sequence[Any]) -> Mapping[str, Any]:
    return {entry.name: entry for entry in entries}


def _names(
    before: Mapping[str, T], after: Mapping[str, T], changes: Callable[[T, T], bool]
) -> Names:
    return Names(
        tuple(name for name in after if name not in before),
        tuple(name for name in before if name not in after),
        tuple(
            name
            for name in after
            if name in before and changes(before[name], after[name])
        ),
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """The new parts of a monitor that runs."""

    config: Config
    difference: Difference
    engine: Engine
    pipeline: Pipeline
    orders: Orders
    services: Mapping[str, Service]
    sources: Mapping[str, Source]
    """Those that are to be opened, by name."""

    sentence: str
    """What changes, for people; empty: nothing."""

    def close(self, station: Station) -> None:
        """Give back what was built: it is not used."""
        self.orders.close()
        _close_new(self.services, station)


def prepare(station: Station, config: Config, state_dir: Path) -> Plan:
    """Build and check what `config` asks for.  Takes its time; on any thread.

    Raises:
        SoundMonitorError: It cannot be; what runs has not been touched.
    """
    _refuse_what_must_stay(station, config, state_dir)
    engine = _engine(station, config)
    pipeline = build_pipeline(config, engine.classifier, engine.session.session)
    difference = compare(station.config, config)
    sources = _sources(station, config, engine, difference)
    around = surroundings(config, engine, station.site)
    services = build_services(around, station.sinks.services)
    try:
        orders = build_orders(config, engine.classifier, station.site.environ)
    except ConfigError:
        _close_new(services, station)
        raise
    phrases = [difference.sentence, _model_phrase(station, engine)]
    return Plan(
        config,
        difference,
        engine,
        pipeline,
        orders,
        services,
        sources,
        "; ".join(phrase for phrase in phrases if phrase),
    )


def _refuse_what_must_stay(station: Station, config: Config, state_dir: Path) -> None:
    """The outbox, and the alerts that wait in it, cannot move while they are sent."""
    if state_dir != station.site.state_dir:
        raise ConfigError(
            f"state_dir: {state_dir} instead of {station.site.state_dir}: it cannot "
            "change while the monitor runs; restart it"
        )
    before, after = station.config.store.path, config.store.path
    if after != before:
        raise ConfigError(
            f"store.path: {_text(after)} instead of {_text(before)}: it cannot change "
            "while the monitor runs; restart it"
        )


def _text(path: str | None) -> str:
    return "null" if path is None else path


def _engine(station: Station, config: Config) -> Engine:
    """The one that runs, if it can stay; else another one."""
    before, wanted = station.engine, config.model
    digest = model_digest(wanted.file)
    device = station.config.model.compute_device
    if digest == before.digest and wanted.compute_device == device:
        return before
    # The number of threads holds for the whole process: it is changed with the rest.
    classifier = Classifier(
        load_model(wanted.file), wanted.compute_device, station.config.model.threads
    )
    if digest == before.digest:
        return replace(before, classifier=classifier)
    return Engine(classifier, digest, new_session(classifier))


def _sources(
    station: Station, config: Config, engine: Engine, difference: Difference
) -> Mapping[str, Source]:
    """Those that must be opened: at another rate all but what is over."""
    names = {*difference.sources.added, *difference.sources.changed}
    rate = station.engine.classifier.spec.sample_rate
    if engine.classifier.spec.sample_rate != rate:
        names |= {
            name
            for name, ear in station.monitor.ears.items()
            if not ear.capture.finished.is_set()
        }
    return {
        settings.name: build_source(
            settings, station.site.speed, station.site.clock.monotonic
        )
        for settings in config.sources
        if settings.name in names
    }


def _model_phrase(station: Station, engine: Engine) -> str:
    before = station.engine
    if engine.digest == before.digest:
        return ""
    return f"another model: {engine.classifier.name}"


def _close_new(services: Mapping[str, Service], station: Station) -> None:
    for name, service in services.items():
        if station.sinks.services.get(name) is not service:
            service.sink.close()


END_SECONDS = 5.0
"""Time in which the captures of sources that are opened anew must have ended."""

POLL_SECONDS = 0.1


def exchange(station: Station, plan: Plan, threads: Threads) -> bool:
    """Go on with `plan`.  Runs on the thread of the reload; waits for the worker.

    Returns:
        False if the monitor was stopped meanwhile.
    """
    ears = station.monitor.ears
    leaving = [name for name in ears if _leaves(name, plan)]
    late = station.monitor.end_captures(leaving, END_SECONDS)
    if late:
        # Who hangs there would go on writing the timeline of its source.
        raise SourceError(f"{', '.join(late)} did not end within {END_SECONDS:.0f} s")
    if station.telling is not None:
        station.telling.let_go(plan.orders)
    after = {
        settings.name: _ear(settings.name, station, plan)
        for settings in plan.config.sources
    }
    done = threading.Event()

    def change() -> None:
        _change(station, plan, after)
        done.set()

    station.monitor.worker.ask(change)
    while not done.wait(POLL_SECONDS):
        if threads.stop.is_set():
            return False
    station.monitor.start_captures(plan.sources, threads)
    if station.telling is not None:
        station.telling.start()
    return True


def _leaves(name: str, plan: Plan) -> bool:
    """Whether the capture of a source, as it is, has to end."""
    return name in plan.sources or name in plan.difference.sources.removed


def _ear(name: str, station: Station, plan: Plan) -> Ear:
    """A source as it is from now on: the same timeline, or another one."""
    settings = next(each for each in plan.config.sources if each.name == name)
    before = station.monitor.ears.get(name)
    source = plan.sources.get(name)
    rate = plan.engine.classifier.spec.sample_rate
    if source is None:
        assert before is not None, "a source that is not opened was there before"
        return _kept(before, settings, rate)
    start, since = _place(name, station, plan)
    timeline = Timeline(name, rate, plan.config.ring_seconds, start)
    timeline.wakeup = station.monitor.worker.wakeup
    site = station.site
    if not settings.is_live:
        since = None
    ear = build_ear(
        settings, source, timeline, site.clock, site.speed, missing_since=since
    )
    if ear.sample_clock is not None and since is not None:
        ear.sample_clock.anchor([(start, since)])
    return ear


def _kept(before: Ear, settings: SourceSettings, rate: int) -> Ear:
    if before.timeline.sample_rate == rate:
        return replace(before, settings=settings)
    # A recording that is over, and a model with another rate: it stays over.
    timeline = Timeline(before.timeline.name, rate, 1.0)
    timeline.state("ended", "it is over")
    return replace(before, settings=settings, timeline=timeline)


def _place(name: str, station: Station, plan: Plan) -> tuple[int, float | None]:
    """Index of the first sample of a source, and since when it has not been heard.

    In one session no index stands for two moments.
    """
    spec = plan.engine.classifier.spec
    is_same_rate = spec.sample_rate == station.engine.classifier.spec.sample_rate
    before = station.monitor.ears.get(name)
    if before is None:
        # A window further: nobody may take it for the sound that followed.
        stop = station.ended.get(name, -spec.window_samples)
        return (stop + spec.window_samples if is_same_rate else 0), None
    stop = before.timeline.stop
    if before.sample_clock is None:
        return (stop + spec.window_samples if is_same_rate else 0), None
    since = before.sample_clock.monotonic(stop)
    return (stop if is_same_rate else 0), since


def _change(station: Station, plan: Plan, ears: Mapping[str, Ear]) -> None:
    """Exchange the parts.  Runs on the worker's thread, between two steps."""
    site, worker, sinks = station.site, station.monitor.worker, station.sinks
    new_sinks = Sinks(
        sinks.screen,
        sinks.summary,
        sinks.store,
        sinks.event_log,
        plan.services,
    )
    if plan.config.event_log.path != station.config.event_log.path:
        new_sinks.event_log = open_event_log(plan.config, site)
    engine = plan.engine
    health = build_health(
        plan.config, engine.classifier, engine.session.session, site.desk
    )
    lineup = build_lineup(ears, plan.pipeline, new_sinks.all, engine.digest, health)
    if station.telling is not None:
        # Nobody would carry the alerts of what ends now.
        station.telling.keep(plan.orders)
    worker.conclude(lineup)
    _change_sinks(station, plan, new_sinks)
    _adjust(station, plan, ears)
    newcomers = [
        service.sink
        for name, service in plan.services.items()
        if sinks.services.get(name) is not service
    ]
    worker.adopt(lineup, newcomers)
    worker.reopen_sinks()
    _remember(station, plan, ears, new_sinks)


def _change_sinks(station: Station, plan: Plan, sinks: Sinks) -> None:
    config, log = plan.config, plan.config.event_log
    if sinks.store is not None:
        sinks.store.change(config.store, plan.engine.session)
    if station.telling is not None:
        station.telling.change(plan.orders)
    change_screen(sinks.screen, config, plan.engine.classifier)
    if sinks.event_log is not None:
        sinks.event_log.change(rotate_mib=log.rotate_mib, keep=log.keep)


def _adjust(station: Station, plan: Plan, ears: Mapping[str, Ear]) -> None:
    """Change what can be changed while a source goes on."""
    for ear in ears.values():
        ear.capture.stall_seconds = ear.settings.stall_seconds
        ear.timeline.keep(plan.config.ring_seconds)
    if plan.config.model.threads != station.config.model.threads:
        torch.set_num_threads(plan.config.model.threads)
    station.site.past.follow(ear.timeline for ear in ears.values())


def _remember(
    station: Station, plan: Plan, ears: Mapping[str, Ear], sinks: Sinks
) -> None:
    before, after = station.engine.classifier.spec, plan.engine.classifier.spec
    if before.sample_rate != after.sample_rate:
        station.ended.clear()
    for name in plan.difference.sources.removed:
        station.ended[name] = station.monitor.ears[name].timeline.stop
    station.config = plan.config
    station.engine = plan.engine
    station.sinks = sinks
    station.monitor.ears = ears


THREAD = "reload"


class Again(NamedTuple):
    """The configuration as it is now."""

    config: Config
    state_dir: Path
    """Folder for what the monitor writes."""

    placed: Callable[[str], str] = str
    """Puts file and line before sentences about settings."""


Reread = Callable[[], Again]
"""Reads the configuration again."""


class Reloader:
    """Reloads when it is asked to, on a thread of its own.

    Everything new is built and checked there, while the monitor goes on; only then are
    parts exchanged.  A configuration that cannot be is refused whole.  Who asks during
    a reload is served by one more after it.  Used by the main thread.
    """

    def __init__(
        self,
        station: Station,
        reread: Reread,
        threads: Threads,
        supervisor: Supervisor,
        done: Callable[[], None],
    ) -> None:
        """Prepare for the first one.

        Args:
            station: What runs; its parts are exchanged.
            reread: Reads the configuration again.
            threads: Of the process.
            supervisor: Tells the service manager.
            done: Called on the thread of the reload at its end; then `look`.
        """
        self._station = station
        self._reread = reread
        self._threads = threads
        self._supervisor = supervisor
        self._done = done
        self._is_asked = False
        self._running: Running | None = None

    def ask(self) -> None:
        """Reload now, or after the reload that is going on."""
        self._is_asked = True
        self.look()

    def look(self) -> None:
        """Tell that a reload is over, and begin the next.  Call several times a second.

        Never waits.
        """
        if self._running is not None and not self._running.is_alive:
            self._running = None
            self._supervisor.reloaded(self._remark)
        if self._is_asked and self._running is None:
            self._is_asked = False
            self._supervisor.reloading()
            self._running = self._threads.start(THREAD, self._run)

    @property
    def _remark(self) -> str:
        latest = self._station.site.facts.reload
        is_refused = latest is not None and not latest.is_taken
        return "the new configuration was refused, see the log" if is_refused else ""

    def _run(self, stop: threading.Event) -> None:
        placed: Callable[[str], str] = str
        try:
            config, state_dir, placed = self._reread()
            plan = prepare(self._station, config, state_dir)
        except ConfigError as error:
            self._refuse(placed(str(error)))
        except SoundMonitorError as error:
            self._refuse(str(error))
        else:
            if stop.is_set():
                plan.close(self._station)
            elif exchange(self._station, plan, self._threads):
                self._take(plan.sentence or "nothing changed")
                _settle()
        self._done()

    def _refuse(self, sentence: str) -> None:
        # Whoever rotates logs sends the same signal.
        worker = self._station.monitor.worker
        worker.ask(worker.reopen_sinks)
        self._say(sentence, is_taken=False)
        logger.error(
            "the configuration was not reloaded, and the one before goes on: %s",
            sentence,
        )

    def _take(self, sentence: str) -> None:
        self._say(sentence, is_taken=True)
        logger.info("configuration reloaded: %s", sentence)

    def _say(self, detail: str, *, is_taken: bool) -> None:
        facts = self._station.site.facts
        facts.reload = Reload(datetime.now(UTC), is_taken, detail)


def _settle() -> None:
    """Free what was exchanged, and spare the collector what has come, as at the start.

    What was frozen then would not be freed for as long as the process lives.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
