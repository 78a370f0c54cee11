"""The topics, and the descriptions that Home Assistant gets."""

from dataclasses import replace
from typing import Any

import pytest

from monitor.sinks.mqtt.discovery import (
    Described,
    describe_monitor,
    describe_source,
    discovery_topic,
    spoken,
)
from monitor.sinks.mqtt.topics import Topics
from tests.support.home_assistant import device_faults, written_out
from tests.support.timed import LABELS

ODD = ("a b", "a_b", "a/b", "a+b", "#", "straße", "a%b", "犬", "Level", "x" * 63, ".")


def described(
    labels: tuple[str, ...] = LABELS,
    source: str | None = "street",
    installation: str = "ab12",
    **changes: Any,
) -> dict[str, Any]:
    topics = Topics("sound-monitor")
    whole = Described(
        installation=installation,
        model="urban",
        labels={source or "street": labels},
        calibrated=(),
        counts=True,
        pictures=True,
        requests=("mute", "sensitivity"),
        page="http://monitor.example.org:8480",
    )
    whole = replace(whole, **changes)
    if source is None:
        return dict(written_out(describe_monitor(topics, whole)))
    return dict(written_out(describe_source(topics, whole, source)))


@pytest.mark.parametrize("labels", [LABELS, ODD])
@pytest.mark.parametrize("source", ["street", "street.2", "Küche", None])
def test_home_assistant_accepts_every_description(
    labels: tuple[str, ...], source: str | None
) -> None:
    topic = discovery_topic("homeassistant", "ab12", source)
    assert device_faults(topic, described(labels, source)) == []


def test_a_source_is_a_device_behind_the_monitor_with_a_sensor_for_each_label() -> None:
    whole, monitor = described(), described(source=None)
    assert whole["device"]["name"] == "Sound monitor street"
    assert whole["device"]["model"] == "Model urban"
    assert whole["device"]["sw_version"] == whole["origin"]["sw_version"]
    assert [whole["device"]["via_device"]] == monitor["device"]["identifiers"]
    page = "http://monitor.example.org:8480"
    assert monitor["device"]["configuration_url"] == page
    siren = whole["components"]["label_air_conditioner"]
    assert siren["name"] == "Air conditioner"
    assert siren["state_topic"] == "sound-monitor/street/label/air_conditioner"
    entity = "binary_sensor.sound_monitor_street_air_conditioner"
    assert siren["default_entity_id"] == entity
    assert set(whole["components"]) == {
        *(f"label_{label}" for label in LABELS),
        *("began", "ended", "last", "today", "level", "laeq", "health", "problem"),
        *("listening", "picture"),
    }
    assert set(monitor["components"]) == {
        *("connected", "problem", "mute"),
        *(f"sensitivity_{label}" for label in LABELS),
    }


def test_what_the_configuration_does_not_have_is_not_described() -> None:
    less = {"counts": False, "pictures": False, "requests": (), "page": None}
    source, monitor = described(**less), described(source=None, **less)
    assert not {"today", "picture"} & set(source["components"])
    assert set(monitor["components"]) == {"connected", "problem"}
    assert "configuration_url" not in monitor["device"]


def test_only_a_calibrated_level_is_a_sound_pressure() -> None:
    plain = described()["components"]["laeq"]
    assert (plain["unit_of_measurement"], plain.get("device_class")) == ("dB", None)
    calibrated = described(calibrated=("street",))["components"]["laeq"]
    assert calibrated["unit_of_measurement"] == "dBA"
    assert calibrated["device_class"] == "sound_pressure"


def test_labels_of_any_name_have_topics_and_sensors_of_their_own() -> None:
    topics = {Topics("m").label("street", label) for label in ODD}
    assert len(topics) == len(ODD)
    for label in ODD:
        asked = f"{Topics('m').sensitivity(label)}/set"
        assert Topics("m").label_of_request(asked) == label
    for topic in topics:
        assert topic.count("/") == 3
        assert not set("+# ") & set(topic)
    for source in ("street", None):
        components = described(ODD, source)["components"]
        ids = {each["unique_id"] for each in components.values()}
        assert len(ids) == len(components) > len(ODD)


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
