"""A disk that hangs costs no record and no alert."""

import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.fault_monitor import PATIENCE_SECONDS, Figure, running_fault_monitor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    """The state folder, on a file system of its own."""
    state, image = tmp_path / "state", tmp_path / "image"
    state.mkdir()
    with image.open("wb") as file:
        file.truncate(64 * 2**20)
    make = ["mkfs.ext4", "-q", str(image)]
    mount = ["mount", "-o", "loop", str(image), str(state)]
    if not shutil.which("mkfs.ext4") or any(
        subprocess.run(each, check=False).returncode for each in (make, mount)
    ):
        pytest.skip("needs root, mkfs.ext4 and a loop device, for a disk that hangs")
    yield state
    subprocess.run(["umount", "--lazy", str(state)], check=True)


@contextmanager
def frozen(state: Path) -> Iterator[None]:
    """A frozen file system answers neither a write nor a sync."""
    subprocess.run(["fsfreeze", "--freeze", str(state)], check=True)
    try:
        yield
    finally:
        subprocess.run(["fsfreeze", "--unfreeze", str(state)], check=True)


def test_a_disk_that_hangs_stops_nothing_that_listens(
    tmp_path: Path, state: Path, figures: list[Figure]
) -> None:
    with running_fault_monitor(tmp_path, ["street"]) as running:
        running.wait_for_sound(["street"])
        with frozen(state):
            printed = len(_began(running.monitor.lines))
            running.monitor.wait_until(
                lambda it: len(_began(it.lines)) >= printed + 4, PATIENCE_SECONDS
            )
        running.monitor.wait_until(
            lambda it: "answers again; 0 records and 0 score" in it.log,
            PATIENCE_SECONDS,
        )
        lost_alerts = running.lost_alerts()
        lost = running.lost_seconds()
        figures.append(Figure("disk that hangs", 0.0, lost, lost_alerts))
        assert (lost, lost_alerts) == (0, 0)
        assert running.monitor.stop()[0] == 0
        assert len(running.records("onset")) == len(_began(running.monitor.lines))


def test_a_monitor_that_is_stopped_says_what_a_disk_that_hangs_does_not_take(
    tmp_path: Path, state: Path
) -> None:
    with running_fault_monitor(tmp_path, ["street"]) as running:
        running.wait_for_sound(["street"])
        with frozen(state):
            printed = len(_began(running.monitor.lines))
            running.monitor.wait_until(
                lambda it: len(_began(it.lines)) >= printed + 2, PATIENCE_SECONDS
            )
            running.monitor.process.send_signal(signal.SIGTERM)
            # All it can do: the system keeps threads that hang in a write, whoever
            # kills them, and the process with them.
            running.monitor.wait_until(lambda it: _has_left(it.process.pid), 20)
            assert "score frames may not be written" in running.monitor.log
        assert running.monitor.process.wait(20) == 1


def _has_left(pid: int) -> bool:
    return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def _began(lines: list[str]) -> list[str]:
    return [line for line in lines if "  began" in line]
