"""Services: sinks that only some configurations have, each with a thread of its own."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from monitor import __version__
from monitor.clock import Clock
from monitor.config.config import Config
from monitor.errors import ConfigError
from monitor.extras import require_extra
from monitor.runtime.health import HealthReport, HealthReports
from monitor.sinks.live_readers import LiveReaders
from monitor.sinks.recent import Recent
from monitor.sinks.sink import Sink
from monitor.sinks.status_client import Document
from monitor.sinks.status_requests import Commands
from monitor.sinks.status_snapshot import DaemonFacts, SnapshotSettings, StatusTracker

# `check` builds services too, and does without numpy and torch.
if TYPE_CHECKING:
    from monitor.audio.timeline import Timeline
    from monitor.model.models import Models
    from monitor.sinks.clip_files import ClipFollower
    from monitor.sinks.live import ColumnFormat
    from monitor.sinks.mqtt.states import MqttStates
    from monitor.sinks.publish.publisher import Publisher, Transport


@dataclass(frozen=True, slots=True)
class ServiceContext:
    """The facts that services are built from."""

    config: Config
    labels: Mapping[str, Sequence[str]]
    """By source, the labels that are reported."""

    sample_rate: int
    """Samples a second of the leading model."""

    clock: Clock
    state_dir: Path
    """Folder for the files that the monitor writes."""

    environ: Mapping[str, str]
    """Environment variables of the process, for secrets."""

    timelines: "Mapping[str, Timeline]" = field(default_factory=dict)
    """Timelines by source; filled when the sources are opened."""

    daemon: DaemonFacts = field(default_factory=DaemonFacts)
    """Facts of the main thread, for the status document."""

    models: "Models | None" = None
    """The models in use; None: the canary is left out."""

    reports: HealthReports = field(default_factory=HealthReports)
    """Takes what services find out about health."""

    commands: Commands | None = None
    """Does what clients of the status socket ask for; None: no command is known."""

    mutes: Callable[[], Sequence[Document]] = tuple
    """Returns the mutes of the alert rules, for the status document.  Any thread."""

    readers: LiveReaders = field(default_factory=LiveReaders)
    """The readers of the live feed."""

    recent: Recent = field(default_factory=Recent)
    """The newest levels and columns."""

    explain: Callable[[bool], None] = lambda _: None
    """Has score frames come with their candidates, or without."""

    clip_followers: "list[ClipFollower]" = field(default_factory=list)
    """Called with each clip that is stored."""

    published: "list[Publisher]" = field(default_factory=list)
    """The one that publishes the records for a fleet, if there is one."""

    states: "list[MqttStates]" = field(default_factory=list)
    """The one that publishes the states, if there is one."""

    @property
    def database(self) -> Path | None:
        """The database; None: there is none."""
        store = self.config.store.path
        return None if store is None else self.state_dir / store

    @property
    def sources(self) -> tuple[str, ...]:
        """Names of all sources."""
        return tuple(source.name for source in self.config.sources)


ServiceFactory = Callable[[ServiceContext], Sink | None]
"""Builds a service without starting it; None: the configuration does not ask for it."""


def build_services(context: ServiceContext) -> list[Sink]:
    """Build what the configuration asks for; nothing is connected, written or started.

    Raises:
        ConfigError: A sentence in a line for each that cannot work.
    """
    services: list[Sink] = []
    faults: list[str] = []
    for build in FACTORIES:
        try:
            service = build(context)
        except ConfigError as error:
            faults += str(error).splitlines()
        else:
            services += [] if service is None else [service]
    if faults:
        raise ConfigError("\n".join(faults))
    return services


def _mqtt(context: ServiceContext) -> Sink | None:
    if context.config.mqtt.host is None:
        return None
    require_extra("mqtt", "paho", "mqtt")
    from monitor.sinks.mqtt.discovery import Described, every_label
    from monitor.sinks.mqtt.requests import Requests
    from monitor.sinks.mqtt.states import MqttStates

    config, settings, store = context.config, context.config.mqtt, context.database
    described = Described(
        installation="",
        model="" if context.models is None else context.models.name,
        labels=context.labels,
        calibrated=[it.name for it in config.sources if it.level_offset_db],
        counts=store is not None,
        pictures=config.privacy == "clips",
        requests=settings.may_change,
        page=settings.page_url,
    )
    sensitivity_of = config.detection.sensitivity_of
    requests = Requests(
        settings.may_change,
        context.commands or (lambda *_: {}),
        [rule.name for rule in config.alerts],
        context.mutes,
        context.clock.utc,
        {label: sensitivity_of(label) for label in every_label(context.labels)},
    )
    states = MqttStates(
        settings,
        described,
        requests,
        sample_rate=context.sample_rate,
        state_dir=context.state_dir,
        database=store,
        clock=context.clock,
        environ=context.environ,
    )
    context.clip_followers.append(states.show_picture)
    context.states.append(states)
    return states


def _publish(context: ServiceContext) -> Sink | None:
    settings, database = context.config.publish, context.database
    if settings.url is None or database is None:
        return None
    monitor = settings.monitor_id
    transport: Transport
    if settings.is_mqtt:
        require_extra("mqtt", "paho", "publish")
        from monitor.sinks.publish.mqtt import MqttTransport

        transport = MqttTransport(settings, monitor, context.environ)
    else:
        require_extra("nats", "nats", "publish")
        from monitor.sinks.publish.nats import NatsTransport

        transport = NatsTransport(settings, monitor, context.environ)
    from monitor.sinks.publish.publisher import Publisher

    publisher = Publisher(
        monitor,
        database,
        transport,
        settings.digest_seconds,
        _tracker(context),
        context.clock,
        lambda state, detail: context.reports.post(
            HealthReport("publish", state, detail)
        ),
        settings.site,
    )
    context.published.append(publisher)
    return publisher


def published(config: Config) -> str | None:
    """Return what is published of each session besides its row; None: nothing is."""
    settings = config.publish
    if settings.url is None:
        return None
    about = {"version": __version__, "site": settings.site, "scores": settings.scores}
    return json.dumps(about)


def _heartbeat(context: ServiceContext) -> Sink | None:
    settings = context.config.heartbeat
    if settings.url is None and settings.url_secret is None:
        return None
    from monitor.sinks.heartbeat import Heartbeat

    return Heartbeat(settings, context.clock.monotonic, context.environ)


def _clips(context: ServiceContext) -> Sink | None:
    if context.config.privacy != "clips":
        return None
    settings = context.config.clips
    from monitor.sinks.clips import Clips

    return Clips(
        settings,
        context.state_dir / settings.path,
        context.timelines,
        context.sample_rate,
        context.clock,
        context.database,
        lambda kind, detail: context.reports.post(
            HealthReport(kind, "raised" if detail else "cleared", detail)
        ),
        context.clip_followers,
    )


def _status(context: ServiceContext) -> Sink:
    from monitor.sinks.status_client import server_path
    from monitor.sinks.status_socket import StatusSocket

    socket = context.config.status.socket
    path = server_path(socket, context.state_dir, context.environ)
    follow, recent = context.readers.add, context.recent.document
    return StatusSocket(_tracker(context), path, context.commands, follow, recent)


def _live(context: ServiceContext) -> Sink:
    from monitor.sinks.live import LiveSink

    return LiveSink(
        context.labels,
        _tracker(context),
        context.readers,
        context.recent,
        context.timelines,
        lambda: _column_format(context),
        context.clock,
        context.explain,
    )


def _column_format(context: ServiceContext) -> "ColumnFormat":
    """Load the making of columns, which needs numpy."""
    from monitor.audio.columns import band_centres
    from monitor.audio.timeline_columns import TimelineColumns
    from monitor.sinks.live import ColumnFormat

    rate, timelines = context.sample_rate, context.timelines
    return ColumnFormat(
        rate,
        band_centres(rate),
        lambda source: TimelineColumns(timelines[source]),
    )


def _metrics(context: ServiceContext) -> Sink | None:
    settings = context.config.metrics
    if settings.listen is None:
        return None
    require_extra("metrics", "prometheus_client", "metrics")
    from monitor.sinks.metrics import Metrics

    now = context.clock.monotonic
    return Metrics(settings, _tracker(context), now, context.environ)


def _tracker(context: ServiceContext) -> StatusTracker:
    config, path = context.config, context.config.store.path
    settings = SnapshotSettings(
        context.state_dir,
        None if path is None else context.state_dir / path,
        tuple(name for rule in config.alerts for name in rule.endpoints),
        config.model.compute_device,
        config.weighted_units,
    )
    return StatusTracker(
        settings,
        context.daemon,
        context.clock,
        context.mutes,
        lambda: next((each.document for each in context.published), None),
        lambda: next((each.document for each in context.states), None),
    )


def _canary(context: ServiceContext) -> Sink | None:
    config = context.config
    live = [source.name for source in config.sources if source.is_live]
    if context.models is None or config.canary.every_seconds is None or not live:
        return None
    from monitor.runtime.canary import Canary
    from monitor.runtime.canary_trial import Chain

    chain = Chain.of(config, context.models)
    timelines, reports, clock = context.timelines, context.reports, context.clock
    return Canary(config.canary, live, chain, timelines, reports, clock)


def _rollout(context: ServiceContext) -> Sink | None:
    settings = context.config.rollout
    if settings.url is None:
        return None
    require_extra("rollout", "cryptography", "rollout")
    from monitor.runtime.bundle_check import check_installed
    from monitor.runtime.rollout import Rollout, RolloutContext
    from monitor.runtime.rollout_state import bundle_folder

    commands = context.commands or (lambda *_: {})
    return Rollout(
        settings,
        RolloutContext(
            context.config.publish.monitor_id,
            bundle_folder(context.state_dir),
            context.daemon,
            context.reports,
            lambda: commands("reload", {}),
            check_installed({**context.environ, **context.daemon.command_environ}),
            context.clock.monotonic,
        ),
    )


FACTORIES: Sequence[ServiceFactory] = (
    _mqtt,
    _publish,
    _heartbeat,
    _status,
    _live,
    _metrics,
    _clips,
    _canary,
    _rollout,
)
