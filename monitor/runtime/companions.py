"""Sinks that only some configurations have, each with a thread of its own."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.config.config import Config
from monitor.errors import ConfigError
from monitor.runtime.clock import Clock
from monitor.runtime.health_desk import HealthDesk
from monitor.runtime.past import Past
from monitor.runtime.renewal import Stamp, stamp_of
from monitor.sinks.alerts.extras import require_extra
from monitor.sinks.sink import Sink
from monitor.sinks.status.daemon import DaemonFacts
from monitor.sinks.status.vitals import Premises, Vitals

# `check` builds companions too, without torch.
if TYPE_CHECKING:
    from monitor.model.classifier import Classifier


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What companions are built from."""

    config: Config
    labels: Sequence[str]
    """Of the model."""

    sample_rate: int
    """Of the model."""

    clock: Clock
    past: Past
    """The sound of the sources, for clips."""

    state_dir: Path
    """Folder for what the monitor writes."""

    environ: Mapping[str, str]
    """Of the process, for secrets."""

    daemon: DaemonFacts = field(default_factory=DaemonFacts)
    """What the main thread knows, for who asks."""

    classifier: "Classifier | None" = None
    """The one in use; None: nothing listens, and the canary is left out."""

    desk: HealthDesk = field(default_factory=HealthDesk)
    """Where companions tell of health."""

    @property
    def premises(self) -> Premises:
        """What the configuration says about the daemon."""
        config = self.config
        path = config.store.path
        return Premises(
            self.state_dir,
            None if path is None else self.state_dir / path,
            tuple(name for rule in config.alerts for name in rule.endpoints),
            config.model.compute_device,
        )

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of all sources."""
        return tuple(source.name for source in self.config.sources)

    def stamp(self, section: str) -> Stamp:
        """A section of the configuration, and what it names: see `stamp_of`."""
        return stamp_of(getattr(self.config, section), self.environ)


@dataclass(frozen=True, slots=True)
class Companion:
    """A sink that runs beside the worker."""

    sink: Sink
    basis: object
    """What it was built from: while that stays equal, a reload lets it be."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of companion is built."""

    basis: Callable[[Surroundings], object]
    """Everything it depends on, comparable; an object is equal to itself alone."""

    build: Callable[[Surroundings], Sink | None]
    """None: the configuration does not ask for it.  Nothing is started."""


def build_companions(
    surroundings: Surroundings, running: Mapping[str, Companion] | None = None
) -> dict[str, Companion]:
    """Build what the configuration asks for; nothing is connected, written or started.

    Args:
        surroundings: What they are built from.
        running: Those that run, by the name of their kind; one whose basis is the same
            is taken as it is.

    Raises:
        ConfigError: A sentence in a line for each that cannot work.
    """
    companions: dict[str, Companion] = {}
    faults: list[str] = []
    for name, kind in KINDS.items():
        basis = kind.basis(surroundings)
        before = (running or {}).get(name)
        if before is not None and before.basis == basis:
            companions[name] = before
            continue
        try:
            sink = kind.build(surroundings)
        except ConfigError as error:
            faults += str(error).splitlines()
        else:
            if sink is not None:
                companions[name] = Companion(sink, basis)
    if faults:
        raise ConfigError("\n".join(faults))
    return companions


def _mqtt(of: Surroundings) -> Sink | None:
    if of.config.mqtt.host is None:
        return None
    require_extra("mqtt", "paho", "mqtt")
    from monitor.sinks.mqtt.states import MqttStates

    return MqttStates(
        of.config.mqtt,
        of.sources,
        of.labels,
        sample_rate=of.sample_rate,
        now=of.clock.monotonic,
        environ=of.environ,
    )


def _heartbeat(of: Surroundings) -> Sink | None:
    settings = of.config.heartbeat
    if settings.url is None and settings.url_secret is None:
        return None
    from monitor.sinks.heartbeat import Heartbeat

    return Heartbeat(settings, of.clock.monotonic, of.environ)


def _clips(of: Surroundings) -> Sink | None:
    if of.config.privacy != "clips":
        return None
    settings = of.config.clips
    unknown = [label for label in settings.labels if label not in of.labels]
    if unknown:
        raise ConfigError(
            f"clips.labels: {unknown[0]!r} is not a label of the model; choose from "
            f"{', '.join(of.labels)}"
        )
    from monitor.sinks.clips.clips import Clips

    folder = of.state_dir / settings.path
    return Clips(settings, folder, of.past, of.sample_rate, of.clock.utc)


def _status(of: Surroundings) -> Sink | None:
    from monitor.sinks.status.place import is_supported, own_place
    from monitor.sinks.status.status import Status

    if not is_supported():
        return None
    place = own_place(of.config.status.socket, of.state_dir, of.environ)
    return Status(Vitals(of.premises, of.daemon, of.clock), place)


def _metrics(of: Surroundings) -> Sink | None:
    settings = of.config.metrics
    if settings.listen is None:
        return None
    require_extra("metrics", "prometheus_client", "metrics")
    from monitor.sinks.metrics.metrics import Metrics

    vitals = Vitals(of.premises, of.daemon, of.clock)
    return Metrics(settings, vitals, of.clock.monotonic, of.environ)


def _canary(of: Surroundings) -> Sink | None:
    if of.classifier is None:
        return None
    from monitor.runtime.canary_build import build_canary

    return build_canary(of.config, of.classifier, of.past, of.desk, of.clock)


KINDS: Mapping[str, Kind] = {
    "mqtt": Kind(
        lambda of: (of.stamp("mqtt"), of.sources, of.labels, of.sample_rate), _mqtt
    ),
    "heartbeat": Kind(lambda of: of.stamp("heartbeat"), _heartbeat),
    "status": Kind(lambda of: (of.config.status, of.premises), _status),
    "metrics": Kind(lambda of: (of.stamp("metrics"), of.premises), _metrics),
    "clips": Kind(
        lambda of: (of.config.privacy, of.config.clips, of.labels, of.sample_rate),
        _clips,
    ),
    "canary": Kind(
        lambda of: (
            of.config.canary,
            of.config.detection,
            tuple((source.name, source.input) for source in of.config.sources),
            of.classifier,
        ),
        _canary,
    ),
}
