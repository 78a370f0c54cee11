"""Batches of records in a real PostgreSQL: once, in any order, whatever they hold."""

import random
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from monitor.fleet.collect.collector import remove_old
from monitor.fleet.collect.database import Arrival, FleetDatabase, Keep
from monitor.fleet.collect.status import read_status, status_lines
from monitor.sinks.publish.record import LARGEST_BYTES, encode_message
from tests.support.fleet import (
    EPOCH,
    KINDS,
    Script,
    all_stored,
    changed,
    now,
    received,
    record_of,
    refused,
    stored,
)
from tests.support.postgres import Postgres, needs_postgres

pytestmark = [pytest.mark.fleet, needs_postgres]


def rows(server: Postgres, query: str) -> list[tuple[Any, ...]]:
    with server.connect() as connection:
        return connection.execute(query.encode()).fetchall()


def event_message(number: int, **more: Any) -> bytes:
    """An event whose record may be one that no monitor makes."""
    at = now()
    record = record_of("event", number, at, **more)
    return encode_message("yard", EPOCH, number, "event", record, at)


def test_each_type_of_record_has_its_table(
    server: Postgres, database: FleetDatabase
) -> None:
    script = Script()
    for kind in (*KINDS, "novelty"):
        script.add(kind)
    database.write(script.arrivals())
    assert stored(server) == {
        "sessions": [1],
        "onsets": [2],
        "events": [3],
        "gaps": [4],
        "health": [5],
        "scores": [6],
        "digests": [7],
        "deleted": [8],
        "raw": [9],
    }
    assert received(server) == "{[1,10)}"
    query = "SELECT label, top, lafmax_db, level_offset_db, ended - started, more "
    (event,) = rows(server, query + "FROM events")
    top = [["siren", 0.9123], ["dog_bark", 0.1]]
    assert event == ("siren", top, 70.5, 94.0, timedelta(seconds=3), None)


def test_a_run_whose_clock_was_not_set_has_its_session(
    server: Postgres, database: FleetDatabase
) -> None:
    script = Script()
    script.add("session", started=None)
    database.write(script.arrivals())
    assert refused(server) == {}
    assert rows(server, "SELECT model, started FROM sessions") == [("urban", None)]
    assert rows(server, "SELECT model, version FROM monitors") == [("urban", "1.0")]


def test_a_run_that_comes_late_does_not_undo_what_a_digest_says(
    server: Postgres, database: FleetDatabase
) -> None:
    script = Script()
    script.add("session", site="north", version="1.0")
    script.add("digest", site="south", version="1.1")
    database.write([script.arrival(2)])
    database.write([script.arrival(1)])
    assert rows(server, "SELECT site, version FROM monitors") == [("south", "1.1")]


def test_records_that_come_again_in_any_order_are_there_once(
    server: Postgres, database: FleetDatabase
) -> None:
    script = Script()
    script.add_many(80)
    draw = random.Random(3)
    arrivals = script.arrivals() * 3
    draw.shuffle(arrivals)
    while arrivals:
        size = draw.randrange(1, 30)
        database.write(arrivals[:size])
        arrivals = arrivals[size:]
    assert all_stored(server) == list(range(1, 81))
    assert received(server) == "{[1,81)}"


def test_what_this_version_does_not_know_is_kept(
    server: Postgres, database: FleetDatabase
) -> None:
    script = Script()
    script.add("event", mood="sad")
    script.add("novelty")
    script.add("event")
    newer = changed(script.messages[3], form=2)
    database.write([*script.arrivals()[:2], Arrival("yard", newer, now())])
    query = "SELECT sequence, more FROM events"
    assert rows(server, query) == [(1, {"mood": "sad"})]
    query = "SELECT sequence, form, type, record ->> 'key' FROM raw ORDER BY sequence"
    assert rows(server, query) == [(2, 1, "novelty", "value"), (3, 2, "event", None)]
    assert refused(server) == {}
    assert received(server) == "{[1,4)}"


def test_of_a_minute_of_scores_the_longest_row_stays(
    server: Postgres, database: FleetDatabase
) -> None:
    script = Script()
    at = script.started
    for frames in (40, 100, 70):
        script.messages[frames] = encode_message(
            "yard",
            EPOCH,
            frames,
            "scores",
            record_of("scores", 1, at, frames=frames),
            at,
        )
    database.write(script.arrivals()[:2])
    database.write(script.arrivals()[2:])
    assert rows(server, "SELECT frames FROM scores") == [(100,)]
    assert received(server) == "{[40,41),[70,71),[100,101)}"


