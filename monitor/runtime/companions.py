"""Sinks that only some configurations have, each with a thread of its own."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from monitor.config.config import Config
from monitor.errors import ConfigError
from monitor.runtime.clock import Clock
from monitor.runtime.past import Past
from monitor.sinks.alerts.extras import require_extra
from monitor.sinks.sink import Sink


def build_companions(
    config: Config,
    *,
    labels: Sequence[str],
    sample_rate: int,
    clock: Clock,
    past: Past,
    state_dir: Path,
    environ: Mapping[str, str],
) -> list[Sink]:
    """Build what `config` asks for; nothing is connected, written or started.

    Args:
        config: The configuration.
        labels: Of the model.
        sample_rate: Of the model.
        clock: Of the machine.
        past: The sound of the sources, for clips.
        state_dir: Folder for what the monitor writes.
        environ: Of the process, for secrets.

    Raises:
        ConfigError: A sentence in a line for each that cannot work.
    """
    builders: list[Callable[[], Sink | None]] = [
        lambda: _mqtt(config, labels, sample_rate, clock, environ),
        lambda: _heartbeat(config, clock, environ),
        lambda: _clips(config, labels, sample_rate, clock, past, state_dir),
    ]
    sinks: list[Sink] = []
    faults: list[str] = []
    for build in builders:
        try:
            sink = build()
        except ConfigError as error:
            faults += str(error).splitlines()
        else:
            sinks += [] if sink is None else [sink]
    if faults:
        raise ConfigError("\n".join(faults))
    return sinks


def _mqtt(
    config: Config,
    labels: Sequence[str],
    sample_rate: int,
    clock: Clock,
    environ: Mapping[str, str],
) -> Sink | None:
    if config.mqtt.host is None:
        return None
    require_extra("mqtt", "paho", "mqtt")
    from monitor.sinks.mqtt.states import MqttStates

    return MqttStates(
        config.mqtt,
        [source.name for source in config.sources],
        labels,
        sample_rate=sample_rate,
        now=clock.monotonic,
        environ=environ,
    )


def _heartbeat(config: Config, clock: Clock, environ: Mapping[str, str]) -> Sink | None:
    if config.heartbeat.url is None and config.heartbeat.url_secret is None:
        return None
    from monitor.sinks.heartbeat import Heartbeat

    return Heartbeat(config.heartbeat, clock.monotonic, environ)


def _clips(
    config: Config,
    labels: Sequence[str],
    sample_rate: int,
    clock: Clock,
    past: Past,
    state_dir: Path,
) -> Sink | None:
    if config.privacy != "clips":
        return None
    unknown = [label for label in config.clips.labels if label not in labels]
    if unknown:
        raise ConfigError(
            f"clips.labels: {unknown[0]!r} is not a label of the model; choose from "
            f"{', '.join(labels)}"
        )
    from monitor.sinks.clips.clips import Clips

    folder = state_dir / config.clips.path
    return Clips(config.clips, folder, past, sample_rate, clock.utc)
