"""The document that other programs read."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from monitor.sinks.status_document import document, silence
from monitor.sinks.status_snapshot import Reload, Watchdog
from monitor.sinks.store.database import open_database
from monitor.sinks.store.session import write_alerts
from monitor.statistics import Levels, Listened, Loss, Trouble
from tests.support.alerts import alert as sample_alert
from tests.support.timed import samples
from tests.support.vitals import MODEL, Patient


@pytest.fixture
def patient(tmp_path: Path) -> Patient:
    return Patient(tmp_path)


def told(patient: Patient) -> dict[str, Any]:
    """As who asks gets it."""
    text = json.dumps(document(patient.snapshot), allow_nan=False)
    return dict(json.loads(text))


def test_before_the_first_step_everything_is_there_and_empty(patient: Patient) -> None:
    first = told(patient)
    patient.hear()
    assert first.keys() == told(patient).keys()
    assert (first["sources"], first["model"]) == ([], None)
    assert first["latency_seconds"] == {"p50": None, "p95": None}


def test_the_facts_of_a_source_have_their_units(patient: Patient) -> None:
    statistics = patient.hear()
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
    trouble = Trouble("street", "clipping", patient.clock.utc(), "https://a:hush@b")
    patient.vitals.report(replace(statistics, sources=(source,), troubles=(trouble,)))
    (facts,) = told(patient)["sources"]
    assert facts == {
        "name": "street",
        "state": "waiting",
        "detail": "http://***@cam/?*** is gone",
        "listening": False,
        "last_sample": "2026-03-01T12:00:00.123Z",
        "listened": {"share": 0.9, "of_seconds": 100.0},
        "listened_24h": {"share": None, "of_seconds": 0.0},
        "captured_seconds": 90.0,
        "lost_samples": samples(10),
        "lost_seconds": 10.0,
        "gaps": 2,
        "losses": {"unplugged": {"gaps": 2, "samples": samples(10), "seconds": 10.0}},
        "backlog_seconds": 0.5,
        "level_dbfs": -40.0,
        "laeq_db": None,
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


def test_trouble_of_no_single_source_stands_by_itself(patient: Patient) -> None:
    patient.hear(troubles=(Trouble("*", "disk", None, "it is full"),))
    facts = told(patient)
    assert facts["troubles"] == [
        {"kind": "disk", "since": None, "detail": "it is full"}
    ]
    assert facts["sources"][0]["troubles"] == []


def test_a_model_that_fell_back_says_from_where(patient: Patient) -> None:
    patient.hear(model=replace(MODEL, failed_compute_device="cuda"))
    model = told(patient)["model"]
    assert model["compute_device"] == "cpu"
    assert model["configured_compute_device"] == "auto"
    assert model["failed_compute_device"] == "cuda"


def test_the_process_says_what_it_takes(patient: Patient) -> None:
    patient.hear()
    process = told(patient)["process"]
    assert process["rss_bytes"] > 10 * 2**20
    assert process["open_files"] > 2
    assert process["threads"] >= 1
    assert process["cpu_share"] >= 0


def test_room_is_told_also_before_the_folder_is_made(tmp_path: Path) -> None:
    disk = told(Patient(tmp_path / "not" / "yet"))["disk"]
    assert disk["free_bytes"] > 0
    assert disk["database_bytes"] is None


def test_watchdog_and_reload_are_told_once_there_are_any(patient: Patient) -> None:
    assert (told(patient)["watchdog"], told(patient)["reload"]) == (None, None)
    now = patient.clock
    patient.daemon.watchdog = Watchdog(30.0, now.monotonic() - 5)
    patient.daemon.reload = Reload(now.utc(), False, "model.threads: 0 must be ...")
    facts = told(patient)
    assert facts["watchdog"] == {"limit_seconds": 30.0, "put_off_seconds_ago": 5.0}
    assert facts["reload"] == {
        "time": "2026-03-01T12:00:00.000Z",
        "outcome": "refused",
        "detail": "model.threads: 0 must be ...",
    }


def test_the_outbox_is_told_by_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    patient = Patient(tmp_path, ("siren/webhook", "dog/command"), path)
    assert told(patient)["outbox"] is None
    database = open_database(path)
    assert told(patient)["outbox"]["endpoints"] == {
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
    outbox = told(patient)["outbox"]
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
    size = told(patient)["disk"]["database_bytes"]
    assert size >= path.stat().st_size


def test_who_is_silent_is_told_in_the_same_form(patient: Patient) -> None:
    nobody = silence("the monitor is not running", running=False)
    assert nobody.keys() <= told(patient).keys()
