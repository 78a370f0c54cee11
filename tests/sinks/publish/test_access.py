"""The access rules of docs/fleet.md keep the monitors of an MQTT broker apart."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from tests.support.broker import documented_broker, needs_mosquitto
from tests.support.clock import wait_until
from tests.support.publishing import (
    collecting,
    mqtt_transport,
    published_store,
    publishing,
)
from tests.support.timed import event

pytestmark = needs_mosquitto


def transport(port: int, monitor: str, user: str) -> Any:
    return mqtt_transport(
        port,
        monitor,
        {"PASSWORD": f"of {user}"},
        username=user,
        password="env:PASSWORD",
    )


def test_a_monitor_publishes_and_answers_under_its_own_name_alone(
    tmp_path: Path, path: Path
) -> None:
    store = published_store(path)
    store.write([event(number=1)])
    with (
        documented_broker(tmp_path) as broker,
        collecting(
            broker.port, username="collector", password="of collector"
        ) as collector,
    ):
        with publishing(path, transport(broker.port, "yard", "yard"), "yard"):
            collector.wait_for("event")
            (epoch,) = collector.epochs
            collector.messages.clear()
            collector.ask("yard", epoch, (1, 2))
            collector.wait_for("event")
        collector.messages.clear()
        as_another = transport(broker.port, "street", "yard")
        store.write([event(number=2)])
        with publishing(path, as_another, "street") as publisher:
            wait_until(lambda: publisher.document["problem"])
            assert "Not authorized" in publisher.document["problem"]
            assert publisher.document["pending"]
        assert not collector.messages
    store.close()


def test_a_monitor_neither_reads_records_nor_asks_others_for_them(
    tmp_path: Path,
) -> None:
    with documented_broker(tmp_path) as broker:
        got: list[str] = []
        answers: list[str] = []
        with (
            listening(broker.port, "street", got) as street,
            listening(broker.port, "yard", []) as yard,
        ):
            yard.on_publish = lambda *facts: answers.append(str(facts[3]))
            yard.publish("sound-monitor-fleet/yard/records", b"{}", qos=1)
            yard.publish("sound-monitor-fleet/street/wanted", b"{}", qos=1)
            wait_until(lambda: len(answers) == 2)
            street.publish("sound-monitor-fleet/street/records", b"{}", qos=1)
        assert answers[1] == "Not authorized"
        assert not got


@contextmanager
def listening(port: int, user: str, got: list[str]) -> Iterator[paho.Client]:
    """A client that signs in as a monitor and subscribes to everything."""
    client = paho.Client(
        CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5
    )
    client.username_pw_set(user, f"of {user}")
    client.on_message = lambda _client, _data, message: got.append(message.topic)
    client.connect("127.0.0.1", port)
    client.loop_start()
    wait_until(client.is_connected)
    client.subscribe("#", qos=1)
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()
