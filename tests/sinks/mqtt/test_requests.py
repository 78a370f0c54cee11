"""What subscribers of a real MQTT broker may ask for."""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from monitor.sinks.mqtt.connection import Message
from monitor.sinks.mqtt.requests import RejectedRequests, Requests, WaitingRequests
from monitor.sinks.mqtt.states import MqttStates
from monitor.sinks.mqtt.topics import Topics
from monitor.sinks.status_client import Document
from tests.sinks.mqtt.test_states import ONLINE, publishing
from tests.support.broker import (
    needs_mosquitto,
    running_broker,
    subscribed,
    wait_until,
)
from tests.support.clock import FakeClock

SIREN_SET = "sound-monitor/label/siren/sensitivity/set"


@needs_mosquitto
def test_subscribers_may_mute_and_change_a_sensitivity_if_they_are_allowed(
    tmp_path: Path,
) -> None:
    done: list[tuple[str, dict[str, Any]]] = []
    mutes: list[Document] = []

    def do(name: str, arguments: Mapping[str, Any]) -> Document:
        done.append((name, dict(arguments)))
        if name == "mute":
            mute = {"rule": arguments["rule"], "until": "2026-11-24T06:00:00.000Z"}
            mutes[:] = [mute] if arguments["seconds"] else []
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
    assert "mqtt.may_change does not have mute" in caplog.text
    assert done == []
    assert "sound-monitor/mute" not in subscriber.newest()


class Slow:
    """Commands that wait until they may go on."""

    def __init__(self) -> None:
        self.done: list[tuple[str, float]] = []
        self.began, self.go_on = threading.Event(), threading.Event()

    def __call__(self, _name: str, arguments: Mapping[str, Any]) -> Document:
        self.began.set()
        assert self.go_on.wait(10)
        self.done.append((arguments["label"], arguments["value"]))
        return {}


DOG_SET = "sound-monitor/label/dog_bark/sensitivity/set"


def waiting(sink: MqttStates) -> dict[str, int]:
    """How many requests for each label have come, and are not done yet."""
    requests = sink._connection._take.__self__._waiting
    return {topic.split("/")[2]: count for topic, (_, count) in list(requests.items())}


@needs_mosquitto
def test_of_requests_that_wait_the_newest_of_each_label_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow = Slow()
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(broker, may_change=["sensitivity"], commands=slow) as sink,
    ):
        subscriber.wait_for(ONLINE, "online")
        subscriber.publish(SIREN_SET, "0.1")
        assert slow.began.wait(10)
        for payload in ("0.7", "nonsense", "0.8"):
            subscriber.publish(SIREN_SET, payload)
        for payload in ("0.2", "loud", ""):
            subscriber.publish(DOG_SET, payload)
        wait_until(lambda: waiting(sink) == {"siren": 3, "dog_bark": 2})
        slow.go_on.set()
        rejected = (
            "dog_bark/sensitivity/set changed nothing: 'loud' is no number from 0"
        )
        wait_until(lambda: rejected in caplog.text)
        assert sink._connection.is_connected
    assert slow.done == [("siren", 0.1), ("siren", 0.8)]


@needs_mosquitto
def test_after_a_reload_only_the_new_connection_asks_for_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    slow, new = Slow(), Slow()
    new.go_on.set()
    may = {"may_change": ["sensitivity"]}
    with running_broker(tmp_path) as broker, subscribed(broker) as subscriber:
        with publishing(broker, commands=slow, **may) as sink:
            subscriber.wait_for(ONLINE, "online")
            subscriber.publish(SIREN_SET, "0.1")
            assert slow.began.wait(10)
            subscriber.publish(SIREN_SET, "0.2")
            subscriber.publish(DOG_SET, "0.3")
            wait_until(lambda: waiting(sink) == {"siren": 1, "dog_bark": 1})
        subscriber.wait_for(ONLINE, "offline")
        wait_until(lambda: not sink._connection.is_connected)
        with publishing(broker, commands=new, **may):
            subscriber.wait_for(ONLINE, "online")
            subscriber.publish(SIREN_SET, "0.9")
            wait_until(lambda: new.done)
            slow.go_on.set()
            sink._thread._thread.join(10)
            assert subscriber.payloads(ONLINE) == ["online", "offline", "online"]
    assert (slow.done, new.done) == ([("siren", 0.1)], [("siren", 0.9)])
    assert "requests for 2 things came at the end and changed nothing" in caplog.text


