"""What a capture program may do to a running monitor, all of it at the same time."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.faulty_sources import (
    FaultyMonitor,
    Figure,
    under_faults,
    write_sounds,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

RECOVERY_SECONDS = 30.0
"""Generous: others may have the processor."""

TORN = '{"schema": 1, "type": "onset", "id": "torn by a power fail'
PAUSE_SECONDS = 2.5


@dataclass(frozen=True)
class Fault:
    """What happens to one source."""

    source: str
    drill: str
    order: str
    reasons: frozenset[str] = frozenset()
    """Why sound was lost; none: nothing may be lost."""


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
    stage: FaultyMonitor
    since: float
    """When the faults began, time of day in seconds."""

    until: float
    """When every source was heard again."""

    after_pause: float
    """When the monitor worked on after it was stopped as a whole."""

    exit_code: int


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Outcome]:
    """Play all faults at once, then stop the monitor itself for a while."""
    folder: Path = tmp_path_factory.mktemp("stage")
    names = [fault.source for fault in FAULTS]
    with under_faults(folder, names, state=TORN) as stage:
        for device in ((48_000, 1), (16_000, 2), (8_000, 4)):
            for name in names:
                write_sounds(folder / name, device)
        stage.wait_for_sound(names)
        since = datetime.now().timestamp()
        for fault in FAULTS:
            if fault.order:
                stage.order(fault.source, fault.order)
        stage.wait(4.0)
        stage.wait_for_sound(names, since + 4.0)
        until = datetime.now().timestamp()
        os.kill(stage.monitor.process.pid, signal.SIGSTOP)
        signal.sigtimedwait([], PAUSE_SECONDS)
        os.kill(stage.monitor.process.pid, signal.SIGCONT)
        after_pause = datetime.now().timestamp()
        stage.wait_for_sound(names, after_pause)
        for name in names:
            stage.lost_alerts(name)
        code, _ = stage.monitor.stop()
        yield Outcome(stage, since, until, after_pause, code)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.source)
def test_a_source_is_heard_again_after_its_fault(
    outcome: Outcome, fault: Fault, figures: list[Figure]
) -> None:
    figure = outcome.stage.figure(fault.drill, fault.source, outcome.since)
    figures.append(figure)
    gaps = outcome.stage.records("gap", fault.source)
    assert {gap["end_reason"] for gap in gaps} == fault.reasons
    assert figure.recovered_seconds is not None
    assert figure.recovered_seconds < RECOVERY_SECONDS
    assert figure.lost_seconds < RECOVERY_SECONDS
    assert figure.lost_alerts == 0


def test_a_monitor_that_is_stopped_for_a_while_loses_nothing(
    outcome: Outcome, figures: list[Figure]
) -> None:
    since, drill = outcome.until, f"the monitor itself stops for {PAUSE_SECONDS} s"
    each = [outcome.stage.figure(drill, f.source, since) for f in FAULTS]
    lost = sum(figure.lost_seconds for figure in each)
    figures.append(Figure(drill, None, lost, outcome.stage.lost_alerts()))
    assert lost == 0
    for fault in FAULTS:
        assert outcome.stage.records("onset", fault.source)


def test_a_torn_line_harms_no_line_after_it(
    outcome: Outcome, figures: list[Figure]
) -> None:
    first, *others = outcome.stage.log_lines()
    assert first == TORN
    assert all(isinstance(line, dict) for line in others)
    figures.append(Figure("the last line of the log is torn"))


def test_all_of_it_ends_well(outcome: Outcome) -> None:
    assert outcome.exit_code == 0
    log = outcome.stage.monitor.log
    assert "Traceback" not in log
    # What repeats is said once, then counted: no fault may flood the log.
    assert len(log.splitlines()) < 60, log
