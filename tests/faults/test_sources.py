"""Faults of capture programs under a running monitor, all at the same time."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.fault_monitor import (
    FaultMonitor,
    Figure,
    running_fault_monitor,
    write_sounds,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RECOVERY_SECONDS = 30.0
"""Generous: the machine may be busy."""

PAUSE_SECONDS = 2.5


@dataclass(frozen=True)
class Fault:
    """A fault of one source."""

    source: str
    drill: str
    order: str
    reasons: frozenset[str] = frozenset()
    """Reasons of the gaps; none: no sound may be lost."""


FAULTS = (
    Fault("steady", "nothing happens to one of nine sources", ""),
    Fault("exit", "capture program exits", "exit", frozenset({"ended"})),
    Fault("die", "capture program is killed", "die", frozenset({"ended"})),
    Fault("hang", "capture program hangs (SIGSTOP)", "hang", frozenset({"stalled"})),
    Fault("flood", "capture program floods its errors", "flood"),
    Fault("garbage", "a second of random bytes", "garbage", frozenset({"invalid"})),
    Fault("rate", "device returns at 48 kHz", "change 48000 1", frozenset({"ended"})),
    Fault("stereo", "device returns in stereo", "change 16000 2", frozenset({"ended"})),
    Fault(
        "many", "device returns with 4 channels", "change 8000 4", frozenset({"ended"})
    ),
)


@dataclass(frozen=True)
class Outcome:
    running: FaultMonitor
    since: float
    """When the faults began, time of day in seconds."""

    until: float
    """When every source was captured again."""

    after_pause: float
    """When the monitor was resumed after it was suspended."""

    exit_code: int


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Cause all faults at once, then suspend the monitor for a while."""
    folder: Path = tmp_path_factory.mktemp("running")
    names = [fault.source for fault in FAULTS]
    with running_fault_monitor(folder, names) as running:
        for device in ((48_000, 1), (16_000, 2), (8_000, 4)):
            for name in names:
                write_sounds(folder / name, device)
        running.wait_for_sound(names)
        since = datetime.now().timestamp()
        for fault in FAULTS:
            if fault.order:
                running.order(fault.source, fault.order)
        running.wait(4.0)
        running.wait_for_sound(names, since + 4.0)
        until = datetime.now().timestamp()
        os.kill(running.monitor.process.pid, signal.SIGSTOP)
        signal.sigtimedwait([], PAUSE_SECONDS)
        os.kill(running.monitor.process.pid, signal.SIGCONT)
        after_pause = datetime.now().timestamp()
        running.wait_for_sound(names, after_pause)
        for name in names:
            running.lost_alerts(name)
        code, _ = running.monitor.stop()
        yield Outcome(running, since, until, after_pause, code)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.source)
def test_a_source_is_captured_again_after_its_fault(
    outcome: Outcome, fault: Fault, figures: list[Figure]
) -> None:
    figure = outcome.running.figure(fault.drill, fault.source, outcome.since)
    figures.append(figure)
    gaps = outcome.running.records("gap", fault.source)
    assert {gap["end_reason"] for gap in gaps} == fault.reasons
    assert figure.recovered_seconds is not None
    assert figure.recovered_seconds < RECOVERY_SECONDS
    assert figure.lost_seconds < RECOVERY_SECONDS
    assert figure.lost_alerts == 0


def test_a_suspended_monitor_loses_no_sound(
    outcome: Outcome, figures: list[Figure]
) -> None:
    since, drill = outcome.until, f"the monitor itself stops for {PAUSE_SECONDS} s"
    each = [outcome.running.figure(drill, f.source, since) for f in FAULTS]
    lost = sum(figure.lost_seconds for figure in each)
    figures.append(Figure(drill, None, lost, outcome.running.lost_alerts()))
    assert lost == 0
    for fault in FAULTS:
        assert outcome.running.records("onset", fault.source)


def test_the_monitor_ends_without_errors_and_with_a_short_log(outcome: Outcome) -> None:
    assert outcome.exit_code == 0
    log = outcome.running.monitor.log
    assert "Traceback" not in log
    # A repeated message is logged once, then counted: no fault floods the log.
    assert len(log.splitlines()) < 60, log
