"""A week of sound with a fault every hour: nothing grows, is lost or is invented.

The world is simulated; capture, pipeline, database, event log and a real child process
behind the source are not.
"""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from numpy.typing import NDArray

from monitor.config.outputs import StoreSettings
from monitor.sinks.event_log import EventLog
from monitor.sinks.store.records import Session
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock
from tests.support.loudness_classifier import SPEC, loudness_pipeline
from tests.support.simulation import Incident, SimulatedCard, Simulation
from tests.support.store import AlertOnEverything

pytestmark = [pytest.mark.soak, pytest.mark.timeout(4 * 3600)]

DAYS = float(os.environ.get("SOUND_MONITOR_SOAK_DAYS", "7"))
HOUR = 3600.0
RATE = SPEC.sample_rate
FLAT_MIB = 8.0
AROUND_SECONDS = 9.0
"""Before and after a gap, in which an event may be cut, missed or placed otherwise: a
window, the lull that ends an event and the refractory time; and what was lost without
a word is found after eight seconds."""

REFRACTORY_SECONDS = 1.0

FAULTS_SECONDS = 60.0
"""A fault begins so long after the hour."""

NOISE = np.random.default_rng(1).standard_normal(RATE).astype(np.float32)
LENGTHS = np.random.default_rng(2).uniform(0.3, 9.0, 1009)
LEVELS = np.random.default_rng(3).uniform(0.05, 0.5, 1009).astype(np.float32)
SLOT_SECONDS = 20.0

Record = dict[str, Any]


def sound(moments: NDArray[np.float64]) -> NDArray[np.float32]:
    """In each slot of 20 s something of another length and level; never twice alike."""
    slots = (moments // SLOT_SECONDS).astype(int)
    is_loud = moments % SLOT_SECONDS < LENGTHS[slots % 1009]
    noise = NOISE[np.rint(moments * RATE).astype(int) % NOISE.size]
    return noise * np.where(is_loud, LEVELS[slots % 1009], np.float32(0.001))


@dataclass
class Run:
    """A monitor in its world, with the things that it must not lose hold of."""

    folder: Path
    used: list[tuple[float, int, int]] = field(default_factory=list)
    """MiB of its own, open files and threads, at the end of each hour."""

    def __post_init__(self) -> None:
        self.clock = FakeClock()
        self.card = SimulatedCard(self.clock, sound, RATE, block_seconds=0.5)
        self.card.was_opened, self.card.was_closed = self._spawn, self._kill
        self.child: subprocess.Popen[bytes] | None = None
        path = self.folder / "monitor.db"
        session = Session("run", "loud", ("loud",), RATE)
        settings = StoreSettings(max_mib=64)
        rules = AlertOnEverything()
        store = Store(path, settings, session, self.clock, rules=rules)
        self.log = self.folder / "events.jsonl"
        event_log = EventLog(self.log, rotate_mib=1000, keep=1)
        pipeline = loudness_pipeline(48, refractory_seconds=REFRACTORY_SECONDS)
        self.simulation = Simulation(
            self.card, pipeline, [store, event_log], turn_seconds=4.0
        )
        self._limit = resource.getrlimit(resource.RLIMIT_FSIZE)

    def listen(self, hours: int, faults: bool) -> list[Record]:
        incidents: list[Incident] = []
        kinds = self._faults()
        for hour in range(hours):
            if faults:
                at = hour * HOUR + FAULTS_SECONDS + 7 * (hour % 100)
                incidents.append((at, kinds[hour % len(kinds)]))
                incidents.append((at + 300.0, self._end_fault))
            incidents.append(((hour + 1) * HOUR - 1, self._look))
        self.simulation.run(hours * HOUR, incidents)
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def _faults(self) -> list[Callable[[], None]]:
        card, simulation = self.card, self.simulation
        return [
            card.end,
            lambda: card.end(90.0),
            lambda: card.hang(30.0),
            lambda: card.garbage(2.0),
            lambda: card.overflow(1.5),
            lambda: card.lose(1.0),
            lambda: card.hold(20.0),
            lambda: simulation.delay_worker(100.0),
            self._fill_disk,
            lambda: card.sleep(1800.0),
            lambda: simulation.step_wall_clock(HOUR),
            lambda: simulation.worker.ask(simulation.worker.reopen_sinks),
            lambda: simulation.step_wall_clock(-HOUR),
        ]

    def _fill_disk(self) -> None:
        """No file may grow beyond a byte: what writing to a full disk is like."""
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, self._limit[1]))

    def _end_fault(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limit)

    def _look(self) -> None:
        process = psutil.Process()
        memory = process.memory_info()
        own = (memory.rss - memory.shared) / 2**20
        self.used.append((own, process.num_fds(), process.num_threads()))

    def _spawn(self) -> None:
        self.child = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def _kill(self) -> None:
        assert self.child is not None
        self.child.kill()
        self.child.communicate()
        self.child = None


