"""Monitors of a fleet: records of every type, published and sent again on request."""

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from monitor.config.publish import FleetBroker
from monitor.fleet.collect.collector import Collector
from monitor.fleet.collect.database import Arrival, FleetDatabase, Keep
from monitor.fleet.collect.schema import PARTITIONED
from monitor.fleet.collect.subscription import open_subscription
from monitor.sinks.publish.record import decode_wanted, encode_message
from monitor.sinks.store.scores import encode_frames
from monitor.text import utc_text
from tests.support.clock import wait_until
from tests.support.postgres import Postgres
from tests.support.store import score_frames

PREFIX = "sound-monitor-fleet"
EPOCH = "0f0f0f0f"

Fields = dict[str, Any]


def now() -> datetime:
    return datetime.now(UTC)


_FRAMES = [each.record for each in score_frames(100)]
_SCORES = base64.b64encode(encode_frames(_FRAMES)).decode()  # type: ignore[arg-type]


def record_of(kind: str, number: int, at: datetime, **more: Any) -> Fields:
    """A record of a type, as a monitor makes them."""
    start, end = utc_text(at), utc_text(at + timedelta(seconds=3))
    placed: Fields = {
        "schema": 1,
        "type": kind,
        "session": "session-1",
        "id": f"street-{number}",
        "source": "street",
        "start": start,
        "end": end,
        "start_sample": 1000 * number,
        "stop_sample": 1000 * number + 500,
        "start_seconds": 1.5 * number,
        "end_seconds": 1.5 * number + 3,
        "top": [],
    }
    occurrence = placed | {
        "label": "siren",
        "peak_score": 0.9123,
        "mean_score": 0.8,
        "level_dbfs": -20.1,
        "laeq_db": 61.5,
        "lafmax_db": 70.5,
        "level_offset_db": 94.0,
        "end_reason": "offset",
        "top": [["siren", 0.9123], ["dog_bark", 0.1]],
        "model": "urban",
    }
    open_ended = {"end": None, "stop_sample": None, "end_seconds": None}
    records: dict[str, Fields] = {
        "session": {
            "session": f"session-{number}",
            "model": "urban",
            "labels": ["siren", "dog_bark"],
            "sample_rate": 44_100,
            "started": start,
            "version": "1.0",
            "site": None,
        },
        "onset": occurrence | open_ended | {"end_reason": None},
        "event": occurrence,
        "gap": placed | {"end_reason": "stalled"},
        "health": placed | {"kind": "clipping", "state": "cleared", "detail": "Loud."},
        "scores": {
            "session": "session-1",
            "source": "street",
            "start": start,
            "end": utc_text(at + timedelta(seconds=60)),
            "start_sample": 1000 * number,
            "window_samples": 176_640,
            "hop_samples": 24_576,
            "frames": 100,
            "format": 2,
            "data": _SCORES,
        },
        "digest": {
            "last": number,
            "clock": start,
            "uptime_seconds": 3600.0,
            "listening": True,
            "sources": [
                {
                    "name": "street",
                    "state": "listening",
                    "listening": True,
                    "laeq_unit": "dB(A)",
                }
            ],
            "health": [],
            "model": "urban",
            "version": "1.0",
            "site": None,
        },
        "deleted": {"type": "scores", "at": start},
        "novelty": {"key": "value"},
    }
    return records[kind] | more


KINDS = ("session", "onset", "event", "gap", "health", "scores", "digest", "deleted")


@dataclass
class Script:
    """The records of one monitor in one epoch, each made once."""

    monitor: str = "yard"
    epoch: str = EPOCH
    messages: dict[int, bytes] = field(default_factory=dict)
    started: datetime = field(default_factory=now)
    ahead: timedelta = timedelta(0)
    """How far the monitor's clock is ahead."""

    def add(self, kind: str, **more: Any) -> int:
        """Make the next record; return its sequence number."""
        number = len(self.messages) + 1
        at = self.started + self.ahead + timedelta(milliseconds=10 * number)
        record = record_of(kind, number, at, **more)
        sent = now() + self.ahead
        self.messages[number] = encode_message(
            self.monitor, self.epoch, number, kind, record, sent
        )
        return number

    def add_many(self, amount: int) -> None:
        """Make records of every type in turn."""
        for number in range(amount):
            self.add(KINDS[number % len(KINDS)] if number else "session")

    def arrival(self, number: int) -> Arrival:
        return Arrival(self.monitor, self.messages[number], now())

    def arrivals(self) -> list[Arrival]:
        return [self.arrival(number) for number in self.messages]


def changed(payload: bytes, **more: Any) -> bytes:
    """A message with other values in its envelope."""
    return json.dumps(json.loads(payload) | more).encode()


