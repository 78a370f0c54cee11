"""The status document."""

import contextlib
import json
import math
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest

from monitor.sinks.alerts.outbox import write_alerts
from monitor.sinks.status_client import no_answer
from monitor.sinks.status_snapshot import Reload, Watchdog
from monitor.statistics import (
    CanaryResult,
    Levels,
    Listened,
    Loss,
    Trouble,
)
from tests.support.alerts import alert as sample_alert
from tests.support.status import MODEL, FakeMonitor
from tests.support.store import open_database
from tests.support.timed import samples


@pytest.fixture
def monitor(tmp_path: Path) -> FakeMonitor:
    return FakeMonitor(tmp_path)


def status_of(monitor: FakeMonitor) -> dict[str, Any]:
    """As a client reads it."""
    text = json.dumps(monitor.snapshot, allow_nan=False)
    return dict(json.loads(text))


def test_before_the_first_step_everything_is_there_and_empty(
    monitor: FakeMonitor,
) -> None:
    first = status_of(monitor)
    monitor.report()
    assert first.keys() == status_of(monitor).keys()
    assert (first["sources"], first["model"]) == ([], None)
    assert first["latency_seconds"] == {"p50": None, "p95": None}


def test_a_disk_that_hangs_costs_only_its_own_figures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = threading.Event()
    free_bytes = "monitor.sinks.status_snapshot._free_bytes"
    monkeypatch.setattr(free_bytes, lambda _: answers.wait(20))
    monitor = FakeMonitor(tmp_path, database=tmp_path / "monitor.db")
    monitor.report("street")
    for _ in range(2):
        document = status_of(monitor)
        assert document["sentence"] == "listening to street"
        assert (document["outbox"], document["disk"]["free_bytes"]) == (None, None)
    waiting = [each for each in threading.enumerate() if each.name == "status-disk"]
    assert len(waiting) == 1
    monkeypatch.undo()
    answers.set()
    waiting[0].join(20)
    assert status_of(monitor)["disk"]["free_bytes"]


def test_several_clients_share_one_look_at_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = FakeMonitor(tmp_path)
    monitor.report("street")
    looks, release = [], threading.Event()

    def look(_: Path) -> None:
        looks.append(threading.current_thread())
        release.wait(20)

    monkeypatch.setattr("monitor.sinks.status_snapshot._free_bytes", look)
    both = threading.Barrier(2)

    class Reader(threading.Thread):
        def start(self) -> None:
            if self.name == "status-disk":
                with contextlib.suppress(threading.BrokenBarrierError):
                    both.wait(0.1)  # for the other client, which must not come here
            super().start()

    clients = [threading.Thread(target=status_of, args=[monitor]) for _ in range(2)]
    monkeypatch.setattr("monitor.sinks.status_snapshot.threading.Thread", Reader)
    for client in clients:
        client.start()
    for client in clients:
        client.join(20)
    release.set()
    for look_thread in looks:
        look_thread.join(20)
    assert len(looks) == 1


