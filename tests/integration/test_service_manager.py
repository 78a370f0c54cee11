"""What systemd sees of the daemon: it becomes ready, lives, reloads, and ends."""

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemon import START_SECONDS, RunningMonitor

WATCHDOG_SECONDS = 4.0


class Listener:
    """The end of $NOTIFY_SOCKET at which systemd would be."""

    def __init__(self, address: Path) -> None:
        self.environment = {
            "NOTIFY_SOCKET": str(address),
            "WATCHDOG_USEC": f"{WATCHDOG_SECONDS * 1e6:.0f}",
        }
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(address))
        self.heard: list[str] = []

    def wait_for(self, start: str, seconds: float) -> str:
        """Listen until a message begins with `start`; return it."""
        return self.wait_until(lambda message: message.startswith(start), seconds)

    def wait_until(self, is_it: Callable[[str], bool], seconds: float) -> str:
        deadline = time.monotonic() + seconds
        while True:
            self.socket.settimeout(max(0.01, deadline - time.monotonic()))
            self.heard.append(self.socket.recv(4096).decode())
            if is_it(self.heard[-1]):
                return self.heard[-1]


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(tmp_path / "notify")
    yield listener
    listener.socket.close()


@pytest.fixture
def monitor(tmp_path: Path, listener: Listener) -> Iterator[RunningMonitor]:
    """A daemon whose microphone is missing."""
    silence = {"PULSE_SERVER": "unix:/nowhere"}
    with RunningMonitor(
        tmp_path, "--input", "mic:No Such Microphone", **silence, **listener.environment
    ) as monitor:
        listener.wait_for("READY=1", START_SECONDS)
        yield monitor


def test_it_is_ready_and_lives_and_reloads_and_stops_without_a_microphone(
    monitor: RunningMonitor, listener: Listener
) -> None:
    listener.wait_for("WATCHDOG=1", WATCHDOG_SECONDS)
    listener.wait_for("STATUS=listening to 0 of 1 sources (mic ", 15)
    monitor.process.send_signal(signal.SIGHUP)
    reloading = listener.wait_for("RELOADING=1\nMONOTONIC_USEC=", 5)
    assert abs(int(reloading.split("=")[-1]) / 1e6 - time.monotonic()) < 5
    listener.wait_for("READY=1", 5)
    code, _ = monitor.stop()
    assert code == 0
    listener.wait_for("STOPPING=1", 5)


def test_the_abort_of_the_watchdog_leaves_the_traces_of_all_threads(
    monitor: RunningMonitor,
) -> None:
    os.kill(monitor.process.pid, signal.SIGABRT)
    assert monitor.process.wait(20) == -signal.SIGABRT
    assert "Fatal Python error: Aborted" in monitor.log
    for function in ("capture.py", "worker.py", "daemon.py"):
        assert function in monitor.log


def test_a_refused_reload_ends_too_and_is_told_until_the_next(
    tmp_path: Path, listener: Listener
) -> None:
    config = tmp_path / "config.yaml"
    good = "sources: [{name: street, input: 'mic:No Such Microphone'}]\n"
    config.write_text(good)
    with RunningMonitor(
        tmp_path,
        *("--config", str(config)),
        **{"PULSE_SERVER": "unix:/nowhere", **listener.environment},
    ) as monitor:
        listener.wait_for("READY=1", START_SECONDS)
        config.write_text(f"{good}surces: []\n")
        monitor.process.send_signal(signal.SIGHUP)
        listener.wait_for("RELOADING=1", 15)
        refused = listener.wait_for("STATUS=", 15)
        assert refused.startswith("STATUS=the new configuration was rejected, see the")
        assert listener.wait_until(lambda _: True, 15) == "READY=1"
        config.write_text(good)
        monitor.process.send_signal(signal.SIGHUP)
        listener.wait_for("RELOADING=1", 15)
        assert "rejected" not in listener.wait_for("STATUS=", 15)
        listener.wait_for("READY=1", 15)
        assert monitor.stop()[0] == 0