def test_however_many_requests_come_few_wait() -> None:
    slow, rejected = Slow(), RejectedRequests()
    slow.go_on.set()
    requests = Requests(
        ["sensitivity"], slow, [], list, FakeClock().utc, {"siren": 0.5, "dog_bark": 1}
    )
    waiting = WaitingRequests(requests, Topics("sound-monitor"))
    for number in range(10_000):
        waiting.add(Message(f"{number}{'x' * 60_000}", "1"))
        waiting.add(Message((SIREN_SET, DOG_SET)[number % 2], f"{number / 1e4}"))
    assert len(waiting) == 3
    waiting.do_each(rejected, 0.0, lambda: False)
    assert sorted(slow.done) == [("dog_bark", 0.9999), ("siren", 0.9998)]
    assert [count for _, count, _ in rejected._newest.values()] == [9_999]
    assert len(waiting) == 0


@needs_mosquitto
def test_a_wrong_request_is_logged_at_once_and_then_counted_at_its_topic(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock, topic = FakeClock(), "sound-monitor/label/{}/sensitivity/set"
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(broker, may_change=["sensitivity"], clock=clock) as sink,
    ):
        subscriber.wait_for(ONLINE, "online")
        for number in range(500):
            subscriber.publish(topic.format(number), "1")
        subscriber.publish(topic.format("siren"), "7")
        wait_until(lambda: "siren/sensitivity/set changed nothing" in caplog.text)
        assert caplog.text.count("changed nothing") == 2
        subscriber.publish(topic.format("siren"), "8")
        wait_until(
            lambda: sink._rejected._newest[SIREN_SET.removesuffix("/set")][1] == 1
        )
        clock.advance(60)
        wait_until(lambda: "(1 more in a minute here)" in caplog.text)
    assert "(499 more in a minute at topics that do not exist" in caplog.text
    assert caplog.text.count("changed nothing") == 4


@pytest.mark.parametrize(
    ("topic", "times", "lines"),
    [
        ("a", [0], ["no. 0"]),
        ("a", [0, 30, 59], ["no. 0"]),
        ("a", [0, 30, 60], ["no. 0", "no. 1 (1 more in a minute here)"]),
        ("a", [0, 10, 20, 61, 70], ["no. 0", "no. 2 (2 more in a minute here)"]),
        ("a", [0, 60], ["no. 0", "no. 1"]),  # nothing in between: it begins anew
        ("", [0, 1, 60], ["no. 0", "no. 1 (1 more in a minute at topics that do not"]),
    ],
)
def test_the_first_is_logged_at_once_and_the_others_once_a_minute(
    topic: str, times: list[int], lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    rejected = RejectedRequests()
    for number, now in enumerate(times):
        rejected.flush(now)
        rejected.report(topic, f"no. {number}", now)
    assert len(caplog.messages) == len(lines)
    assert all(map(str.startswith, caplog.messages, lines))


@needs_mosquitto
def test_a_request_that_came_just_before_the_end_is_done(tmp_path: Path) -> None:
    slow = Slow()
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(broker, may_change=["sensitivity"], commands=slow) as sink,
    ):
        subscriber.wait_for(ONLINE, "online")
        subscriber.publish(SIREN_SET, "0.7")
        assert slow.began.wait(10)
        subscriber.publish(DOG_SET, "0.7")
        wait_until(lambda: waiting(sink) == {"dog_bark": 1})
        sink._thread._stop.set()
        slow.go_on.set()
        wait_until(lambda: len(slow.done) == 2)


@needs_mosquitto
@pytest.mark.parametrize(
    ("until", "rules", "text", "muted"),
    [
        ("2099-01-01T00:00:00.000Z", True, "", 0),  # it is not shortened
        ("2000-01-01T00:00:00.000Z", True, "", 1),
        ("", False, "has no alerts to mute", 0),
    ],
)
def test_a_mute_never_shortens_one_and_says_when_there_is_nothing_to_mute(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    until: str,
    rules: bool,
    text: str,
    muted: int,
) -> None:
    done: list[str] = []
    sensitivity = SIREN_SET
    with (
        running_broker(tmp_path) as broker,
        subscribed(broker) as subscriber,
        publishing(
            broker,
            may_change=["mute", "sensitivity"],
            commands=lambda name, _: done.append(name) or {},
            mutes=lambda: [{"rule": "night", "until": until}] if until else [],
            has_rules=rules,
        ),
    ):
        subscriber.wait_for(ONLINE, "online")
        subscriber.publish("sound-monitor/mute/set", "ON")
        subscriber.publish(sensitivity, "0.7")
        wait_until(lambda: "sensitivity" in done)
    assert done.count("mute") == muted
    assert text in caplog.text
