"""The connection to brokers that take or send little, or speak MQTT 3.1.1 only."""

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from monitor.config.outputs import MqttSettings
from monitor.sinks.alerts.hooks import Refused
from monitor.sinks.mqtt import limits
from monitor.sinks.mqtt.connection import MAX_PACKET_BYTES, BrokerConnection, Message
from monitor.sinks.mqtt.limits import MAX_WAITING_BYTES, MESSAGE_BYTES, WaitingLimit
from tests.sinks.alerts.test_mqtt import hook
from tests.sinks.mqtt.test_states import ONLINE, SIREN, publishing, states
from tests.support.alerts import alert
from tests.support.broker import (
    needs_mosquitto,
    running_broker,
    subscribed,
    wait_until,
)
from tests.support.timed import onset, statistics

PICTURE = "sound-monitor/street/picture"
SMALL = "max_packet_size 20000"


@needs_mosquitto
@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_picture_that_the_broker_does_not_take_costs_nothing_else(
    tmp_path: Path, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if version != "5":
        take = BrokerConnection._take_answer
        monkeypatch.setattr(
            BrokerConnection, "_take_answer", lambda it, code, _: take(it, code, None)
        )
    picture = tmp_path / "clip.png"
    with (
        running_broker(tmp_path, SMALL) as broker,
        subscribed(broker) as subscriber,
        publishing(broker) as sink,
    ):
        subscriber.wait_for(ONLINE, "online")
        picture.write_bytes(b"a" * 30_000)
        sink.show_picture("street", picture)
        wait_until(lambda: not sink._states._pictures)
        sink.write([onset()])
        subscriber.wait_for(SIREN, "ON")
        subscriber.wait_for(ONLINE, "online")
        assert sink._connection.connections == (1 if version == "5" else 2)
        picture.write_bytes(b"b")
        sink.show_picture("street", picture)
        subscriber.wait_for(PICTURE, "b")
        wait_until(lambda: not sink._connection.unacknowledged)
    assert subscriber.payloads(PICTURE) == ["b"]
    assert subscriber.qos[PICTURE] == 0


@needs_mosquitto
def test_a_description_that_the_broker_does_not_take_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    labels = [f"label-{number}" for number in range(100)]
    with (
        running_broker(tmp_path, SMALL) as broker,
        subscribed(broker) as subscriber,
        publishing(broker, labels=labels),
    ):
        subscriber.wait_for(ONLINE, "online")
    assert caplog.text.count("takes messages of 20000 bytes at most") == 1


@needs_mosquitto
def test_an_alert_that_the_broker_does_not_take_is_refused(tmp_path: Path) -> None:
    large = alert(1, text="a" * 30_000)
    with running_broker(tmp_path, SMALL) as broker:
        assert isinstance(hook(broker.port).deliver(large), Refused)


@needs_mosquitto
def test_large_messages_of_others_are_not_received(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large, siren = "a" * (MAX_PACKET_BYTES + 1), "sound-monitor/label/siren/sensitivity"
    with running_broker(tmp_path) as broker, subscribed(broker) as subscriber:
        subscriber.publish("sound-monitor/zz/label/a", large)
        with publishing(broker, may_change=["mute", "sensitivity"]):
            subscriber.wait_for(ONLINE, "online")
            for _ in range(30):
                subscriber.client.publish("sound-monitor/mute/set", large, qos=1)
            subscriber.client.publish(f"{siren}/set", "loud", qos=1)
            wait_until(lambda: "siren/sensitivity/set changed nothing" in caplog.text)
    assert "mute/set" not in caplog.text


def test_an_old_broker_is_spoken_to_in_its_own_version(tmp_path: Path) -> None:
    published: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_serve_old, args=(listener, published))
        server.start()
        sink = states(listener.getsockname()[1], tmp_path, host="127.0.0.1")
        sink.report(statistics("street"))
        wait_until(lambda: any(b"availabilityonline" in it for it in published))
        sink.close()
        server.join(20)


def _serve_old(listener: socket.socket, published: list[bytes]) -> None:
    """Be a broker of MQTT 3.1.1: refuse one connection and accept two."""
    for version in (5, 4, 4):
        connection: Any
        connection, _ = listener.accept()
        with connection, connection.makefile("rb") as packets:
            while kind := packets.read(1):
                packet = packets.read(_length(packets))
                if kind[0] >> 4 == 1:  # CONNECT
                    assert packet[6] == version
                    connection.sendall(bytes([0x20, 2, 0, version == 5]))
                elif kind[0] >> 4 == 3:  # PUBLISH
                    end = 2 + int.from_bytes(packet[:2], "big")
                    published.append(packet[2:end] + packet[end + 2 :])
                    connection.sendall(b"\x40\x02" + packet[end : end + 2])
                elif kind[0] >> 4 == 8:  # SUBSCRIBE
                    connection.sendall(b"\x90\x03" + packet[:2] + b"\x01")


def _length(packets: Any) -> int:
    length = shift = 0
    while True:
        (byte,) = packets.read(1)
        length |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return length


def test_the_messages_that_wait_are_bounded_in_bytes() -> None:
    limit, most = WaitingLimit(), MAX_WAITING_BYTES // (1000 + MESSAGE_BYTES)
    topic, text = "t" * 500, "x" * 500
    retained = [limit.takes(topic, text, is_retained=True) for _ in range(most)]
    assert sum(retained) == most // 2
    new = [limit.takes(topic, text, is_retained=False) for _ in range(most)]
    assert sum(retained) + sum(new) == most
    assert not WaitingLimit().takes("t" * 60_000, "", is_retained=False)


@needs_mosquitto
def test_what_waits_in_a_connection_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_WAITING_BYTES", 3 * (MESSAGE_BYTES + 10))
    with running_broker(tmp_path) as broker:
        settings = MqttSettings(host="localhost", port=broker.port)
        connection = BrokerConnection(settings, "mqtt", {})
        connection.open(5)
        connection.subscribe("a")
        connection.publish(Message("a", f"{number}") for number in range(10))
        connection.wait_acknowledged(5)
        connection.publish([Message("a", "late")])
        connection.wait_acknowledged(5)
        wait_until(lambda: len(connection._received) == 3)
        assert [it.payload for it in connection.take_received()] == ["0", "1", "2"]
        connection.close()
