"""Sinks that only some configurations have, each with a thread of its own.

What the rings still hold of the sound of every source.

Settings stay the same while what they name is renewed: secrets, files.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monitor.clock import Clock
from monitor.config.base import Settings
from monitor.config.config import Config
from monitor.errors import ConfigError, require_extra
from monitor.runtime.health import HealthReports
from monitor.sinks.alerts.secrets import CREDENTIALS_VARIABLE
from monitor.sinks.sink import Sink
from monitor.sinks.status_snapshot import DaemonFacts, SnapshotSettings, StatusTracker

# `check` builds one without sound, and numpy takes its time.
# `check` builds companions too, without torch.
if TYPE_CHECKING:
    from monitor.audio.ring import Samples
    from monitor.audio.timeline import Timeline
    from monitor.model.classifier import Classifier


class AudioHistory:
    """Looks back at the newest seconds of the sources, by absolute sample index."""

    def __init__(self) -> None:
        self._timelines: dict[str, Timeline] = {}

    def follow(self, timelines: "Iterable[Timeline]") -> None:
        """Look at these from now on."""
        self._timelines = {timeline.name: timeline for timeline in timelines}

    def stop(self, source: str) -> int:
        """Absolute index after the newest sample of a source."""
        return self._timelines[source].stop

    def capacity(self, source: str) -> int:
        """Samples that can be looked back at."""
        return self._timelines[source].capacity

    def source_rate(self, source: str) -> int | None:
        """Samples a second that a source itself delivers; None before it does."""
        return self._timelines[source].source_rate

    def read(self, source: str, start: int, stop: int) -> "tuple[int, Samples]":
        """Copy what is left of the samples [start, stop); see `Timeline.past`."""
        return self._timelines[source].past(start, stop)


Stamp = tuple[Settings, tuple[str, ...]]
"""A section, and a digest of each thing that it names."""

MOST_BYTES = 2**20
"""Looked at in a file; a secret or a certificate is shorter."""

_REFERENCE = re.compile(r"(file|env|credential):(.+)", re.DOTALL)
_FILE_KEY = re.compile(r"(.+_)?file")


def stamp_of(section: Settings, environ: Mapping[str, str]) -> Stamp:
    """What `section` says, and what its secrets and files hold now.

    Two stamps differ when one of them has changed.  No secret can be read from it.

    Args:
        section: Of the configuration.
        environ: Of the process.
    """
    named = _named(section.model_dump(), environ)
    return section, tuple(hashlib.sha256(content).hexdigest() for content in named)


def _named(value: Any, environ: Mapping[str, str], key: str = "") -> Iterator[bytes]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _named(inner, environ, str(name))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _named(inner, environ, key)
    elif isinstance(value, str):
        found = _REFERENCE.fullmatch(value)
        if found is not None:
            yield _secret(found[1], found[2], environ)
        elif _FILE_KEY.fullmatch(key):
            yield _content(Path(value))


def _secret(kind: str, name: str, environ: Mapping[str, str]) -> bytes:
    if kind == "env":
        return environ.get(name, "").encode()
    folder = Path(environ.get(CREDENTIALS_VARIABLE, "")) if kind == "credential" else ""
    return _content(Path(folder, name))


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError:
        return b""  # who uses it says so


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """What companions are built from."""

    config: Config
    labels: Sequence[str]
    """Of the model."""

    sample_rate: int
    """Of the model."""

    clock: Clock
    past: AudioHistory
    """The sound of the sources, for clips."""

    state_dir: Path
    """Folder for what the monitor writes."""

    environ: Mapping[str, str]
    """Of the process, for secrets."""

    daemon: DaemonFacts = field(default_factory=DaemonFacts)
    """What the main thread knows, for who asks."""

    classifier: "Classifier | None" = None
    """The one in use; None: nothing listens, and the canary is left out."""

    desk: HealthReports = field(default_factory=HealthReports)
    """Where companions tell of health."""

    @property
    def snapshot_settings(self) -> SnapshotSettings:
        """What the configuration says about the daemon."""
        config = self.config
        path = config.store.path
        return SnapshotSettings(
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
class Service:
    """A sink that runs beside the worker."""

    sink: Sink
    basis: object
    """What it was built from: while that stays equal, a reload lets it be."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind of companion is built."""

    basis: Callable[[ServiceContext], object]
    """Everything it depends on, comparable; an object is equal to itself alone."""

    build: Callable[[ServiceContext], Sink | None]
    """None: the configuration does not ask for it.  Nothing is started."""


def build_services(
    surroundings: ServiceContext, running: Mapping[str, Service] | None = None
) -> dict[str, Service]:
    """Build what the configuration asks for; nothing is connected, written or started.

    Args:
        surroundings: What they are built from.
        running: Those that run, by the name of their kind; one whose basis is the same
            is taken as it is.

    Raises:
        ConfigError: A sentence in a line for each that cannot work.
    """
    services: dict[str, Service] = {}
    faults: list[str] = []
    for name, kind in KINDS.items():
        basis = kind.basis(surroundings)
        before = (running or {}).get(name)
        if before is not None and before.basis == basis:
            services[name] = before
            continue
        try:
            sink = kind.build(surroundings)
        except ConfigError as error:
            faults += str(error).splitlines()
        else:
            if sink is not None:
                services[name] = Service(sink, basis)
    if faults:
        raise ConfigError("\n".join(faults))
    return services


def _mqtt(of: ServiceContext) -> Sink | None:
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


def _heartbeat(of: ServiceContext) -> Sink | None:
    settings = of.config.heartbeat
    if settings.url is None and settings.url_secret is None:
        return None
    from monitor.sinks.heartbeat import Heartbeat

    return Heartbeat(settings, of.clock.monotonic, of.environ)


def _clips(of: ServiceContext) -> Sink | None:
    if of.config.privacy != "clips":
        return None
    settings = of.config.clips
    unknown = [label for label in settings.labels if label not in of.labels]
    if unknown:
        raise ConfigError(
            f"clips.labels: {unknown[0]!r} is not a label of the model; choose from "
            f"{', '.join(of.labels)}"
        )
    from monitor.sinks.clips import Clips

    folder = of.state_dir / settings.path
    return Clips(settings, folder, of.past, of.sample_rate, of.clock.utc)


def _status(of: ServiceContext) -> Sink:
    from monitor.sinks.status_socket import StatusSocket, server_path

    path = server_path(of.config.status.socket, of.state_dir, of.environ)
    tracker = StatusTracker(of.snapshot_settings, of.daemon, of.clock)
    return StatusSocket(tracker, path)


def _metrics(of: ServiceContext) -> Sink | None:
    settings = of.config.metrics
    if settings.listen is None:
        return None
    require_extra("metrics", "prometheus_client", "metrics")
    from monitor.sinks.metrics import Metrics

    tracker = StatusTracker(of.snapshot_settings, of.daemon, of.clock)
    return Metrics(settings, tracker, of.clock.monotonic, of.environ)


def _canary(of: ServiceContext) -> Sink | None:
    if of.classifier is None:
        return None
    from monitor.runtime.canary import build_canary

    return build_canary(of.config, of.classifier, of.past, of.desk, of.clock)


KINDS: Mapping[str, Kind] = {
    "mqtt": Kind(
        lambda of: (of.stamp("mqtt"), of.sources, of.labels, of.sample_rate), _mqtt
    ),
    "heartbeat": Kind(lambda of: of.stamp("heartbeat"), _heartbeat),
    "status": Kind(lambda of: (of.config.status, of.snapshot_settings), _status),
    "metrics": Kind(lambda of: (of.stamp("metrics"), of.snapshot_settings), _metrics),
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