def stored(server: Postgres, monitor: str = "yard") -> dict[str, list[int]]:
    """The sequence numbers in each table, in order."""
    tables = ("sessions", *PARTITIONED, "deleted", "raw")
    with server.connect() as connection:
        return {
            table: [
                number
                for (number,) in connection.execute(
                    f"SELECT sequence FROM {table} WHERE monitor = %s "
                    "ORDER BY epoch_id, sequence",
                    [monitor],
                )
            ]
            for table in tables
        }


def all_stored(server: Postgres, monitor: str = "yard") -> list[int]:
    """The sequence numbers of all tables together, in order."""
    return sorted(n for each in stored(server, monitor).values() for n in each)


def received(server: Postgres, monitor: str = "yard") -> str:
    """The sequence numbers that were received, as ranges."""
    with server.connect() as connection:
        rows = connection.execute(
            "SELECT received::text FROM epochs WHERE monitor = %s", [monitor]
        ).fetchall()
    return ",".join(text for (text,) in rows)


def refused(server: Postgres) -> dict[tuple[str, str], int]:
    with server.connect() as connection:
        rows = connection.execute("SELECT monitor, reason, count FROM refused")
        return {(monitor, reason): number for monitor, reason, number in rows}


_numbers = count(1)


@dataclass
class MqttMonitors:
    """Monitors that publish by MQTT, and send again what a collector wants."""

    port: int
    scripts: Mapping[str, Script]
    answers: bool = True
    wanted: list[tuple[str, list[tuple[int, int]]]] = field(default_factory=list)
    client: paho.Client = field(
        default_factory=lambda: paho.Client(
            CallbackAPIVersion.VERSION2,
            f"monitors-{next(_numbers)}",
            protocol=paho.MQTTv5,
        )
    )

    def publish(self, monitor: str, payload: bytes) -> None:
        self.client.publish(f"{PREFIX}/{monitor}/records", payload, qos=1)

    def publish_all(self, *leave_out: int) -> None:
        for monitor, script in self.scripts.items():
            for number, payload in list(script.messages.items()):
                if number not in leave_out:
                    self.publish(monitor, payload)

    def take(self, message: paho.MQTTMessage) -> None:
        monitor = message.topic.split("/")[1]
        epoch, ranges = decode_wanted(bytes(message.payload))
        self.wanted.append((monitor, ranges))
        script = self.scripts.get(monitor)
        if script is None or not self.answers or epoch != script.epoch:
            return
        for first, last in ranges:
            for number in range(first, last + 1):
                if number in script.messages:
                    self.publish(monitor, script.messages[number])


@contextmanager
def mqtt_monitors(port: int, *scripts: Script, **login: str) -> Iterator[MqttMonitors]:
    monitors = MqttMonitors(port, {script.monitor: script for script in scripts})
    client, ready = monitors.client, threading.Event()
    client.on_message = lambda *facts: monitors.take(facts[2])
    client.on_subscribe = lambda *_: ready.set()
    client.on_connect = lambda *_: client.subscribe(
        [(f"{PREFIX}/{script.monitor}/wanted", 1) for script in scripts]
    )
    client.reconnect_delay_set(1, 1)
    client.max_inflight_messages_set(100)
    if login:
        client.username_pw_set(login["username"], login["password"])
    client.connect_async("127.0.0.1", port)
    client.loop_start()
    assert ready.wait(30)
    try:
        yield monitors
    finally:
        client.disconnect()
        client.loop_stop()


@contextmanager
def collecting(
    server: Postgres,
    url: str,
    *,
    ask_after: float = 1.0,
    most_asked: int = 6,
    keep: Keep | None = None,
    **login: str,
) -> Iterator[Collector]:
    """A collector on a thread, which looks for missing records often."""
    stop = threading.Event()
    subscription = open_subscription(FleetBroker(url=url, **login), {})
    database = FleetDatabase(server.url, keep)
    database.connection()
    after = timedelta(seconds=ask_after)
    collector = Collector(database, subscription, after, most_asked, look_seconds=0.5)
    thread = threading.Thread(target=collector.run, args=(stop,), name="collector")
    thread.start()
    try:
        wait_until(lambda: subscription.is_connected)
        yield collector
    finally:
        stop.set()
        thread.join()
        subscription.close()
        database.close()


@contextmanager
def collector_process(
    server: Postgres,
    url: str,
    home: Path,
    *more: str,
    waits: bool = True,
    module: Sequence[str] = ("monitor", "collect"),
) -> Iterator[subprocess.Popen[str]]:
    """The real command in a process of its own; its log is in `home`."""
    command = [
        *(sys.executable, "-m", *module),
        *("--database", server.url, "--broker", url, *more),
    ]
    home.mkdir(exist_ok=True)
    with (home / "log").open("a") as log:
        process = subprocess.Popen(
            command, env={**os.environ, "HOME": str(home)}, stderr=log, text=True
        )
    try:
        if waits:
            wait_until(lambda: "records are collected" in (home / "log").read_text())
        yield process
    finally:
        process.terminate()
        process.wait(30)