def test_without_a_further_thread_the_figures_of_the_disk_are_null(
    monitor: FakeMonitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monitor.report()
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        for _ in range(2):
            assert status_of(monitor)["disk"]["free_bytes"] is None
    assert status_of(monitor)["disk"]["free_bytes"]


def test_the_facts_of_a_source_have_their_units(monitor: FakeMonitor) -> None:
    statistics = monitor.report()
    (source,) = statistics.sources
    source = replace(
        source,
        state="waiting",
        detail="http://me:hush@cam/?key=hush is gone",
        captured_samples=samples(90),
        lost_samples=samples(10),
        gaps=2,
        backlog_samples=samples(0.5),
        last_sample=datetime(2026, 3, 1, 12, 0, 0, 123_000, UTC),
        listened=Listened(100.0, 0.9),
        losses=(Loss("unplugged", 2, samples(10)),),
        level=Levels(-40.04, math.nan),
        noise_floor=Levels(-60.0, -math.inf),
        events=(("siren", 3),),
    )
    trouble = Trouble("street", "clipping", monitor.clock.utc(), "https://a:hush@b")
    monitor.tracker.report(replace(statistics, sources=(source,), troubles=(trouble,)))
    (facts,) = status_of(monitor)["sources"]
    assert facts == {
        "name": "street",
        "state": "waiting",
        "detail": "http://***@cam/?*** is gone",
        "listening": False,
        "analysed": False,
        "last_sample": "2026-03-01T12:00:00.123Z",
        "listened": {"share": 0.9, "of_seconds": 100.0},
        "listened_24h": {"share": None, "of_seconds": 0.0},
        "left_out_share": 0.0,
        "captured_seconds": 90.0,
        "lost_samples": samples(10),
        "lost_seconds": 10.0,
        "gaps": 2,
        "losses": {"unplugged": {"gaps": 2, "samples": samples(10), "seconds": 10.0}},
        "backlog_seconds": 0.5,
        "level_dbfs": -40.0,
        "laeq_db": None,
        "laeq_unit": "dBFS(A)",
        "noise_floor_dbfs": -60.0,
        "noise_floor_laeq_db": None,
        "canary": None,
        "events": {"siren": 3},
        "troubles": [
            {
                "kind": "clipping",
                "since": "2026-03-01T12:00:01.000Z",
                "detail": "https://***@b",
            }
        ],
    }


def test_a_trouble_of_the_whole_monitor_is_not_listed_with_a_source(
    monitor: FakeMonitor,
) -> None:
    monitor.report(troubles=(Trouble("*", "disk", None, "it is full"),))
    facts = status_of(monitor)
    assert facts["troubles"] == [
        {"kind": "disk", "since": None, "detail": "it is full"}
    ]
    assert facts["sources"][0]["troubles"] == []


def test_a_model_that_fell_back_names_the_failed_device(monitor: FakeMonitor) -> None:
    monitor.report(model=replace(MODEL, failed_compute_device="cuda"))
    model = status_of(monitor)["model"]
    assert model["compute_device"] == "cpu"
    assert model["configured_compute_device"] == "auto"
    assert model["failed_compute_device"] == "cuda"


def test_the_process_has_its_memory_files_and_threads(monitor: FakeMonitor) -> None:
    monitor.report()
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    monitor.clock.advance(1)
    process, measured = status_of(monitor)["process"], psutil.Process()
    assert process["rss_bytes"] == pytest.approx(measured.memory_info().rss, rel=0.2)
    assert process["open_files"] == pytest.approx(measured.num_fds(), abs=2)
    assert process["threads"] == threading.active_count()
    # At least 0.05 s of processor time in two seconds of the fake clock.
    assert 0.025 <= process["cpu_share"] <= time.process_time()


def test_free_space_is_known_before_the_folder_is_made(tmp_path: Path) -> None:
    disk = status_of(FakeMonitor(tmp_path / "not" / "yet"))["disk"]
    assert disk["free_bytes"] > 0
    assert disk["database_bytes"] is None


def test_watchdog_and_reload_are_null_until_there_are_any(monitor: FakeMonitor) -> None:
    assert (status_of(monitor)["watchdog"], status_of(monitor)["reload"]) == (
        None,
        None,
    )
    now = monitor.clock
    monitor.daemon.watchdog = Watchdog(30.0, now.monotonic() - 5)
    monitor.daemon.reload = Reload(now.utc(), False, "model.threads: 0 must be ...")
    facts = status_of(monitor)
    assert facts["watchdog"] == {"limit_seconds": 30.0, "reset_seconds_ago": 5.0}
    assert facts["reload"] == {
        "time": "2026-03-01T12:00:00.000Z",
        "outcome": "rejected",
        "detail": "model.threads: 0 must be ...",
    }


def test_the_outbox_is_counted_by_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    monitor = FakeMonitor(tmp_path, ("siren/webhook", "dog/command"), path)
    assert status_of(monitor)["outbox"] is None
    database = open_database(path)
    assert status_of(monitor)["outbox"]["endpoints"] == {
        name: {"pending": 0, "dead": 0, "oldest_pending": None}
        for name in ("siren/webhook", "dog/command")
    }
    alerts = [sample_alert(number, endpoint="siren/webhook") for number in range(4)]
    gone = sample_alert(9, endpoint="gone/mqtt")
    connection = database.connect()
    write_alerts(connection, [*alerts, gone])
    for state, alert in (("delivered", alerts[0]), ("dead", alerts[1]), ("dead", gone)):
        connection.execute(
            "UPDATE alerts SET state = ? WHERE id = ?", (state, alert.id)
        )
    connection.close()
    outbox = status_of(monitor)["outbox"]
    oldest = alerts[2].created.isoformat(timespec="milliseconds")
    assert outbox == {
        "pending": 2,
        "dead": 2,
        "oldest_pending": oldest.replace("+00:00", "Z"),
        "endpoints": {
            "siren/webhook": {
                "pending": 2,
                "dead": 1,
                "oldest_pending": oldest.replace("+00:00", "Z"),
            },
            "dog/command": {"pending": 0, "dead": 0, "oldest_pending": None},
            "gone/mqtt": {"pending": 0, "dead": 1, "oldest_pending": None},
        },
    }
    size = status_of(monitor)["disk"]["database_bytes"]
    assert size >= path.stat().st_size


def test_the_newest_canary_is_part_of_its_source(monitor: FakeMonitor) -> None:
    at = monitor.clock.utc()
    canary = CanaryResult("yard", at, True, "", "siren", 0.97654, 5.04)
    monitor.report("street", "yard", canary=(canary,))
    street, yard = status_of(monitor)["sources"]
    assert street["canary"] is None
    assert yard["canary"] == {
        "time": "2026-03-01T12:00:00.000Z",
        "ok": True,
        "detail": "",
        "label": "siren",
        "score": 0.9765,
        "seconds": 5.0,
    }


def test_the_document_of_no_answer_has_the_first_keys(monitor: FakeMonitor) -> None:
    unanswered = no_answer("the monitor is not running", running=False)
    assert list(unanswered) == list(status_of(monitor))[: len(unanswered)]
