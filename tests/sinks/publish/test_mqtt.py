"""What a broker does to the connection of a monitor is explained."""

from pathlib import Path

import pytest

from monitor.sinks.publish.mqtt import SHORT_CONNECTIONS
from tests.support.broker import Broker, needs_mosquitto
from tests.support.clock import wait_until
from tests.support.publishing import (
    Collector,
    mqtt_transport,
    published_store,
    publishing,
)

pytestmark = needs_mosquitto


def test_another_client_with_the_id_is_named(
    path: Path, broker: Broker, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    store = published_store(path)
    with publishing(path, mqtt_transport(broker.port)):
        collector.wait_for("session")
        other = mqtt_transport(broker.port)
        for _ in range(SHORT_CONNECTIONS):
            other.open()
            wait_until(lambda: not other.is_connected)
        wait_until(lambda: "with the id sound-monitor-fleet-yard" in caplog.text)
        other.close()
    store.close()
