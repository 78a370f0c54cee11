"""The topics, and the descriptions that Home Assistant gets."""

from typing import Any

import pytest

from monitor.sinks.mqtt.discovery import Topics, discovery, discovery_topic, spoken
from tests.support.home_assistant import device_faults, written_out
from tests.support.timed import LABELS

ODD = ("a b", "a_b", "a/b", "a+b", "#", "straße", "a%b", "犬", "Level", "x" * 63, ".")


def described(
    labels: tuple[str, ...] = LABELS, source: str = "street", installation: str = "ab12"
) -> dict[str, Any]:
    topics = Topics("sound-monitor")
    facts = discovery(topics, installation, "urban", source, labels)
    return dict(written_out(facts))


@pytest.mark.parametrize("labels", [LABELS, ODD])
@pytest.mark.parametrize("source", ["street", "street.2", "Küche"])
def test_home_assistant_accepts_every_description(
    labels: tuple[str, ...], source: str
) -> None:
    topic = discovery_topic("homeassistant", "ab12", source)
    assert device_faults(topic, described(labels, source)) == []


def test_a_source_is_a_device_with_a_sensor_for_each_label_and_three_more() -> None:
    whole = described()
    assert whole["device"]["name"] == "Sound monitor street"
    assert whole["device"]["model"] == "Model urban"
    assert whole["device"]["sw_version"] == whole["origin"]["sw_version"]
    assert len(whole["components"]) == len(LABELS) + 3
    siren = whole["components"]["label_air_conditioner"]
    assert siren["name"] == "Air conditioner"
    assert siren["state_topic"] == "sound-monitor/street/label/air_conditioner"
    entity = "binary_sensor.sound_monitor_street_air_conditioner"
    assert siren["default_entity_id"] == entity


def test_labels_of_any_name_have_topics_and_sensors_of_their_own() -> None:
    topics = {Topics("m").label("street", label) for label in ODD}
    assert len(topics) == len(ODD)
    for topic in topics:
        assert topic.count("/") == 3
        assert not set("+# ") & set(topic)
    components = described(ODD)["components"]
    assert len(components) == len(ODD) + 3
    assert len({each["unique_id"] for each in components.values()}) == len(components)


def test_two_installations_share_no_device_and_no_sensor() -> None:
    ids = [
        {
            each["unique_id"]
            for each in described(installation=it)["components"].values()
        }
        for it in ("ab12", "cd34")
    ]
    assert not ids[0] & ids[1]
    topics = {discovery_topic("ha", it, "street") for it in ("ab12", "cd34")}
    assert len(topics) == 2


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("air_conditioner", "Air conditioner"),
        ("Speech", "Speech"),
        ("dog bark", "Dog bark"),
        ("TV", "TV"),
        ("_", "_"),
    ],
)
def test_labels_are_written_as_people_write_them(label: str, name: str) -> None:
    assert spoken(label) == name
