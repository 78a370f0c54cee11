"""What subscribers of a real MQTT broker may ask for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from monitor.sinks.status_client import Document
from tests.sinks.mqtt.test_states import ONLINE, publishing
from tests.support.broker import (
    needs_mosquitto,
    running_broker,
    subscribed,
    wait_until,
)


@needs_mosquitto
def test_subscribers_may_mute_and_change_a_sensitivity_if_they_are_allowed(
    tmp_path: Path,
) -> None:
    done: list[tuple[str, dict[str, Any]]] = []
    mutes: list[Document] = []

    def do(name: str, arguments: Mapping[str, Any]) -> Document:
        done.append((name, dict(arguments)))
        if name == "mute":
            mutes[:] = [{"rule": arguments["rule"]}] if arguments["seconds"] else []
        return {}

    mute, sensitivity = "sound-monitor/mute", "sound-monitor/label/siren/sensitivity"
    may = {
        "may_change": ["mute", "sensitivity"],
        "commands": do,
        "mutes": lambda: mutes,
    }
    with running_broker(tmp_path) as broker, subscribed(broker) as subscriber:
        subscriber.publish(f"{mute}/set", "ON")  # of before: it does not count
        with publishing(broker, **may):
            subscriber.wait_for(ONLINE, "online")
            subscriber.wait_for(mute, "OFF")
            subscriber.wait_for(sensitivity, "0.5")
            assert done == []
            for payload in ("ON", "loud", "OFF"):
                subscriber.publish(f"{mute}/set", payload)
                if payload != "loud":
                    subscriber.wait_for(mute, payload)
            for payload in ("2", "nan", "", "0.7"):
                subscriber.publish(f"{sensitivity}/set", payload)
            subscriber.publish("sound-monitor/label/cat/sensitivity/set", "0.7")
            wait_until(lambda: len(done) == 3)
    night = {"rule": "night"}
    assert done == [
        ("mute", {**night, "seconds": 86_400}),
        ("mute", {**night, "seconds": 0}),
        ("sensitivity", {"label": "siren", "value": 0.7}),
    ]


@needs_mosquitto
def test_nothing_is_changed_that_the_configuration_does_not_allow(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    done: list[str] = []
    only = {
        "may_change": ["sensitivity"],
        "commands": lambda name, _: done.append(name),
    }
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(broker, **only),
    ):
        subscriber.wait_for(ONLINE, "online")
        subscriber.publish("sound-monitor/mute/set", "ON")
        wait_until(lambda: "mute/set changed nothing" in caplog.text)
    assert done == []
    assert "sound-monitor/mute" not in subscriber.newest()
