"""A monitor's store with its publisher, and a collector that keeps what arrives."""

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.subscribeoptions import SubscribeOptions

from monitor.clock import SystemClock
from monitor.config.outputs import StoreSettings
from monitor.config.publish import PublishSettings
from monitor.records import HealthState
from monitor.sinks.publish.mqtt import MqttTransport
from monitor.sinks.publish.publisher import Pauses, Publisher, Transport
from monitor.sinks.publish.record import RecordMessage, decode_message, encode_wanted
from monitor.sinks.status_snapshot import (
    DaemonFacts,
    SnapshotSettings,
    StatusTracker,
)
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock, wait_until
from tests.support.status import MODEL
from tests.support.store import session
from tests.support.timed import OPENED, statistics

PREFIX = "sound-monitor-fleet"
LATE = datetime(2099, 1, 1, tzinfo=UTC)
"""The records of the tests are not ahead of it."""

ABOUT = json.dumps({"version": "1.2.3", "site": "north", "scores": True})

SHORT = Pauses(first_retry=0.05)
"""It tries a broker again soon."""

NOT_PUBLISHED = ABOUT.replace("true", "false")


class Collected:
    """The messages that came, each checked as a collector does."""

    def __init__(self) -> None:
        self.messages: list[RecordMessage] = []
        self._lock = threading.Lock()

    def take(self, payload: bytes, monitor: str) -> None:
        message = decode_message(payload, monitor, LATE)
        with self._lock:
            self.messages.append(message)

    def by_sequence(self, epoch: str | None = None) -> dict[int, RecordMessage]:
        """The first message of each sequence, of one epoch or of all."""
        found: dict[int, RecordMessage] = {}
        for each in list(self.messages):
            if epoch in (None, each.epoch):
                found.setdefault(each.sequence, each)
        return found

    @property
    def epochs(self) -> list[str]:
        """The epochs in the order in which they came."""
        return list(dict.fromkeys(each.epoch for each in list(self.messages)))

    @property
    def sequences(self) -> list[int]:
        """All sequences, in the order in which they came."""
        return [each.sequence for each in list(self.messages)]

    def types(self, epoch: str | None = None) -> list[str]:
        """The types by sequence, without digests."""
        found = sorted(self.by_sequence(epoch).items())
        return [each.type for _, each in found if each.type != "digest"]

    def ids(self, kind: str = "event") -> list[str]:
        """The ids of the events, once for each message."""
        return [each.record["id"] for each in list(self.messages) if each.type == kind]

    def wait_for(self, kind: str, count: int = 1) -> None:
        """Wait for so many sequences of a type."""
        wait_until(
            lambda: self.types().count(kind) >= count,
            f"{self.types()} of {self.sequences}",
        )


class Collector(Collected):
    """Subscribes to all records, with a session that outlives its connection."""

    def __init__(self, port: int, **login: str) -> None:
        super().__init__()
        self.client = paho.Client(
            CallbackAPIVersion.VERSION2,
            "collector",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        if login:
            self.client.username_pw_set(**login)
        self._is_subscribed = threading.Event()
        self.client.on_connect = lambda client, *_: client.subscribe(
            f"{PREFIX}/+/records", options=SubscribeOptions(qos=1)
        )
        self.client.on_subscribe = lambda *_: self._is_subscribed.set()
        self.client.on_message = lambda _client, _data, message: self.take(
            message.payload, message.topic.split("/")[1]
        )
        self.client.reconnect_delay_set(1, 1)
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()
        assert self._is_subscribed.wait(20)

    def ask(self, monitor: str, epoch: str, *ranges: tuple[int, int]) -> None:
        payload = encode_wanted(epoch, ranges)
        self.client.publish(f"{PREFIX}/{monitor}/wanted", payload, qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@contextmanager
def collecting(port: int, **login: str) -> Iterator[Collector]:
    collector = Collector(port, **login)
    try:
        yield collector
    finally:
        collector.close()


def published_store(
    path: Path,
    clock: FakeClock | None = None,
    run: str = "session",
    settings: StoreSettings | None = None,
    about: str | None = ABOUT,
) -> Store:
    if clock is None:
        clock = FakeClock()
        clock.wall = OPENED
    of_run = replace(session(run), published=about)
    return Store(path, settings or StoreSettings(), of_run, clock)


def mqtt_transport(
    port: int,
    monitor: str = "yard",
    environ: Mapping[str, str] | None = None,
    **more: Any,
) -> MqttTransport:
    settings = PublishSettings(url=f"mqtt://127.0.0.1:{port}", **more)
    return MqttTransport(settings, monitor, environ or {})


@contextmanager
def publishing(
    path: Path,
    transport: Transport,
    monitor: str = "yard",
    digest_seconds: float = 3600.0,
    reports: list[tuple[HealthState, str]] | None = None,
    pauses: Pauses = SHORT,
) -> Iterator[Publisher]:
    """Run a publisher of the database at `path`."""
    clock = SystemClock()
    settings = SnapshotSettings(path.parent, path, (), "cpu")
    publisher = Publisher(
        monitor,
        path,
        transport,
        digest_seconds,
        StatusTracker(settings, DaemonFacts(), clock),
        clock,
        lambda state, detail: (reports if reports is not None else []).append(
            (state, detail)
        ),
        pauses=pauses,
    )
    publisher.report(replace(statistics("street"), model=MODEL))
    try:
        yield publisher
        publisher.report(statistics("street"))  # raises what has ended the thread
    finally:
        publisher.close()


def is_whole(sequences: Sequence[int]) -> bool:
    """True if they are 1 to the last without a hole, whatever came twice."""
    return sorted(set(sequences)) == list(range(1, max(sequences, default=0) + 1))
