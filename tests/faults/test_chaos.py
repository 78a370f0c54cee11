"""Many random faults at once: a real monitor survives, recovers and reports all."""

import os
import random
import signal
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest

from tests.support.endpoint import ok, status
from tests.support.fault_monitor import (
    FaultMonitor,
    Figure,
    running_fault_monitor,
    write_sounds,
)

ORDERS = (
    "exit",
    "die",
    "hang",
    "flood",
    "garbage",
    "change 48000 1",
    "change 16000 2",
    "change 16000 1",
    "change 8000 4",
)
SOURCES = 10
AT_ONCE = 20
ROUND_SECONDS = 10.0
RECOVERY_SECONDS = 60.0
"""Generous: the machine may be busy."""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    "rounds",
    [
        pytest.param(1, marks=pytest.mark.timeout(600)),
        pytest.param(60, marks=[pytest.mark.soak, pytest.mark.timeout(3600)]),
    ],
)
def test_twenty_random_faults_at_once_are_survived(
    tmp_path: Path, figures: list[Figure], rounds: int
) -> None:
    generator = random.Random(1)
    names = [f"source-{number}" for number in range(SOURCES)]
    with running_fault_monitor(tmp_path, names) as running:
        for device in ((48_000, 1), (16_000, 2), (8_000, 4)):
            for name in names:
                write_sounds(tmp_path / name, device)
        running.wait_for_sound(names)
        began = monotonic()
        for _ in range(rounds):
            _cause_round(running, names, generator)
        running.endpoint.will(ok)
        since = datetime.now().timestamp()
        running.wait(3.0)
        # A source that stopped within a fault is found out after the time of a stall.
        running.wait_for_sound(names, since + 3.0)
        seconds = datetime.now().timestamp() - since
        lasted = monotonic() - began
        lost = running.lost_seconds()
        lost_alerts = running.lost_alerts()
        assert running.monitor.stop()[0] == 0
    name = f"{AT_ONCE} random faults at once, {ROUND_SECONDS * rounds:.0f} s long"
    figures.append(Figure(name, seconds, lost, lost_alerts))
    assert lost_alerts == 0
    assert seconds < RECOVERY_SECONDS
    assert lost < 0.9 * SOURCES * lasted
    assert "Traceback" not in running.monitor.log
    for source in names:
        _assert_consistent(running, source)


def _cause_round(
    running: FaultMonitor, names: list[str], generator: random.Random
) -> None:
    """Have twenty faults begin, spread over ten seconds."""
    pid = running.monitor.process.pid
    for _ in range(AT_ONCE):
        what = generator.choice(("source",) * 7 + ("freeze", "hang-up", "endpoint"))
        if what == "source":
            running.order(generator.choice(names), generator.choice(ORDERS))
        elif what == "freeze":
            os.kill(pid, signal.SIGSTOP)
            signal.sigtimedwait([], generator.uniform(0.1, 1.0))
            os.kill(pid, signal.SIGCONT)
        elif what == "hang-up":
            os.kill(pid, signal.SIGHUP)
        else:
            running.endpoint.will(generator.choice((ok, status(503), status(500))))
        running.wait(generator.uniform(0.2, 2 * ROUND_SECONDS / AT_ONCE - 0.2))


def _assert_consistent(running: FaultMonitor, source: str) -> None:
    """Gaps and events of a label follow each other; no event reaches into a gap."""
    gaps = running.records("gap", source)
    gaps = [_span(gap) for gap in gaps if "left_out_seconds" not in gap]
    events = running.records("event", source)
    for (_, before), (after, _) in pairwise(gaps):
        assert before <= after
    for label in {event["label"] for event in events}:
        spans = [_span(event) for event in events if event["label"] == label]
        for (_, before), (after, _) in pairwise(spans):
            assert before <= after
        for start, stop in spans:
            assert start < stop
            assert not any(a < stop and start < b for a, b in gaps)


def _span(record: dict[str, int]) -> tuple[int, int]:
    return record["start_sample"], record["stop_sample"]
