"""On a full disk monitoring goes on, and storing resumes later."""

import logging
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.config.audio import HealthSettings
from monitor.runtime.health import HealthReports, HealthWatch
from monitor.sinks.store.writer import LAST_RETRY_SECONDS
from tests.support.broker import needs_mosquitto, running_broker
from tests.support.clock import FakeClock
from tests.support.publishing import (
    SHORT,
    collecting,
    is_whole,
    mqtt_transport,
    published_store,
    publishing,
)
from tests.support.store import AlertOnEverything, make_store, rows, score_frames
from tests.support.timed import event, frame, onset, statistics


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 16 MiB."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root and mount, for a small file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a file system")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 4096, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                pass
    return ballast


def test_monitoring_goes_on_and_storing_resumes(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    clock = FakeClock()
    path = disk / "monitor.db"
    store = make_store(path, clock, rules=AlertOnEverything(), memory_records=10_000)
    store.report(statistics())
    store.write([onset("before", number=0)])
    ballast = fill(disk)
    frames = score_frames(4000)
    for number in range(1, 4000):
        store.write([onset(number=number), frames[number]])
        clock.advance(0.5)
    in_reserve = rows(path, "SELECT count(*) FROM events")[0]
    pending = store.queues["store-records"]
    assert in_reserve + pending == 4000
    assert in_reserve > 300, "the reserve takes the first ones"
    assert rows(path, "SELECT count(*) FROM alerts") == [in_reserve]
    assert pending > 300, "memory takes the others"
    assert [r.levelname for r in caplog.records] == ["WARNING", "ERROR"]
    assert "almost full" in caplog.text
    assert "database or disk is full" in caplog.text
    ballast.unlink()
    clock.advance(LAST_RETRY_SECONDS)
    store.report(statistics())
    assert store.queues["store-records"] == 0
    store.close()
    assert rows(path, "SELECT count(*) FROM events") == [4000]
    assert rows(path, "SELECT count(*) FROM alerts") == [4000]
    assert rows(path, "SELECT sum(frames) FROM scores") == [3999]
    assert rows(path, "PRAGMA integrity_check") == ["ok"]
    assert [r.levelname for r in caplog.records[2:]] == ["WARNING", "WARNING"]


def test_it_starts_on_a_full_disk_and_stores_when_there_is_space(
    disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    ballast = fill(disk)
    path = disk / "monitor.db"
    store = make_store(path, clock, rules=AlertOnEverything())
    store.write([onset(), frame()])
    clock.advance(LAST_RETRY_SECONDS)
    store.write([event()])
    assert [r.levelname for r in caplog.records] == ["WARNING", "ERROR"]
    assert store.queues["store-records"] == 2
    ballast.unlink()
    clock.advance(LAST_RETRY_SECONDS)
    store.report(statistics())
    assert rows(path, "SELECT id, end_reason FROM events") == [
        ("session-street-1", "offset")
    ]
    store.close()
    assert rows(path, "SELECT count(*) FROM alerts") == [2]


def test_a_run_on_a_full_disk_with_an_old_database_goes_on_from_it(disk: Path) -> None:
    path = disk / "monitor.db"
    store = make_store(path, rules=AlertOnEverything())
    store.write([onset(number=1)])
    store._writer.close()  # as a kill does
    ballast = fill(disk)
    clock = FakeClock()
    rules = AlertOnEverything()
    store = make_store(path, clock, run="next", rules=rules)
    store.write([onset(number=2)])
    ballast.unlink()
    clock.advance(LAST_RETRY_SECONDS)
    store.report(statistics())
    store.close()
    assert rows(path, "SELECT id, end_reason FROM events ORDER BY sequence") == [
        ("session-street-1", "interrupted"),
        ("session-street-2", None),
    ]
    assert rows(path, "SELECT count(*) FROM alerts") == [3]


def test_a_database_that_may_not_grow_is_a_full_disk_too(path: Path) -> None:
    clock = FakeClock()
    store = make_store(path, clock, memory_records=1000)
    connection = store._writer._connection._connection
    assert connection is not None
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    for number in range(100):
        store.write([onset(number=number)])
        clock.advance(LAST_RETRY_SECONDS)
    assert store.queues["store-records"] > 30
    connection.execute("PRAGMA max_page_count = 100000")
    store.close()
    assert rows(path, "SELECT count(*) FROM events") == [100]


def test_levels_that_cannot_be_written_are_a_trouble_without_any_event(
    disk: Path,
) -> None:
    store = make_store(disk / "monitor.db", clock := FakeClock())
    store.report(statistics())
    fill(disk)
    health = HealthReports()
    watch, found = HealthWatch(health), []
    for each in score_frames(300):
        store.write([each])
        clock.advance(1.0)
        store.report(statistics())
        shown = replace(statistics(), queues=tuple(store.queues.items()))
        now = clock.monotonic()
        found += watch.look(HealthSettings(), {}, shown, now, lambda _: 0)
    store.close()
    assert [(each.kind, each.state) for each in found] == [("disk", "raised")]
    assert "levels" in found[0].detail


@needs_mosquitto
def test_what_the_reserve_takes_is_published_and_the_rest_when_there_is_space(
    disk: Path, tmp_path: Path
) -> None:
    pauses = replace(SHORT, last_retry=0.2)
    clock = FakeClock()
    path = disk / "monitor.db"
    with running_broker(tmp_path) as broker, collecting(broker.port) as collector:
        store = published_store(path, clock)
        store.report(statistics())
        ballast = fill(disk)
        transport = mqtt_transport(broker.port)
        with publishing(path, transport, digest_seconds=1.0, pauses=pauses):
            for number in range(2000):
                store.write([event(number=number)])
                clock.advance(0.5)
            collector.wait_for("event", 100)
            ballast.unlink()
            clock.advance(LAST_RETRY_SECONDS)
            store.report(statistics())
            collector.wait_for("event", 2000)
            store.close()
    assert is_whole(collector.sequences)
