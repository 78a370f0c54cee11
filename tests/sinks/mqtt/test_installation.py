"""The installation on a real broker: its topics, and what it leaves or removes."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from monitor.sinks.mqtt.connection import Message
from monitor.sinks.mqtt.installation import (
    Installation,
    read_installation,
    write_installation,
)
from monitor.sinks.mqtt.states import MqttStates
from tests.sinks.mqtt.test_states import (
    ONLINE,
    SIREN,
    FakeConnection,
    publishing,
    states,
)
from tests.support.broker import (
    Broker,
    Subscriber,
    needs_mosquitto,
    running_broker,
    subscribed,
    wait_until,
)
from tests.support.home_assistant import device_faults, written_out
from tests.support.timed import onset, statistics


@contextmanager
def settled(broker: Broker, **settings: Any) -> Iterator[tuple[MqttStates, Subscriber]]:
    """A monitor that has published and removed everything that it wants to."""
    with publishing(broker, **settings) as sink, subscribed(broker) as subscriber:
        wait_until(lambda: sink._is_settled)
        yield sink, subscriber


def kept(broker: Broker) -> dict[str, str]:
    """All retained messages of the broker, by topic."""
    with subscribed(broker) as subscriber:
        subscriber.publish("fence", "")
        subscriber.wait_for("fence", "")
        return {topic: text for topic, text in subscriber.newest().items() if text}


def devices(retained: dict[str, str]) -> dict[str, Any]:
    return {
        topic: written_out(json.loads(text))
        for topic, text in retained.items()
        if topic.startswith("homeassistant/")
    }


@needs_mosquitto
def test_home_assistant_gets_valid_descriptions_of_topics_that_exist(
    tmp_path: Path,
) -> None:
    with running_broker(tmp_path) as broker, settled(broker):
        retained = kept(broker)
    unknown = {f"sound-monitor/street/{it}" for it in ("level", "laeq", "last")}
    passing = {f"sound-monitor/street/{it}" for it in ("began", "ended")}
    assert len(devices(retained)) == 2
    for topic, device in devices(retained).items():
        assert device_faults(topic, device) == []
        for component in device["components"].values():
            topics = {each["topic"] for each in component.get("availability", ())}
            topics |= {component["state_topic"]} - unknown - passing
            assert topics <= set(retained)


@needs_mosquitto
@pytest.mark.parametrize(
    ("changes", "gone"),
    [
        ({"labels": ["dog_bark"]}, "sound-monitor/street/label/siren"),
        ({"sources": ["yard"]}, "sound-monitor/street/health"),
        ({"topic": "home/sounds"}, "sound-monitor/availability"),
        ({"discovery_prefix": None}, "homeassistant/"),
    ],
)
def test_what_an_earlier_run_has_left_is_removed(
    tmp_path: Path, changes: dict[str, Any], gone: str
) -> None:
    with running_broker(tmp_path) as broker:
        with settled(broker) as (sink, _):
            sink.write([onset()])
        with settled(broker, **changes):
            retained = kept(broker)
    assert not [topic for topic in retained if topic.startswith(gone)]


@needs_mosquitto
def test_a_sensor_of_a_label_that_is_gone_is_removed_and_then_omitted(
    tmp_path: Path,
) -> None:
    with running_broker(tmp_path) as broker, subscribed(broker) as subscriber:
        with settled(broker):
            pass
        with settled(broker, labels=["siren"]):
            subscriber.catch_up()
    topic = next(t for t in subscriber.newest() if t.endswith("-street/config"))
    texts = subscriber.payloads(topic)
    first, removing, last = (json.loads(text)["cmps"] for text in texts)
    assert set(removing) == set(first)
    assert removing["label_dog_bark"] == {"p": "binary_sensor"}
    assert removing["label_siren"] == last["label_siren"] == first["label_siren"]
    assert "label_dog_bark" not in last


@needs_mosquitto
def test_the_sensors_of_earlier_versions_are_removed(tmp_path: Path) -> None:
    former = {
        f"homeassistant/{kind}/sound-monitor_street_76eee99d/"
        f"sound-monitor_street_76eee99d_{name}/config": "{}"
        for kind, name in (("binary_sensor", "gone"), ("sensor", "Level"))
    }
    states = {"sound-monitor/street/label/gone": "OFF", SIREN: "OFF"}
    others = {"sound-monitor/street/label/note": "mine", "other/label/x": "ON"}
    with running_broker(tmp_path) as broker:
        with subscribed(broker) as subscriber:
            for topic, text in {**former, **states, **others}.items():
                subscriber.publish(topic, text)
            wait_until(lambda: set(former) <= set(subscriber.newest()))
        with settled(broker):
            retained = kept(broker)
    assert not set(former) & set(retained)
    assert "sound-monitor/street/label/gone" not in retained
    assert retained.items() >= others.items()


@needs_mosquitto
def test_a_second_monitor_with_the_same_topic_gets_topics_of_its_own(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    second = tmp_path / "second"
    with (
        running_broker(tmp_path) as broker,
        settled(broker),
        settled(broker, folder=second) as (sink, subscriber),
    ):
        prefix = f"sound-monitor-{read_installation(second / 'state').id}"
        assert f"publishes under {prefix}" in caplog.text
        sink.write([onset()])
        subscriber.wait_for(f"{prefix}/street/label/siren", "ON")
        subscriber.wait_for(f"{prefix}/availability", "online")
        assert subscriber.newest()[SIREN] == "OFF"
        assert len(devices(subscriber.newest())) == 4


@needs_mosquitto
def test_a_machine_that_is_set_up_again_gets_its_topic_back(tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        with settled(broker):
            before = devices(kept(broker))
        (broker.folder / "state" / "mqtt.json").unlink()
        with settled(broker):
            after = kept(broker)
    assert after[ONLINE] == "online"
    # Those of the former id stay: nobody knows whose they are.
    assert len(devices(after)) == 4
    assert devices(after).keys() > before.keys()


@needs_mosquitto
def test_a_claim_that_somebody_has_left_removes_no_other_monitors_devices(
    tmp_path: Path,
) -> None:
    with (
        running_broker(tmp_path) as broker,
        settled(broker, topic="other/sounds", folder=tmp_path / "other"),
    ):
        others = devices(kept(broker))
        claim = {
            "sound-monitor/installation": read_installation(
                tmp_path / "other" / "state"
            ).id,
            "sound-monitor/street/label/siren": "OFF",
        }
        with planted(broker, claim), settled(broker):
            retained = devices(kept(broker))
    assert len(others) == 2
    assert retained.items() >= others.items()


@needs_mosquitto
def test_topics_that_another_monitor_has_taken_over_are_left_to_it(
    tmp_path: Path,
) -> None:
    with running_broker(tmp_path) as broker:
        with settled(broker):
            pass
        with (
            settled(broker, folder=tmp_path / "second"),
            settled(broker, topic="home/sounds"),
        ):
            retained = kept(broker)
    assert retained[ONLINE] == "online"
    assert retained[SIREN] == "OFF"
    assert retained["home/sounds/street/label/siren"] == "OFF"


def test_topics_are_remembered_before_they_are_published(tmp_path: Path) -> None:
    remembered: list[set[str]] = []

    class Connection(FakeConnection):
        def publish(self, messages: Iterable[Message]) -> None:
            remembered.append(set(read_installation(tmp_path / "state").retained))
            super().publish(messages)

    sink, connection = states(1, tmp_path), Connection()
    sink._connection = connection
    sink.report(statistics("street"))
    wait_until(lambda: any(it.payload == "online" for it in connection.messages))
    sink.close()
    question, claim, *later = connection.messages
    assert question.topic == "sound-monitor/installation/get"
    assert claim.topic == "sound-monitor/installation"
    assert {each.topic for each in later} <= remembered[2]


@needs_mosquitto
def test_a_folder_that_cannot_be_written_costs_discovery_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "state").write_text("not a folder")
    with running_broker(tmp_path) as broker, settled(broker) as (sink, subscriber):
        sink.write([onset()])
        subscriber.wait_for(SIREN, "ON")
        assert devices(subscriber.newest()) == {}
    assert caplog.text.count("nothing is described to Home Assistant") == 1


def test_the_id_survives_a_restart_and_belongs_to_one_machine(tmp_path: Path) -> None:
    machine, other = tmp_path / "machine-id", tmp_path / "other"
    machine.write_text("1234\n")
    other.write_text("5678\n")
    first = read_installation(tmp_path, machine)
    write_installation(tmp_path, first)
    assert read_installation(tmp_path, machine) == first
    assert read_installation(tmp_path, other).id != first.id
    assert "1234" not in (tmp_path / "mqtt.json").read_text()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"installation": 3}',
        '{"installation": "#", "machine": ""',
    ],
)
def test_a_damaged_file_begins_anew(tmp_path: Path, text: str) -> None:
    (tmp_path / "mqtt.json").write_text(text)
    found = read_installation(tmp_path, tmp_path / "none")
    assert found == Installation(found.id, "")
    assert len(found.id) == 12


@contextmanager
def planted(broker: Broker, retained: dict[str, str]) -> Iterator[None]:
    """Retained messages of somebody else."""
    with subscribed(broker) as subscriber:
        for topic, text in retained.items():
            subscriber.publish(topic, text)
        wait_until(lambda: set(retained) <= set(subscriber.newest()))
        yield


@needs_mosquitto
@pytest.mark.parametrize(
    "retained",
    [
        {"sound-monitor/installation": "a/#", "sound-monitor/x/label/y": "ON"},
        {f"sound-monitor/x/label/{'é' * 15_000}": "ON"},
        {f"sound-monitor/{'x' * 60_000}/label/y": "ON"},
    ],
)
def test_what_strangers_have_retained_is_no_topic_of_ours(
    tmp_path: Path, retained: dict[str, str]
) -> None:
    with running_broker(tmp_path) as broker, planted(broker, retained):
        with settled(broker) as (sink, _):
            found = read_installation(tmp_path / "state")
            sink.report(statistics("street"))
        assert found.prefix == "sound-monitor"
        assert kept(broker)["sound-monitor/installation"] == found.id
    assert max(map(len, found.retained)) < 1000


@needs_mosquitto
def test_topics_in_the_file_that_no_broker_takes_are_left_out(tmp_path: Path) -> None:
    bad = ("a/#", "", "a\0b", "\ud800", "x" * 70_000, f"a{'é' * 30_000}")
    folder = tmp_path / "state"
    folder.mkdir()
    installation = read_installation(folder)
    retained: dict[str, dict[str, str]] = {topic: {} for topic in (*bad, SIREN)}
    write_installation(folder, replace(installation, retained=retained))
    assert list(read_installation(folder).retained) == [SIREN]
    with running_broker(tmp_path) as broker, settled(broker) as (sink, _):
        sink._connection.publish([Message(topic, "") for topic in bad])
        sink.report(statistics("street"))
        assert sink._connection.is_connected


@needs_mosquitto
@pytest.mark.parametrize("claim", ["evil", "0123456789ab"])
def test_what_is_retained_moves_no_topics(tmp_path: Path, claim: str) -> None:
    with running_broker(tmp_path) as broker:
        with settled(broker):
            pass
        stolen = {
            "sound-monitor/installation": claim,
            "sound-monitor/installation/get": "",
            ONLINE: "online",
            **{f"sound-monitor/x{n}/label/y": "ON" for n in range(100)},
        }
        with planted(broker, stolen), settled(broker):
            retained = kept(broker)
    installation = read_installation(tmp_path / "state")
    assert retained["sound-monitor/installation"] == installation.id
    assert retained[ONLINE] == "online"
    assert not [topic for topic in retained if topic.startswith("sound-monitor-")]


@needs_mosquitto
def test_the_wanted_topic_is_tried_again_at_each_start(tmp_path: Path) -> None:
    claim = "sound-monitor/installation"
    with running_broker(tmp_path) as broker:
        with settled(broker, folder=tmp_path / "other"), settled(broker):
            assert any(it.startswith("sound-monitor-") for it in kept(broker))
        with settled(broker):
            assert any(it.startswith("sound-monitor-") for it in kept(broker))
        with planted(broker, {claim: ""}), settled(broker):
            retained = kept(broker)
    assert retained[SIREN] == "OFF"
    assert not [topic for topic in retained if topic.startswith("sound-monitor-")]
