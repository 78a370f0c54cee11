"""Sinks that only some configurations have, each with a thread of its own."""

from collections.abc import Callable, Mapping, Sequence

from monitor.config import Config
from monitor.errors import ConfigError
from monitor.sinks.alerts.extras import require_extra
from monitor.sinks.sink import Sink


def build_companions(
    config: Config,
    labels: Sequence[str],
    sample_rate: int,
    now: Callable[[], float],
    environ: Mapping[str, str],
) -> list[Sink]:
    """Build what `config` asks for; nothing is connected or started.

    Args:
        config: The configuration.
        labels: Of the model.
        sample_rate: Of the model.
        now: Monotonic seconds.
        environ: Of the process, for secrets.

    Raises:
        ConfigError: A sentence in a line for each that cannot work.
    """
    builders: list[Callable[[], Sink | None]] = [
        lambda: _mqtt(config, labels, sample_rate, now, environ),
        lambda: _heartbeat(config, now, environ),
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


def find_companion_faults(config: Config, environ: Mapping[str, str]) -> list[str]:
    """Say what keeps them from working, a sentence each; nothing is connected."""
    try:
        build_companions(config, [], 1, lambda: 0.0, environ)
    except ConfigError as error:
        return str(error).splitlines()
    return []


def _mqtt(
    config: Config,
    labels: Sequence[str],
    sample_rate: int,
    now: Callable[[], float],
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
        now=now,
        environ=environ,
    )


def _heartbeat(
    config: Config, now: Callable[[], float], environ: Mapping[str, str]
) -> Sink | None:
    if config.heartbeat.url is None and config.heartbeat.url_secret is None:
        return None
    from monitor.sinks.heartbeat import Heartbeat

    return Heartbeat(config.heartbeat, now, environ)
