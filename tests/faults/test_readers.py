"""Nobody reads the output and the log of the monitor: it listens, and it ends."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.runtime.drills.monitor_process import MonitorProcess
from tests.support.fault_monitor import PATIENCE_SECONDS

pytestmark = pytest.mark.slow


@pytest.fixture
def full_pipe() -> Iterator[int]:
    """The end of a pipe that takes nothing more."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, bytes(4096))
    os.set_blocking(writer, True)
    yield writer
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_full_pipe_stops_neither_start_nor_detection_nor_end(
    tmp_path: Path, full_pipe: int, number: signal.Signals
) -> None:
    arguments = ["--input", "demo:"]
    with MonitorProcess(tmp_path, arguments, terminal=full_pipe) as monitor:
        monitor.wait_until_ready()
        monitor.wait(lambda: monitor.records("onset"), PATIENCE_SECONDS, "detect")
        code, _ = monitor.stop(number)
        assert code == 0
        assert [each["end_reason"] for each in monitor.records("event")] == ["stopped"]
