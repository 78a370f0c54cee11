"""A real MQTT broker, mosquitto of Debian, that can be stopped and started."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from tests.support import ROOT
from tests.support.clock import DEADLINE_SECONDS, wait_until
from tests.support.local_server import LocalServer

PROGRAM = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin")

needs_mosquitto = pytest.mark.skipif(
    PROGRAM is None, reason="needs mosquitto: apt install mosquitto"
)


class Broker(LocalServer):
    """Mosquitto on loopback, with its files in a folder of the test."""

    def __init__(self, folder: Path, *lines: str) -> None:
        """Add `lines` to its configuration."""
        super().__init__(folder, PROGRAM, "mosquitto")
        if not any("allow_anonymous" in line for line in lines):
            lines = ("allow_anonymous true", *lines)
        self._file.write_text(
            "\n".join((f"listener {self.port} 127.0.0.1", "user root", *lines, ""))
        )

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def freeze(self) -> None:
        """Let it accept connections and say nothing."""
        os.kill(self.process_id, signal.SIGSTOP)


@contextmanager
def running_broker(folder: Path, *lines: str) -> Iterator[Broker]:
    broker = Broker(folder, *lines)
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


@contextmanager
def documented_broker(folder: Path) -> Iterator[Broker]:
    """A broker with the files of docs/fleet.md; the password of yard is `of yard`."""
    page = (ROOT / "docs" / "fleet.md").read_text()
    (settings,) = re.findall(r"^```conf\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (rules,) = re.findall(r"^```acl\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    passwords, acl = folder / "fleet.passwords", folder / "fleet.acl"
    acl.write_text(rules)
    passwords.touch()
    for user in ("collector", "yard", "street"):
        subprocess.run(
            ["mosquitto_passwd", "-b", str(passwords), user, f"of {user}"], check=True
        )
    settings = settings.replace("/etc/mosquitto", str(folder))
    place = f"persistence_location {folder}/"
    with running_broker(folder, *settings.splitlines(), place) as broker:
        yield broker


@dataclass
class Subscriber:
    """Receives everything that is published."""

    messages: list[tuple[str, str, bool]] = field(default_factory=list)
    """Topic, payload, and whether it was retained from before."""

    qos: dict[str, int] = field(default_factory=dict)
    client: paho.Client = field(
        default_factory=lambda: paho.Client(CallbackAPIVersion.VERSION2)
    )

    def publish(self, topic: str, payload: str) -> None:
        """Publish a retained message."""
        self.client.publish(topic, payload, qos=1, retain=True)

    def payloads(self, topic: str) -> list[str]:
        return [payload for each, payload, _ in list(self.messages) if each == topic]

    def newest(self) -> dict[str, str]:
        return {topic: payload for topic, payload, _ in list(self.messages)}

    def wait_for(self, topic: str, payload: str) -> None:
        wait_until(lambda: self.newest().get(topic) == payload, str(self.newest()))

    def catch_up(self) -> None:
        """Receive all that the broker has acknowledged so far: it keeps the order."""
        fence = str(len(self.messages))
        self.client.publish("fence", fence, qos=1)
        self.wait_for("fence", fence)


@contextmanager
def subscribed(broker: Broker, **login: Any) -> Iterator[Subscriber]:
    subscriber = Subscriber()
    ready = threading.Event()

    def on_message(_client: Any, _data: Any, message: paho.MQTTMessage) -> None:
        entry = (message.topic, message.payload.decode(), message.retain)
        subscriber.qos[message.topic] = message.qos
        subscriber.messages.append(entry)

    def on_subscribe(*_: Any) -> None:
        ready.set()

    client = subscriber.client
    client.on_message = on_message
    client.on_subscribe = on_subscribe
    if login:
        client.username_pw_set(login["username"], login["password"])
    client.connect("127.0.0.1", broker.port)
    client.loop_start()
    client.on_connect = lambda *_: client.subscribe("#", qos=1)
    wait_until(client.is_connected)
    client.subscribe("#", qos=1)
    assert ready.wait(DEADLINE_SECONDS)
    try:
        yield subscriber
    finally:
        client.disconnect()
        client.loop_stop()