HOSTILE: list[tuple[bytes, str, bool]] = [
    (b"", "not-json", False),
    (b"{" + b" " * LARGEST_BYTES + b"}", "too-large", False),
    (event_message(1, lafmax_db="loud"), "wrong-value", True),
    (event_message(1, start="9999-12-31T23:59:59.999Z"), "wrong-time", True),
    (changed(event_message(1), sent="2099-01-01T00:00:00.000Z"), "wrong-time", False),
    (changed(event_message(1), monitor="other"), "monitor", False),
    (changed(event_message(1), sequence=2**63 - 1), "envelope", False),
    (changed(event_message(1), record={}), "incomplete", True),
]
"""Payload, reason, and whether its number has come: its envelope is valid."""


@pytest.mark.parametrize(("payload", "reason", "has_number"), HOSTILE)
def test_a_hostile_record_is_refused_and_counted_and_others_are_stored(
    payload: bytes,
    reason: str,
    *,
    has_number: bool,
    server: Postgres,
    database: FleetDatabase,
) -> None:
    script = Script()
    script.add_many(6)
    hostile = Arrival("yard", payload, now())
    database.write([*script.arrivals()[1:3], hostile, *script.arrivals()[3:]])
    assert refused(server) == {("yard", reason): 1}
    assert all_stored(server) == [2, 3, 4, 5, 6]
    assert received(server) == ("{[1,7)}" if has_number else "{[2,7)}")
    (example,) = rows(server, "SELECT length(example) <= 200 FROM refused")
    assert example == (True,)


def test_an_event_that_comes_again_in_the_next_epoch_is_there_once(
    server: Postgres, database: FleetDatabase
) -> None:
    first = Script()
    first.add_many(24)
    again = Script(epoch="abababab", started=first.started)
    again.add_many(24)
    database.write(first.arrivals())
    database.write(again.arrivals())
    counts = stored(server)
    assert {
        key: len(counts[key]) for key in ("events", "onsets", "gaps", "scores")
    } == {
        "events": 3,
        "onsets": 3,
        "gaps": 3,
        "scores": 3,
    }
    assert refused(server) == {}


@pytest.mark.parametrize(
    "text",
    ["'); DROP TABLE events; --", "<script>alert(1)</script>", "\\N\t\n\\.", "{}"],
)
def test_text_of_any_kind_is_stored_as_it_is(
    text: str, server: Postgres, database: FleetDatabase
) -> None:
    database.write([Arrival("yard", event_message(1, label=text, mood=text), now())])
    assert rows(server, "SELECT label, more ->> 'mood' FROM events") == [(text, text)]


def test_deep_and_huge_values_of_unknown_keys_are_stored_or_refused(
    server: Postgres, database: FleetDatabase
) -> None:
    deep: Any = 1
    for _ in range(400):
        deep = [deep]
    database.write(
        [
            Arrival("yard", event_message(1, deep=deep), now()),
            Arrival("yard", event_message(2, huge=10**4000), now()),
            Arrival("yard", event_message(3, wide=["x"] * 60_000), now()),
        ]
    )
    assert all_stored(server) == [1, 2, 3]


def test_a_value_that_the_database_refuses_costs_its_record_alone(
    server: Postgres, database: FleetDatabase
) -> None:
    database.connection().execute(
        "ALTER TABLE events ADD CHECK (label <> 'impossible')"
    )
    script = Script()
    for number in range(40):
        script.add("event", label="impossible" if number == 17 else "siren")
    database.write(script.arrivals())
    assert refused(server) == {("yard", "not-stored"): 1}
    assert all_stored(server) == [n for n in range(1, 41) if n != 18]
    # Its number has come: nobody is asked for it again and again.
    assert received(server) == "{[1,41)}"
    database.write(script.arrivals())
    assert refused(server) == {("yard", "not-stored"): 1}


