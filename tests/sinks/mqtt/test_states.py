"""The states of labels and sources, on a real MQTT broker."""

import json
import logging
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.config.outputs import MqttSettings
from monitor.records import EVERY_SOURCE
from monitor.sinks.mqtt.connection import Message
from monitor.sinks.mqtt.discovery import Described
from monitor.sinks.mqtt.requests import Requests
from monitor.sinks.mqtt.states import MqttStates
from monitor.sinks.status_client import Document
from monitor.sinks.status_requests import Commands
from monitor.statistics import Trouble
from monitor.text import utc_text
from tests.support.broker import (
    Broker,
    needs_mosquitto,
    running_broker,
    subscribed,
    wait_until,
)
from tests.support.clock import FakeClock
from tests.support.timed import LABELS, event, frame, onset, statistics

SIREN = "sound-monitor/street/label/siren"
ONLINE = "sound-monitor/availability"
STREET = "sound-monitor/street/availability"


def states(
    port: int,
    folder: Path,
    *,
    clock: FakeClock | None = None,
    sources: Sequence[str] = ("street",),
    labels: Sequence[str] = LABELS,
    database: Path | None = None,
    commands: Commands = lambda *_: {},
    mutes: Callable[[], Sequence[Document]] = tuple,
    has_rules: bool = True,
    **settings: Any,
) -> MqttStates:
    section = {"host": "localhost", "port": port, "every_seconds": 10, **settings}
    mqtt = MqttSettings.model_validate(section, strict=False)
    by_source = dict.fromkeys(sources, labels)
    described = Described(
        installation="",
        model="urban",
        labels=by_source,
        calibrated=(),
        counts=database is not None,
        pictures=False,
        requests=mqtt.may_change,
        page=None,
    )
    sensitivities = dict.fromkeys(labels, 0.5)
    clock = clock or FakeClock()
    rules = ["night"] if has_rules else []
    return MqttStates(
        mqtt,
        described,
        Requests(mqtt.may_change, commands, rules, mutes, clock.utc, sensitivities),
        sample_rate=44_100,
        state_dir=folder / "state",
        database=database,
        clock=clock,
        environ={},
        claim_seconds=0.2,
    )


@contextmanager
def publishing(broker: Broker, **settings: Any) -> Iterator[MqttStates]:
    sink = states(broker.port, settings.pop("folder", broker.folder), **settings)
    try:
        sink.report(statistics(*settings.get("sources", ["street"])))
        yield sink
    finally:
        sink.close()


def break_connection(sink: MqttStates) -> None:
    client = sink._connection._client
    assert client is not None
    connection = client.socket()
    assert isinstance(connection, socket.socket)
    connection.shutdown(socket.SHUT_RDWR)


@needs_mosquitto
def test_a_label_is_on_from_its_onset_to_its_event(tmp_path: Path) -> None:
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(broker) as sink,
    ):
        subscriber.wait_for(ONLINE, "online")
        sink.write([onset()])
        subscriber.wait_for(SIREN, "ON")
        sink.write([event()])
        subscriber.wait_for(SIREN, "OFF")
    assert subscriber.payloads(SIREN) == ["OFF", "ON", "OFF"]
    assert subscriber.qos[SIREN] == 1


