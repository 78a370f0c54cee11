"""Parquet of the fleet's database: by site and day, written again when it must be."""

import base64
import tracemalloc
import zlib
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import duckdb
import numpy as np
import pytest

from monitor.fleet.collect.database import FleetDatabase
from monitor.fleet.collect.export import STATE, Exporter
from tests.support.fleet import Script, now, refused
from tests.support.postgres import Postgres, needs_postgres

pytestmark = [pytest.mark.fleet, needs_postgres]


def query(folder: Path, kind: str, what: str, more: str = "") -> list[tuple[Any, ...]]:
    files = f"'{folder}/{kind}/*/*/*.parquet'"
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.execute(
            f"SELECT {what} FROM read_parquet({files}, hive_partitioning = false) "
            f"{more}"
        ).fetchall()


def yesterday(name: str, site: str | None, amount: int = 16, days: int = 1) -> Script:
    at = (now() - timedelta(days=days)).replace(hour=12)
    script = Script(name, started=at)
    script.add("session", site=site)
    for number in range(amount):
        kind = ("event", "gap", "health", "scores")[number % 4]
        script.add(kind, session="session-1")
    return script


def age(server: Postgres) -> None:
    """Have everything that is stored have come an hour earlier."""
    with server.connect() as connection:
        for table in ("events", "gaps", "health", "scores"):
            connection.execute(
                f"UPDATE {table} SET stored = stored - interval '1 hour'".encode()
            )


def test_a_day_that_is_over_is_written_by_site(
    server: Postgres, database: FleetDatabase, tmp_path: Path
) -> None:
    scripts = [
        yesterday("attic", "a/b <é>" + "x" * 190),
        yesterday("barn", None),
        yesterday("cellar", "..", days=3),
    ]
    today = Script("barn", epoch="aaaaaaaa")
    today.add("event")
    for script in (*scripts, today):
        database.write(script.arrivals())
    exporter = Exporter(server.url, tmp_path)
    assert exporter.export(Event()) == 3
    counts = query(
        tmp_path,
        "events",
        "monitor, type, count(*)",
        "GROUP BY ALL ORDER BY monitor, type",
    )
    assert counts == [
        (name, kind, 4)
        for name in ("attic", "barn", "cellar")
        for kind in ("event", "gap", "health")
    ]
    (event,) = query(
        tmp_path,
        "events",
        'label, peak_score, top[1].label, epoch("end" - start), site',
        "WHERE monitor = 'barn' AND type = 'event' LIMIT 1",
    )
    assert event == ("siren", 0.9123, "siren", 3.0, None)
    sites = query(tmp_path, "events", "DISTINCT site", "ORDER BY site NULLS FIRST")
    assert sites == [(None,), ("..",), ("a/b <é>" + "x" * 190,)]
    levels = query(tmp_path, "levels", "count(*), round(min(laeq_db)::DOUBLE, 1)")
    assert levels == [(1200, 52.1)]
    scores = query(
        tmp_path, "scores", "DISTINCT labels, len(scores), round(scores[1]::DOUBLE, 3)"
    )
    assert scores == [("siren,dog_bark", 10, 0.02)]
    assert exporter.export(Event()) == 3  # what came within a quarter of an hour


def test_a_late_record_has_its_day_written_again_and_no_other(
    server: Postgres, database: FleetDatabase, tmp_path: Path
) -> None:
    database.write(yesterday("attic", "north").arrivals())
    database.write(yesterday("barn", "south").arrivals())
    exporter = Exporter(server.url, tmp_path)
    exporter.export(Event())
    age(server)
    assert exporter.export(Event()) == 0
    late = yesterday("attic", "north", 17)
    database.write(late.arrivals())
    assert exporter.export(Event()) == 1
    query_of = query(tmp_path, "events", "monitor, count(*)", "GROUP BY 1 ORDER BY 1")
    assert query_of == [("attic", 13), ("barn", 12)]


def test_the_days_of_a_monitor_follow_it_to_another_site(
    server: Postgres, database: FleetDatabase, tmp_path: Path
) -> None:
    database.write(yesterday("attic", "north").arrivals())
    barn = yesterday("barn", "north")
    database.write(barn.arrivals())
    exporter = Exporter(server.url, tmp_path)
    exporter.export(Event())
    (tmp_path / "events" / "site=north" / "day=of-somebody").mkdir()
    age(server)
    barn.started = now()
    number = barn.add("digest", site="south")
    database.write([barn.arrival(number)])
    exporter.export(Event())
    found = query(
        tmp_path, "events", "site, monitor, count(*)", "GROUP BY ALL ORDER BY 1"
    )
    assert found == [("north", "attic", 12), ("south", "barn", 12)]
    rows = query(tmp_path, "levels", "site, count(*)", "GROUP BY ALL ORDER BY 1")
    assert rows == [("north", 400), ("south", 400)]


@pytest.mark.parametrize("state", ["", "[]", '{"stored": 5}', '{"sites": {}}'])
def test_a_damaged_state_has_all_days_written_again(
    state: str,
    server: Postgres,
    database: FleetDatabase,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    database.write(yesterday("attic", "north").arrivals())
    exporter = Exporter(server.url, tmp_path)
    exporter.export(Event())
    age(server)
    (tmp_path / STATE).write_text(state)
    assert exporter.export(Event()) == 1
    assert exporter.export(Event()) == 0
    assert [it for it in caplog.messages if "is damaged" in it]


def test_damaged_scores_cost_their_row_alone(
    server: Postgres, database: FleetDatabase, tmp_path: Path
) -> None:
    script = yesterday("attic", "north", 3)
    script.add("scores", session="session-1")
    script.add("scores", session="session-1", data="AAAA")
    script.add("scores", session="session-1", format=99)
    script.add("scores", session="session-1", frames=7)
    database.write(script.arrivals())
    Exporter(server.url, tmp_path).export(Event())
    assert query(tmp_path, "levels", "count(*)") == [(100,)]


def test_scores_that_unpack_to_gigabytes_cost_no_memory(
    server: Postgres, database: FleetDatabase, tmp_path: Path
) -> None:
    frames, labels = 2000, 4000
    spans = np.zeros((labels, 2, frames), "<i4")
    spans[:, 1] = 1
    arrays = np.zeros((labels, frames), "<u2"), spans, np.zeros((3, frames), "<i2")
    data = base64.b64encode(b"".join(zlib.compress(it.tobytes(), 9) for it in arrays))
    bomb = {"frames": frames, "data": data.decode()}
    script = yesterday("attic", "north", 3)
    script.add("scores", session="session-1", **bomb)
    script.add("scores", session="session-1", hop_samples=2**62)
    script.add("scores", session="session-1", **bomb | {"frames": 100_000})
    script.add("scores", session="session-1")
    database.write(script.arrivals())
    assert refused(server) == {("attic", "wrong-value"): 2}
    tracemalloc.start()
    try:
        Exporter(server.url, tmp_path).export(Event())
        (_, most) = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 2**26
    assert query(tmp_path, "levels", "count(*)") == [(100,)]


def test_a_folder_that_cannot_be_written_is_said_once(
    server: Postgres,
    database: FleetDatabase,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    database.write(yesterday("attic", "north").arrivals())
    (tmp_path / "file").touch()
    exporter = Exporter(server.url, tmp_path / "file" / "folder")
    stop = Event()
    rounds = iter([False, False, True])
    monkeypatch.setattr(stop, "wait", lambda _seconds: next(rounds) and stop.set())
    exporter.run(stop)
    (message,) = [each for each in caplog.messages if "no Parquet" in each]
    assert f"no Parquet is written: {exporter.folder}: Not a directory; " in message
