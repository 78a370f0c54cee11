"""A fleet on one machine: simulated monitors, and everything else as it is.

Monitors publish from their databases to a real broker, two collectors write into a real
PostgreSQL, and `chaos` kills them all.  Afterwards `verify` compares both ends.
"""

import json
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from tests.support.broker import Broker
from tests.support.clock import wait_until
from tests.support.fleet_monitors import LOST_AND_AWAY, Plan, database_of
from tests.support.fleet_verification import newest_of
from tests.support.nats_server import NatsServer
from tests.support.postgres import Postgres, running_postgres
from tests.support.relay import Relay, relays_to

MOSQUITTO = (
    "max_queued_messages 1000000",
    "max_inflight_messages 0",
    "persistence true",
)


ARRIVAL_SECONDS = 400.0
"""Longest time for what was lost to arrive after all."""


@dataclass(frozen=True)
class Fleet:
    """A fleet, and how it is run."""

    monitors: int
    minute_seconds: float
    """A minute's worth of records, about four, is written in so long."""

    kind: str = "mqtt"
    processes: int = 2
    relayed: int = 0
    """So many monitors have a network that can be cut."""

    ask_after: float = 3.0
    losses: Sequence[str] = ()
    """What goes wrong on purpose, with a monitor each."""

    @property
    def names(self) -> list[str]:
        return [f"m{number:03}" for number in range(self.monitors)]

    @property
    def planned(self) -> dict[str, str]:
        """By monitor, what goes wrong on purpose."""
        return dict(zip(self.names, self.losses, strict=False))