def of_type(records: list[Record], kind: str) -> list[Record]:
    return [record for record in records if record["type"] == kind]


def spans(records: list[Record]) -> list[tuple[int, int]]:
    return [(record["start_sample"], record["stop_sample"]) for record in records]


def assert_invariants(records: list[Record]) -> None:
    events = of_type(records, "event")
    gaps = spans(of_type(records, "gap"))
    assert all(start < stop for start, stop in [*spans(events), *gaps])
    # One label, one source: events follow each other, the refractory time between.
    refractory = round(REFRACTORY_SECONDS * RATE)
    for (_, before), (after, _) in pairwise(spans(events)):
        assert after >= before + refractory
    for (_, before), (after, _) in pairwise(gaps):
        assert after >= before
    for start, stop in spans(events):
        assert not any(first < stop and start < last for first, last in gaps)
    # Each onset has its event, once, and there is no other.
    ids = [record["id"] for record in events]
    assert len(ids) == len(set(ids))
    assert {record["id"] for record in of_type(records, "onset")} == set(ids)


def away_from(gaps: list[tuple[int, int]], events: list[Record]) -> list[Record]:
    around = round(AROUND_SECONDS * RATE)
    return [
        event
        for event, (start, stop) in zip(events, spans(events), strict=True)
        if not any(a - around < stop and start < b + around for a, b in gaps)
    ]


def facts(event: Record) -> tuple[Any, ...]:
    names = ("start_sample", "stop_sample", "peak_score", "mean_score", "level_dbfs")
    return tuple(event[name] for name in names)


def test_a_week_of_faults_loses_only_the_sound_in_its_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hours = round(24 * DAYS)
    folders = [tmp_path / name for name in ("calm", "faults")]
    for folder in folders:
        folder.mkdir()
    calm = Run(folders[0]).listen(hours, faults=False)
    run = Run(folders[1])
    records = run.listen(hours, faults=True)

    memory, files, threads = (
        np.array(each) for each in zip(*run.used[1:], strict=True)
    )
    gaps = spans(of_type(records, "gap"))
    lost_seconds = sum(stop - start for start, stop in gaps) / RATE
    events = of_type(records, "event")
    with capsys.disabled():
        sys.stdout.write(
            f"\n{hours} hours with a fault in each: {len(events)} events, {len(gaps)} "
            f"gaps of {lost_seconds:.0f} s, memory {memory.min():.1f} to "
            f"{memory.max():.1f} MiB, {files.max()} files, {threads.max()} threads\n"
        )
    assert_invariants(calm)
    assert_invariants(records)
    assert not of_type(calm, "gap")
    assert len(gaps) >= hours * 6 // 13
    expected = [facts(event) for event in away_from(gaps, of_type(calm, "event"))]
    found = [facts(event) for event in away_from(gaps, events)]
    assert found == expected
    assert len(found) > 0.6 * len(of_type(calm, "event"))
    assert memory.max() - memory.min() <= FLAT_MIB
    assert files.max() == files.min()
    assert threads.max() == threads.min()
