"""A reload before it happens: everything new is built and checked, nothing touched."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from monitor.audio.sources import build_source
from monitor.audio.sources.source import Source
from monitor.config.config import Config
from monitor.errors import ConfigError
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from monitor.runtime.assembly import build_pipeline
from monitor.runtime.companions import Companion, build_companions
from monitor.runtime.difference import Difference, compare
from monitor.runtime.pipeline import Pipeline
from monitor.runtime.station import (
    Engine,
    Station,
    digest_of_model,
    new_session,
    surroundings,
)
from monitor.runtime.telling import Orders, build_orders


@dataclass(frozen=True, slots=True)
class Plan:
    """The new parts of a monitor that runs."""

    config: Config
    difference: Difference
    engine: Engine
    pipeline: Pipeline
    orders: Orders
    companions: Mapping[str, Companion]
    sources: Mapping[str, Source]
    """Those that are to be opened, by name."""

    sentence: str
    """What changes, for people; empty: nothing."""

    def close(self, station: Station) -> None:
        """Give back what was built: it is not used."""
        self.orders.close()
        _close_new(self.companions, station)


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
    companions = build_companions(around, station.sinks.companions)
    try:
        orders = build_orders(config, engine.classifier, station.site.environ)
    except ConfigError:
        _close_new(companions, station)
        raise
    phrases = [difference.sentence, _model_phrase(station, engine)]
    return Plan(
        config,
        difference,
        engine,
        pipeline,
        orders,
        companions,
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
    digest = digest_of_model(wanted.file)
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


def _close_new(companions: Mapping[str, Companion], station: Station) -> None:
    for name, companion in companions.items():
        if station.sinks.companions.get(name) is not companion:
            companion.sink.close()