@needs_mosquitto
def test_later_subscribers_get_the_states_too(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, publishing(broker) as sink:
        sink.write([onset()])
        with subscribed(broker) as early:
            early.wait_for(SIREN, "ON")
        with subscribed(broker) as late:
            late.wait_for(SIREN, "ON")
            late.wait_for(ONLINE, "online")
            assert all(retained for _, _, retained in late.messages)


@needs_mosquitto
def test_at_the_end_the_monitor_is_offline(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, subscribed(broker) as subscriber:
        with publishing(broker) as sink:
            subscriber.wait_for(ONLINE, "online")
            sink.write([onset()])
            sink.write([event()])
        subscriber.wait_for(ONLINE, "offline")
        assert subscriber.newest()[SIREN] == "OFF"
        assert subscriber.newest()[STREET] == "offline"


@needs_mosquitto
def test_after_a_broken_connection_the_monitor_is_offline_and_then_online_again(
    tmp_path: Path,
) -> None:
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(broker) as sink,
    ):
        subscriber.wait_for(ONLINE, "online")
        break_connection(sink)
        wait_until(lambda: len(subscriber.payloads(ONLINE)) >= 3)
    assert subscriber.payloads(ONLINE)[:3] == ["online", "offline", "online"]


@needs_mosquitto
def test_a_broker_that_was_away_gets_the_newest_states(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        broker.stop()
        with publishing(broker) as sink:
            for _ in range(10_000):
                sink.write([onset()])
                sink.write([event()])
            sink.write([onset(label="dog_bark")])
            broker.start()
            with subscribed(broker) as subscriber:
                subscriber.wait_for(SIREN, "OFF")
                subscriber.wait_for("sound-monitor/street/label/dog_bark", "ON")
                subscriber.wait_for(ONLINE, "online")
                count = len(subscriber.messages)
    assert count < 200


@needs_mosquitto
def test_a_broker_that_restarts_without_memory_gets_everything_again(
    tmp_path: Path,
) -> None:
    with running_broker(tmp_path) as broker, publishing(broker) as sink:
        with subscribed(broker) as subscriber:
            sink.write([onset()])
            subscriber.wait_for(SIREN, "ON")
        broker.stop()
        broker.start()
        with subscribed(broker) as subscriber:
            subscriber.wait_for(SIREN, "ON")
            subscriber.wait_for(ONLINE, "online")
            wait_until(lambda: any("config" in t for t in subscriber.newest()))


class FakeConnection:
    """A connection whose broker acknowledges when the test says so."""

    is_connected = True
    connections = 1
    target = "mqtt://broker"
    problem = ""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.pending = 0
        self.looks = 0

    @property
    def unacknowledged(self) -> int:
        self.looks += 1
        return self.pending

    def publish(self, messages: Iterable[Message]) -> None:
        self.messages += messages

    def open(self, seconds: float) -> None:
        pass

    def start(self, *settings: object) -> None:
        pass

    def subscribe(self, *filters: str) -> None:
        pass

    def take_received(self) -> list[Message]:
        return []

    def wait_received(self, is_enough: object, seconds: float) -> list[Message]:
        return []

    def wait_acknowledged(self, seconds: float) -> None:
        pass

    def close(self) -> None:
        pass


def test_only_the_newest_state_follows_what_is_not_acknowledged(tmp_path: Path) -> None:
    sink, connection = states(1, tmp_path), FakeConnection()
    sink._connection = connection

    def published() -> list[str]:
        return [each.payload for each in connection.messages if each.topic == SIREN]

    sink.report(statistics("street"))
    wait_until(lambda: published() == ["OFF"])
    connection.pending = 1
    looks = connection.looks + 2
    wait_until(lambda: connection.looks >= looks)
    sink.write([onset()])
    connection.connections = 2
    looks = connection.looks + 2
    wait_until(lambda: connection.looks >= looks)
    assert published() == ["OFF"]
    sink.write([event()])
    sink.write([onset()])
    connection.pending = 0
    wait_until(lambda: len(published()) == 2)
    sink.close()
    assert published() == ["OFF", "ON"]


@needs_mosquitto
def test_a_state_in_flight_at_a_restart_does_not_replace_a_newer_one(
    tmp_path: Path,
) -> None:
    with running_broker(tmp_path) as broker, publishing(broker) as sink:
        with subscribed(broker) as subscriber:
            subscriber.wait_for(ONLINE, "online")
        broker.freeze()
        sink.write([onset()])
        wait_until(lambda: sink._connection.unacknowledged)
        sink.write([event()])
        broker.stop()
        broker.start()
        with subscribed(broker) as subscriber:
            subscriber.wait_for(ONLINE, "online")
            wait_until(lambda: sink.queues == {"mqtt-states": 0})
            wait_until(lambda: not sink._connection.unacknowledged)
            subscriber.catch_up()
            assert subscriber.newest()[SIREN] == "OFF"


@needs_mosquitto
def test_levels_and_health_are_published_at_intervals_and_troubles_at_once(
    tmp_path: Path,
) -> None:
    clock = FakeClock()
    level, health = "sound-monitor/street/level", "sound-monitor/street/health"
    with running_broker(tmp_path) as broker, subscribed(broker) as subscriber:
        sink = states(broker.port, tmp_path, clock=clock)
        try:
            sink.report(statistics("street"))
            subscriber.wait_for(STREET, "online")
            sink.write([frame(level_dbfs=-30), frame(level_dbfs=-30)])
            sink.report(statistics("street", lost_seconds=2))
            clock.advance(10)
            sink.report(statistics("street", lost_seconds=3))
            subscriber.wait_for(level, "-30.0")
            wait_until(lambda: len(subscriber.payloads(health)) == 2)
            sink.report(statistics("street", state="waiting", lost_seconds=3))
            subscriber.wait_for(STREET, "offline")
        finally:
            sink.close()
    published = [json.loads(payload) for payload in subscriber.payloads(health)]
    assert [each["lost_seconds"] for each in published] == [0, 3, 3]
    assert [each["state"] for each in published] == [
        "listening",
        "listening",
        "waiting",
    ]


@needs_mosquitto
def test_a_trouble_is_a_problem_of_its_source_until_it_is_cleared(
    tmp_path: Path,
) -> None:
    problem, health = (f"sound-monitor/street/{it}" for it in ("problem", "health"))
    clipping = Trouble("street", "clipping", None, "")
    disk = Trouble(EVERY_SOURCE, "disk", None, "")
    elsewhere = Trouble("yard", "deaf", None, "")
    well = statistics("street")
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(broker) as sink,
    ):
        subscriber.wait_for(problem, "OFF")
        sink.report(replace(well, troubles=(clipping, disk, elsewhere)))
        subscriber.wait_for(problem, "ON")
        wait_until(lambda: "disk" in subscriber.newest().get(health, ""))
        assert json.loads(subscriber.newest()[health])["problems"] == [
            "clipping",
            "disk",
        ]
        sink.report(replace(well, troubles=(elsewhere,)))
        subscriber.wait_for(problem, "OFF")


def test_a_broker_that_closes_the_connection_before_it_accepts_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(20)
        port = listener.getsockname()[1]
        sink = states(port, tmp_path, host="127.0.0.1")
        sink.report(statistics("street"))
        listener.accept()[0].close()
        wait_until(lambda: "did not accept the connection" in caplog.text)
        sink.close()


def test_an_absent_broker_is_logged_once_and_blocks_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    sink = states(1, tmp_path, clock=clock)
    sink.report(statistics("street"))
    sink.write([onset()])
    wait_until(lambda: "no states are published" in caplog.text)
    facts = sink.document
    sink.close()
    assert caplog.text.count("no states are published") == 1
    assert facts["target"] == "mqtt://localhost:1"
    assert facts["problem"] == "no connection to mqtt://localhost:1: Connection refused"
    assert facts["problem_since"] == utc_text(clock.utc())


@needs_mosquitto
def test_connections_that_do_not_last_are_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    with running_broker(tmp_path) as broker:
        sink = states(broker.port, tmp_path, clock=clock)
        with caplog.at_level(logging.INFO):
            sink.report(statistics("street"))
            for count in (1, 2):
                wait_until(lambda n=count: sink._served == n)
                wait_until(lambda: not sink._connection.unacknowledged)
                assert sink.document["connected"]
                break_connection(sink)
                wait_until(lambda: sink.document["problem"])
            wait_until(lambda: sink._served == 3)
            clock.advance(20)
            wait_until(lambda: "published to" in caplog.messages[-1])
        sink.close()
    kinds = [record.levelname for record in caplog.records if "mqtt" in record.name]
    assert kinds == ["INFO", "WARNING", "INFO"]


def test_many_connections_that_do_not_last_are_explained(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sink, connection = states(1, tmp_path), FakeConnection()
    sink._connection = connection
    connection.is_connected, connection.problem = False, "lost"
    sink.report(statistics("street"))
    wait_until(lambda: "no states" in caplog.text)
    assert "copy of" not in caplog.text
    connection.connections = 20
    wait_until(lambda: f"copy of {tmp_path}/state/mqtt.json" in caplog.text)
    sink.close()
    assert caplog.text.count("copy of") == 1