def test_records_older_than_they_are_kept_make_no_partitions(server: Postgres) -> None:
    database = FleetDatabase(server.url, Keep(30, 2))
    try:
        script = Script(started=now() - timedelta(days=3))
        script.add("event")
        script.add("scores")
        script.started = now() - timedelta(days=9000)
        script.add("event")
        database.write(script.arrivals())
        assert all_stored(server) == [1]
        assert refused(server) == {("yard", "too-old"): 2}
        assert received(server) == "{[1,4)}"
    finally:
        database.close()


def test_a_database_that_was_copied_back_is_noticed(
    server: Postgres, database: FleetDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    script = Script()
    script.add_many(20)
    database.write(script.arrivals())
    database.write(script.arrivals())
    assert refused(server) == {}
    restored = Script()
    restored.add_many(11)
    restored.add("session", session="after the backup")
    restored.add("event", label="drilling")
    database.write([restored.arrival(12), restored.arrival(13)])
    assert refused(server) == {("yard", "reused"): 1}
    assert [it for it in caplog.messages if "uses sequence numbers again" in it]
    (line,) = [it for it in status_lines(read_status(server.url)) if "reused" in it]
    assert "copied back" in line


def test_the_missing_ranges_of_an_epoch_are_bounded(
    server: Postgres, database: FleetDatabase
) -> None:
    script = Script()
    script.add_many(10)
    database.write([script.arrival(1)])
    with server.connect() as connection:
        connection.execute(
            "UPDATE epochs SET received = received + (SELECT "
            "range_agg(int8range(2 * n, 2 * n + 1)) FROM generate_series(50, 2048) n)"
        )
    database.write([script.arrival(3)])
    database.write([script.arrival(2)])  # no range more
    assert refused(server) == {("yard", "scattered"): 1}
    assert all_stored(server) == [1, 2]
    other = Script("garden")
    other.add("event")
    database.write([script.arrival(5), other.arrival(1)])
    assert all_stored(server, "garden") == [1]


def test_days_are_dropped_when_they_are_old(server: Postgres) -> None:
    database = FleetDatabase(server.url, Keep(400))
    try:
        script = Script()
        for days in (0, 5, 100):
            script.started = now() - timedelta(days=days)
            for kind in ("event", "scores", "deleted"):
                script.add(kind)
        database.write(script.arrivals())
        remove_old(database.connection(), Keep(50, 3), now())
        found = stored(server)
        assert found["events"] == [1, 4]
        assert found["scores"] == [2]
        assert found["deleted"] == [3, 6]
        names = rows(server, "SELECT relid::text FROM pg_partition_tree('scores')")
        assert len(names) == 2
        # What is dropped may be needed again, if somebody changes his mind.
        database.write([script.arrival(7)])
        script.started = now() - timedelta(days=100)
        script.add("event")
        database.write([script.arrival(10)])
        assert stored(server)["events"] == [1, 4, 10]
    finally:
        database.close()


def test_a_reader_of_a_table_delays_no_new_day(
    server: Postgres, database: FleetDatabase
) -> None:
    script = Script()
    script.add("event")
    database.write(script.arrivals())
    script.started -= timedelta(days=2)
    script.add("event")
    with server.connect() as reader, reader.transaction():
        reader.execute("SELECT count(*) FROM events")
        database.connection().execute("SET lock_timeout = '2s'")
        database.write(script.arrivals())
        # Nor is a day that is read dropped, or waited for.
        remove_old(database.connection(), Keep(1), now() + timedelta(hours=1))
    assert stored(server)["events"] == [1, 2]
    remove_old(database.connection(), Keep(0), now() + timedelta(hours=1))
    assert stored(server)["events"] == [1]


def test_two_collectors_at_once_neither_lose_nor_double(server: Postgres) -> None:
    from concurrent.futures import ThreadPoolExecutor

    scripts = [Script(f"m{number}") for number in range(5)]
    for script in scripts:
        script.add_many(40)
    draw = random.Random(5)

    def collect(seed: float) -> None:
        database = FleetDatabase(server.url)
        try:
            arrivals = [each for script in scripts for each in script.arrivals()]
            random.Random(seed).shuffle(arrivals)
            for start in range(0, len(arrivals), 25):
                batch = arrivals[start : start + 25]
                while True:
                    try:
                        database.write(batch)
                        break
                    except psycopg.errors.TransactionRollback:
                        continue
        finally:
            database.close()

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(collect, [draw.random() for _ in range(3)]))
    for script in scripts:
        assert all_stored(server, script.monitor) == list(range(1, 41))
