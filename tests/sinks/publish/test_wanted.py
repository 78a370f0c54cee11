"""What collectors want, and how often: a monitor is not kept busy by requests."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from threading import Event

from monitor.sinks.publish.publisher import EncodedRecord, Publisher
from monitor.sinks.publish.record import encode_wanted
from monitor.sinks.status_snapshot import (
    DaemonFacts,
    SnapshotSettings,
    StatusTracker,
)
from tests.support.clock import FakeClock
from tests.support.publishing import published_store
from tests.support.status import MODEL
from tests.support.timed import OPENED, event, statistics


class Transport:
    """Takes all records, and brings requests when the test says so."""

    is_connected = True
    target = "nowhere"

    def __init__(self) -> None:
        self.records: list[dict[str, object]] = []
        self.wanted: list[bytes] = []

    def send(self, messages: Sequence[EncodedRecord]) -> list[int]:
        self.records += [json.loads(it.payload) for it in messages]
        return []

    def take_wanted(self) -> list[bytes]:
        taken, self.wanted = self.wanted, []
        return taken

    def open(self) -> None: ...

    def wait(self, wakeup: Event, seconds: float) -> None: ...

    def cancel(self) -> None: ...

    def close(self) -> None: ...


class Steps:
    """A publisher that the test drives step by step."""

    def __init__(self, path: Path, events: int) -> None:
        self.clock, self.transport = FakeClock(), Transport()
        self.clock.wall = OPENED
        store = published_store(path)
        store.write([event(number=number) for number in range(events)])
        store.close()
        facts = DaemonFacts(began_seconds=self.clock.monotonic())
        settings = SnapshotSettings(path.parent, path, (), "cpu")
        tracker = StatusTracker(settings, facts, self.clock)
        tracker.report(replace(statistics("street"), model=MODEL))
        self.publisher = Publisher(
            *("yard", path, self.transport, 60.0, tracker, self.clock),
            health=lambda *_: None,
        )

    def run(self) -> list[int]:
        """Step until nothing is left; return the sequences that were sent."""
        self.transport.records.clear()
        while self.publisher._step(is_last=False):
            pass
        return [int(str(it["sequence"])) for it in self.transport.records]

    def ask(self, *ranges: tuple[int, int], epoch: str | None = None) -> list[int]:
        """Ask for sequences; return those that were sent."""
        wanted = encode_wanted(epoch or self.publisher._epoch, ranges)
        self.transport.wanted.append(wanted)
        return self.run()


def test_a_request_is_answered_once_in_ten_seconds(path: Path) -> None:
    steps = Steps(path, 30)
    steps.run()
    assert steps.ask((3, 5)) == [3, 4, 5]
    steps.clock.advance(9.9)
    assert steps.ask((3, 5)) == []
    steps.clock.advance(0.2)
    assert steps.ask((3, 5)) == [3, 4, 5]
    steps.publisher.close()


def test_no_request_is_answered_with_more_than_its_bound(
    path: Path,
) -> None:
    steps = Steps(path, 1)
    previous = json.dumps({"epoch": "ab" * 16, "last": 20_000})
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE publishing SET previous = ?", (previous,))
    steps.run()
    found = steps.ask((1, 6000), (5000, 20_000), epoch="ab" * 16)
    assert found == [*range(1, 6001), *range(5000, 9000)]
    steps.publisher.close()


def test_the_uptime_of_a_digest_does_not_step_with_the_time_of_day(path: Path) -> None:
    steps = Steps(path, 1)
    steps.clock.advance(120)
    steps.clock.wall += timedelta(hours=10)  # it was set, after the start
    steps.run()
    (digest,) = [it for it in steps.transport.records if it["type"] == "digest"]
    assert isinstance(digest["record"], dict)
    assert digest["record"]["uptime_seconds"] == 120.0
    steps.publisher.close()