class Program:
    """A process that can be killed and started; stderr goes to a file."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        self._arguments = arguments
        self.log = log
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def wait_for_log(self, text: str) -> None:
        wait_until(lambda: text in self.log.read_text(), f"no {text!r}: {self.log}")

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self._reap()

    def say(self, word: str) -> None:
        """Write a line, and wait for one."""
        assert self.process is not None
        assert self.process.stdin is not None
        assert self.process.poll() is None, self.log.read_text()
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        self.listen()

    def listen(self) -> str:
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, self.log.read_text()
        return line

    def close(self) -> None:
        """Close its stdin, upon which it ends."""
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self._reap()

    def _reap(self) -> None:
        assert self.process is not None
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        self.process.wait(60)
        self.process = None


@dataclass
class Simulation:
    """A running fleet."""

    fleet: Fleet
    folder: Path
    server: Postgres
    broker: Broker | NatsServer
    relays: Mapping[str, Relay]
    collectors: list[Program] = field(default_factory=list)
    monitors: list[Program] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    """What `chaos` did, for people."""

    def start(self) -> None:
        for number in range(2):
            arguments = (
                *("tests.support.impatient_collector", str(self.fleet.ask_after)),
                *("--database", self.server.url),
                *("--broker", self.broker.url),
            )
            program = Program(arguments, self.folder / f"collector-{number}.log")
            program.start()
            self.collectors.append(program)
        for program in self.collectors:
            program.wait_for_log("are collected")
        names = self.fleet.names
        for number in range(self.fleet.processes):
            plan = self._plan(names[number :: self.fleet.processes])
            log = self.folder / f"monitors-{number}.log"
            program = Program(self._monitors(plan), log)
            program.start()
            self.monitors.append(program)
        for program in self.monitors:
            program.listen()

    @property
    def databases(self) -> dict[str, Path]:
        """By monitor, its database."""
        folder = self.folder / "monitors"
        return {name: database_of(folder, name) for name in self.fleet.names}

    def wait_for(self, records: int) -> None:
        """Wait until so many records have arrived."""
        wait_until(lambda: self.collected() >= records, self.state())

    def collected(self) -> int:
        """Records that the collectors have taken."""
        (count,) = self._row(
            "SELECT coalesce(sum((SELECT sum(upper(each) - lower(each)) "
            "FROM unnest(received) AS each)), 0)::bigint FROM epochs"
        )
        return int(count)

    def kill(self) -> None:
        """Kill what is left of it, apart from broker and database."""
        for program in (*self.monitors, *self.collectors):
            program.kill()

    # Figures.

    @property
    def collector_pids(self) -> list[int]:
        return [it.process.pid for it in self.collectors if it.process is not None]

    def written(self) -> int:
        """Records that the monitors have written."""
        return sum(map(newest_of, self.databases.values()))

    def now(self) -> datetime:
        return self._row("SELECT clock_timestamp()")[0]  # type: ignore[no-any-return]

    def latency(self, since: datetime) -> tuple[float, ...]:
        """Seconds from a monitor's commit to a collector's: p50, p95 and p99."""
        (found,) = self._row(
            "SELECT percentile_cont(array[0.5, 0.95, 0.99]) WITHIN GROUP "
            "(ORDER BY extract(epoch FROM stored - ended)::double precision) "
            "FROM events WHERE stored > %s",
            since,
        )
        return tuple(round(each, 3) for each in found)

    def _row(self, query: str, *values: object) -> Sequence[Any]:
        with self.server.connect() as connection:
            row = connection.execute(query.encode(), values).fetchone()
        assert row is not None
        return row

    def _plan(self, names: Sequence[str]) -> Plan:
        losses = self.fleet.planned
        ports = {name: relay.port for name, relay in self.relays.items()}
        return Plan(
            str(self.folder / "monitors"),
            {
                name: f"{self.fleet.kind}://127.0.0.1:"
                f"{ports.get(name, self.broker.port)}"
                for name in names
            },
            self.fleet.minute_seconds,
            {name: loss for name, loss in losses.items() if name in names},
        )

    @staticmethod
    def _monitors(plan: Plan) -> tuple[str, str]:
        return "tests.support.fleet_monitors", json.dumps(asdict(plan))

    # Faults.

    def chaos(self, faults: int, seed: int) -> None:
        """Kill and cut at random, one thing after the other, each equally often."""
        draw = random.Random(seed)
        actions: list[Callable[[random.Random], None]] = [
            *(self._kill_broker, self._kill_collector, self._kill_database),
            *(self._kill_monitors, self._cut_networks),
        ]
        rounds = -(-faults // len(actions))
        order = [each for _ in range(rounds) for each in draw.sample(actions, 5)]
        for action in order[:faults]:
            action(draw)
            time.sleep(draw.uniform(0, 4))
        for relay in self.relays.values():
            relay.holds = False

    def _kill_broker(self, draw: random.Random) -> None:
        self.faults.append("broker")
        self.broker.stop()
        time.sleep(draw.uniform(0.2, 4))
        self.broker.start()

    def _kill_collector(self, draw: random.Random) -> None:
        count = draw.choice((1, 1, 2))
        self.faults.append("collector" if count == 1 else "collectors")
        killed = draw.sample(self.collectors, count)
        for program in killed:
            program.kill()
        time.sleep(draw.uniform(0, 3))
        for program in killed:
            program.start()

    def _kill_database(self, draw: random.Random) -> None:
        self.faults.append("database")
        self.server.kill()
        time.sleep(draw.uniform(0.2, 4))
        self.server.start()

    def _kill_monitors(self, draw: random.Random) -> None:
        self.faults.append("monitors")
        number = draw.randrange(len(self.monitors))
        self.monitors[number].kill()
        time.sleep(draw.uniform(0, 2))
        planned = self.fleet.planned
        names = self.fleet.names[number :: self.fleet.processes]
        # What is off stays off; what went wrong does so once.
        plan = self._plan([it for it in names if planned.get(it) != LOST_AND_AWAY])
        plan.losses.clear()
        log = self.monitors[number].log
        self.monitors[number] = Program(self._monitors(plan), log)
        self.monitors[number].start()
        self.monitors[number].listen()

    def _cut_networks(self, draw: random.Random) -> None:
        relays = list(self.relays.values())
        cut = draw.sample(relays, max(1, len(relays) // 4))
        self.faults.append(f"network of {len(cut)}")
        for relay in relays:
            relay.holds = False
        for relay in cut:
            if draw.random() < 0.5:
                relay.holds = True  # until the next time
            else:
                relay.cut()

    # The end.

    def stop(self) -> float:
        """End the script, wait until all has arrived, and switch the monitors off.

        Returns:
            Seconds until all had arrived.
        """
        for program in self.monitors:
            program.say("stop")
        began = time.monotonic()
        newest = {name: newest_of(path) for name, path in self.databases.items()}
        while left := self.incomplete(newest):
            assert time.monotonic() < began + ARRIVAL_SECONDS, f"{left}\n{self.state()}"
            time.sleep(0.5)
        for program in self.monitors:
            program.close()
        return time.monotonic() - began

    def incomplete(self, newest: Mapping[str, int]) -> dict[str, str]:
        """By monitor, the numbers that are missing; not those of monitors that are off.

        `newest` are the last numbers of their databases, digests may come after it.
        """
        with self.server.connect() as connection:
            rows = connection.execute(
                "SELECT monitor, int8multirange(int8range(1, "
                "greatest(epochs.newest, known.newest) + 1)) - "
                "coalesce(received, '{}') + coalesce((SELECT range_agg(int8range("
                "first, last, '[]')) FROM missing WHERE epoch_id = epochs.id "
                "AND filled IS NULL), '{}') AS lacking "
                "FROM unnest(%s::text[], %s::bigint[]) AS known (monitor, newest) "
                "LEFT JOIN epochs USING (monitor)",
                [list(newest), list(newest.values())],
            ).fetchall()
        return {
            name: str(lacking)
            for name, lacking in rows
            if lacking and self.fleet.planned.get(name) != LOST_AND_AWAY
        }

    def state(self) -> str:
        logs = [program.log.read_text() for program in self.collectors]
        return "\n".join([", ".join(self.faults), *logs])


@contextmanager
def simulated(fleet: Fleet, folder: Path) -> Iterator[Simulation]:
    """Run a fleet; its monitors write while the block runs."""
    with ExitStack() as stack:
        server = stack.enter_context(running_postgres())
        broker: Broker | NatsServer
        if fleet.kind == "mqtt":
            broker = Broker(folder, *MOSQUITTO, f"persistence_location {folder}/")
        else:
            broker = NatsServer(folder)
        stack.callback(broker.stop)
        broker.start()
        relays = stack.enter_context(relays_to(broker.port, fleet.relayed))
        by_name = dict(zip(fleet.names[: fleet.relayed], relays, strict=True))
        simulation = Simulation(fleet, folder, server, broker, by_name)
        stack.callback(simulation.kill)
        simulation.start()
        yield simulation
