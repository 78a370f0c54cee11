"""The subscription of a collector to the records of all monitors."""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from monitor.config.publish import MONITOR, FleetBroker
from monitor.extras import require_extra
from monitor.fleet.collect.database import Arrival


class Subscription(Protocol):
    """A subscription to the records of all monitors; used by one thread."""

    @property
    def is_connected(self) -> bool:
        """Whether messages are received."""

    def receive(self, most: int, seconds: float) -> list[Arrival]:
        """Wait up to `seconds` for messages; return up to `most`.

        While the broker is away, it returns none, and logs that once.
        """

    def acknowledge(self, arrivals: Sequence[Arrival]) -> None:
        """Tell the broker that messages are stored, so that it forgets them."""

    def send_wanted(self, monitor: str, payload: bytes) -> None:
        """Ask a monitor for records; a request that is lost is made again later."""

    def close(self) -> None:
        """Leave; what is not acknowledged is sent to another collector, or again."""


def monitor_of_topic(level: str) -> str:
    """The monitor that a level of a topic names; empty: none can have that name."""
    return level if re.fullmatch(MONITOR, level) else ""


def option_of(key: str) -> str:
    """The option of `collect` that gives a setting of the broker."""
    return f"--{key.replace('_', '-')}"


def open_subscription(broker: FleetBroker, environ: Mapping[str, str]) -> Subscription:
    """Begin to connect to a broker.

    Raises:
        ConfigError: An extra, a secret or a file is missing or of the wrong form.
    """
    if broker.is_mqtt:
        require_extra("fleet", "paho", "--broker")
        from monitor.fleet.collect.mqtt import MqttSubscription

        return MqttSubscription(broker, environ)
    require_extra("fleet", "nats", "--broker")
    from monitor.fleet.collect.nats import NatsSubscription

    return NatsSubscription(broker, environ)
