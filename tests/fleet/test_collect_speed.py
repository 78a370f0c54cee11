"""Cost of a collector: CPU and room a record, and whether it grows with the fleet."""

import base64
import os
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from monitor.fleet.collect.database import Arrival, FleetDatabase
from monitor.fleet.collect.missing import look_for_missing
from monitor.fleet.collect.status import read_status
from tests.support.broker import needs_mosquitto, running_broker
from tests.support.clock import wait_until
from tests.support.fleet import Script, collecting, mqtt_monitors, now
from tests.support.postgres import Postgres, needs_postgres

pytestmark = [pytest.mark.benchmark, needs_postgres, pytest.mark.timeout(600)]

BATCH = 500
RECORDS = 10_000

# What a source has in a day: its scores are 4 MB.
_DATA = base64.b64encode(os.urandom(2_900)).decode()
_A_DAY = {"scores": 1440, "digest": 1440, "onset": 150, "event": 150, "gap": 2}


def minutes(fleet: int, records: int) -> list[Arrival]:
    """Records of monitors in turn: mostly scores and digests."""
    scripts = [Script(f"m{number:04d}") for number in range(fleet)]
    for script in scripts:
        script.add("session")
    kinds = ("scores", "digest") * 5 + ("onset", "event")
    arrivals: list[Arrival] = []
    for number in range(records):
        script = scripts[number % fleet]
        kind = kinds[(number // fleet) % len(kinds)]
        more = {"data": _DATA} if kind == "scores" else {}
        arrivals.append(script.arrival(script.add(kind, **more)))
    return arrivals


def cpu_of(server: Postgres) -> Callable[[], float]:
    """Seconds of CPU of all processes of a server so far."""
    parent = psutil.Process(server.process_id)

    def seconds() -> float:
        return sum(sum(each.cpu_times()[:2]) for each in (parent, *parent.children()))

    return seconds


def measure(server: Postgres, fleet: int) -> tuple[float, float, float]:
    """Microseconds of a record: elapsed, CPU of the collector, of the database."""
    database = FleetDatabase(server.url)
    arrivals = minutes(fleet, RECORDS)
    try:
        database.write(arrivals[:BATCH])  # partitions, prepared statements
        rest = arrivals[BATCH:]
        of_server = cpu_of(server)
        begun = time.monotonic(), time.process_time(), of_server()
        for start in range(0, len(rest), BATCH):
            database.write(rest[start : start + BATCH])
        ended = time.monotonic(), time.process_time(), of_server()
    finally:
        database.close()
    a, b, c = (
        1e6 * (last - first) / len(rest)
        for first, last in zip(begun, ended, strict=True)
    )
    return a, b, c


def test_a_record_costs_the_same_in_a_small_fleet_and_in_a_large_one(
    server: Postgres, capsys: pytest.CaptureFixture[str]
) -> None:
    small, large = measure(server, 50), measure(server, 500)
    with capsys.disabled():
        for fleet, (elapsed, own, of_server) in ((50, small), (500, large)):
            sys.stdout.write(
                f"\n{fleet} monitors: {1e6 / elapsed:.0f} records/s, CPU a record: "
                f"collector {own:.0f} us, database {of_server:.0f} us\n"
            )
    assert large[1] < 2 * small[1]
    assert large[2] < 2 * small[2]


def test_holes_and_the_status_of_a_large_fleet_are_read_quickly(
    server: Postgres, database: FleetDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    arrivals = minutes(500, RECORDS)
    for start in range(0, RECORDS, BATCH):
        database.write(arrivals[start + start // BATCH % 2 : start + BATCH])
    begun = time.monotonic()
    look_for_missing(database.connection(), timedelta(seconds=30), (), 6)
    looked = time.monotonic()
    assert len(read_status(server.url)["monitors"]) == 500
    read = time.monotonic()
    with capsys.disabled():
        sys.stdout.write(
            f"\n500 monitors: missing in {1000 * (looked - begun):.0f} ms, status in "
            f"{1000 * (read - looked):.0f} ms\n"
        )
    assert read - begun < 10


def test_the_room_of_a_monitor_and_a_day(
    server: Postgres, database: FleetDatabase, capsys: pytest.CaptureFixture[str]
) -> None:
    script = Script(started=now() - timedelta(days=1))
    script.add("session")
    for kind, amount in _A_DAY.items():
        for _ in range(amount):
            script.add(kind, **({"data": _DATA} if kind == "scores" else {}))
    arrivals = script.arrivals()
    for start in range(0, len(arrivals), BATCH):
        database.write(arrivals[start : start + BATCH])
    rows = database.connection().execute(
        "SELECT parentrelid::regclass::text, sum(pg_total_relation_size(relid)) "
        "FROM pg_class, pg_partition_tree(pg_class.oid) "
        "WHERE relkind = 'p' AND level = 1 GROUP BY 1 ORDER BY 1"
    )
    sizes = {table: int(size) for table, size in rows}
    with capsys.disabled():
        shown = ", ".join(f"{k} {v / 2**20:.2f}" for k, v in sizes.items())
        sys.stdout.write(
            f"\na source and day: {sum(sizes.values()) / 2**20:.1f} MiB ({shown})\n"
        )
    assert sum(sizes.values()) < 12 * 2**20


@needs_mosquitto
def test_latency_at_a_thousand_records_a_second(
    server: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the sending of a record to its row, through the broker."""
    scripts = [Script(f"m{number}") for number in range(50)]
    options = ("max_inflight_messages 0", "max_queued_messages 0")
    with (
        running_broker(tmp_path, *options) as broker,
        collecting(server, broker.url),
        mqtt_monitors(broker.port, *scripts) as monitors,
    ):
        begun = time.monotonic()
        for number in range(10_000):
            script = scripts[number % len(scripts)]
            sequence = script.add("event")
            monitors.publish(script.monitor, script.messages[sequence])
            time.sleep(max(0.0, begun + number / 1000 - time.monotonic()))
        spent = time.monotonic() - begun

        def count() -> int:
            with server.connect() as connection:
                row = connection.execute("SELECT count(*) FROM events").fetchone()
            return 0 if row is None else int(row[0])

        wait_until(lambda: count() == 10_000)
    with server.connect() as connection:
        row = connection.execute(
            "SELECT percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP "
            "(ORDER BY extract(epoch FROM stored - sent)) FROM events"
        ).fetchone()
    assert row is not None
    median, p95 = row[0]
    with capsys.disabled():
        sys.stdout.write(
            f"\n{10_000 / spent:.0f} records/s: latency {1000 * median:.0f} ms, "
            f"p95 {1000 * p95:.0f} ms\n"
        )
    assert p95 < 2
