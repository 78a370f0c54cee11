"""The messages of the daemon to systemd: ready, alive, reloading, stopping."""

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from monitor.runtime.drills.monitor_process import MonitorProcess
from tests.support.daemon import START_SECONDS, RunningMonitor
from tests.support.hanging_monitor import HANGS

WATCHDOG_SECONDS = 5.0
MISSING = ("--input", "mic:No Such Microphone")
SILENCE = {"PULSE_SERVER": "unix:/nowhere"}


class NotifySocket:
    """The socket named by $NOTIFY_SOCKET, in the place of systemd."""

    def __init__(self, address: Path) -> None:
        self.environment = {
            "NOTIFY_SOCKET": str(address),
            "WATCHDOG_USEC": f"{WATCHDOG_SECONDS * 1e6:.0f}",
        }
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(address))
        self.received: list[str] = []

    def wait_for(self, start: str, seconds: float) -> str:
        """Receive until a message begins with `start`; return it."""
        deadline = time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            self.received.append(self.socket.recv(4096).decode())
            if self.received[-1].startswith(start):
                return self.received[-1]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[NotifySocket]:
    manager = NotifySocket(tmp_path / "notify")
    yield manager
    manager.socket.close()


@pytest.fixture
def monitor(tmp_path: Path, manager: NotifySocket) -> Iterator[RunningMonitor]:
    """A daemon whose microphone is missing, with a watchdog of its own besides."""
    arguments = [*MISSING, "--watchdog", f"{WATCHDOG_SECONDS}"]
    with RunningMonitor(
        tmp_path, *arguments, **SILENCE, **manager.environment
    ) as monitor:
        manager.wait_for("READY=1", START_SECONDS)
        yield monitor


def test_without_a_microphone_it_becomes_ready_reloads_and_stops(
    monitor: RunningMonitor, manager: NotifySocket
) -> None:
    manager.wait_for("WATCHDOG=1", WATCHDOG_SECONDS)
    manager.wait_for("STATUS=listening to 0 of 1 sources (mic ", START_SECONDS)
    monitor.process.send_signal(signal.SIGHUP)
    reloading = manager.wait_for("RELOADING=1\nMONOTONIC_USEC=", START_SECONDS)
    assert abs(int(reloading.split("=")[-1]) / 1e6 - time.monotonic()) < START_SECONDS
    manager.wait_for("READY=1", START_SECONDS)
    code, _ = monitor.stop()
    assert code == 0
    manager.wait_for("STOPPING=1", START_SECONDS)


def test_the_abort_of_the_watchdog_logs_the_traces_of_all_threads(
    monitor: RunningMonitor,
) -> None:
    os.kill(monitor.process.pid, signal.SIGABRT)
    assert monitor.process.wait(20) == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in monitor.log
    for function in ("capture.py", "worker.py", "daemon.py"):
        assert function in monitor.log


@pytest.mark.parametrize("kind", HANGS)
def test_without_systemd_a_monitor_that_hangs_ends_and_says_where(
    kind: str, tmp_path: Path
) -> None:
    module = ("tests.support.hanging_monitor", kind)
    arguments = (*MISSING, "--watchdog", "5")
    with MonitorProcess(tmp_path, arguments, SILENCE, module=module) as monitor:
        monitor.wait_until_ready()
        assert monitor.process.wait(60) == 1
    log = "\n".join(line.text for line in monitor.logged)
    assert f"in {kind}" in log
    assert "daemon.py" in log  # the main thread
    assert "Timeout (0:00:05)!" in log
