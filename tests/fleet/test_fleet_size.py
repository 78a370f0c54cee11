"""What a fleet costs: the figures of "How large" in docs/fleet.md; `-s` prints them.

Each monitor writes an hour's worth of records in two minutes.  The stores of all lie in
memory: each monitor has a disk of its own.  FLEET_BROKER=nats takes NATS, FLEET_FAULTS
says how much is killed and cut.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.fleet.test_simulation import LOSSES, check
from tests.support.broker import needs_mosquitto
from tests.support.fleet_simulation import Fleet, Simulation, simulated
from tests.support.nats_server import needs_nats
from tests.support.postgres import needs_postgres

pytestmark = [
    pytest.mark.fleet,
    pytest.mark.soak,
    needs_postgres,
    needs_mosquitto,
    needs_nats,
    pytest.mark.timeout(1800),
]

SIZES = (50, 100, 200, 500)
KIND = os.environ.get("FLEET_BROKER", "mqtt")
MINUTE_SECONDS = 2.0
SETTLING_SECONDS, MEASURED_SECONDS = 10.0, 30.0
FAULTS = int(os.environ.get("FLEET_FAULTS", "15"))
MOST_GROWTH = 1.5
"""What a record of the largest fleet may cost, compared with one of the smallest."""

MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Figures:
    """What a time without faults showed."""

    monitors: int
    written: float
    """Records a second that the monitors wrote."""

    collected: float
    """Records a second that were committed."""

    collector_ms: float
    """Processor time of the collectors for a record."""

    database_ms: float
    broker_ms: float
    latency: tuple[float, ...]
    """Seconds from the commit of a monitor to that of a collector: p50, p95, p99."""

    load: float
    """Of the machine."""

    @property
    def cpu_ms(self) -> float:
        """Processor time for a record behind the monitors."""
        return self.collector_ms + self.database_ms + self.broker_ms


def cpu_seconds(*pids: int) -> float:
    """Processor time of processes and of all that they have started."""
    total = 0.0
    for pid in pids:
        process = psutil.Process(pid)
        total += sum(process.cpu_times()[:4])
        total += sum(sum(it.cpu_times()[:2]) for it in process.children(recursive=True))
    return total


def measure(simulation: Simulation) -> Figures:
    time.sleep(SETTLING_SECONDS)
    groups = (
        simulation.collector_pids,
        [simulation.server.process_id],
        [simulation.broker.process_id],
    )
    since, began = simulation.now(), time.monotonic()
    cpu = [cpu_seconds(*pids) for pids in groups]
    written, collected = simulation.written(), simulation.collected()
    time.sleep(MEASURED_SECONDS)
    cpu = [
        cpu_seconds(*pids) - before for pids, before in zip(groups, cpu, strict=True)
    ]
    collected = simulation.collected() - collected
    written = simulation.written() - written
    seconds = time.monotonic() - began
    collectors, database, broker = (1000 * each / collected for each in cpu)
    return Figures(
        simulation.fleet.monitors,
        round(written / seconds, 1),
        round(collected / seconds, 1),
        round(collectors, 3),
        round(database, 3),
        round(broker, 3),
        simulation.latency(since),
        os.getloadavg()[0],
    )


def bytes_a_row(simulation: Simulation) -> dict[str, int]:
    """By table, what a row takes in the database, with its indices."""
    with simulation.server.connect() as connection:
        return {
            table: size // max(1, rows)
            for table in ("scores", "digests", "onsets", "events")
            for size, rows in connection.execute(
                f"SELECT (SELECT sum(pg_total_relation_size(relid))::bigint "
                f"FROM pg_partition_tree('{table}')), (SELECT count(*) FROM {table})"
            )
        }


def most_a_second(simulation: Simulation) -> float:
    """Records a second that were committed in the busiest ten seconds."""
    tables = ("scores", "digests", "onsets", "events")
    every = " UNION ALL ".join(f"SELECT stored FROM {table}" for table in tables)
    with simulation.server.connect() as connection:
        row = connection.execute(
            "SELECT max(count) FROM (SELECT count(*) FROM "
            f"({every}) AS every GROUP BY extract(epoch FROM stored)::bigint / 10) AS x"
        ).fetchone()
    assert row is not None
    return float(row[0]) / 10


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(dir=MEMORY if MEMORY.exists() else None))
    yield made
    shutil.rmtree(made)


def fleet_of(monitors: int) -> Fleet:
    return Fleet(
        monitors,
        MINUTE_SECONDS,
        KIND,
        processes=max(1, monitors // 100),
        relayed=monitors // 10,
        ask_after=5.0,
        losses=LOSSES,
    )


def test_a_record_of_500_monitors_costs_no_more_than_one_of_50(folder: Path) -> None:
    measured: list[Figures] = []
    for monitors in SIZES:
        (place := folder / str(monitors)).mkdir()
        with simulated(fleet_of(monitors), place) as simulation:
            measured.append(measure(simulation))
        report(measured[-1])
        shutil.rmtree(place)
    assert measured[-1].cpu_ms < MOST_GROWTH * measured[0].cpu_ms


def test_after_all_was_killed_every_record_of_500_monitors_is_there_once(
    folder: Path,
) -> None:
    with simulated(fleet_of(SIZES[-1]), folder) as simulation:
        simulation.wait_for(10 * SIZES[-1])
        simulation.chaos(FAULTS, seed=2)
        seconds = simulation.stop()
        report(
            ", ".join(simulation.faults),
            f"{simulation.collected()} records, all {seconds:.0f} s later",
            f"at most {most_a_second(simulation):.0f} a second",
            bytes_a_row(simulation),
        )
        check(simulation)


def report(*lines: object) -> None:
    sys.stdout.write("".join(f"\n{line}" for line in lines))
    sys.stdout.flush()
