"""A disk that is read-only, full or hangs costs no record and no alert."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.fault_monitor import PATIENCE_SECONDS, Figure, running_fault_monitor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DISK_MIB = 24


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own for the state of the monitor."""
    if os.getuid() != 0 or shutil.which("mount") is None:
        pytest.skip("needs root and mount, for a small disk")
    state = tmp_path / "state"
    state.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "drill", str(state)]
    made = subprocess.run(mount, check=False, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"needs to mount a small disk: {made.stderr.strip()}")
    yield state
    subprocess.run(["umount", "--lazy", str(state)], check=True)


def remount(folder: Path, how: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{how}", str(folder)], check=True)


def fill(folder: Path) -> None:
    """Use up all free space."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (2**16, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue


def test_a_read_only_and_then_a_full_disk_lose_no_record_and_no_alert(
    tmp_path: Path, small_disk: Path, figures: list[Figure]
) -> None:
    remount(small_disk, "ro")
    with running_fault_monitor(tmp_path, ["street"]) as running:
        running.monitor.wait_for_line("began", PATIENCE_SECONDS)
        assert not running.log_lines()
        back = datetime.now().timestamp()
        remount(small_disk, "rw")
        running.monitor.wait_until(lambda _: running.records("onset"), PATIENCE_SECONDS)
        seconds = datetime.now().timestamp() - back
        figures.append(
            Figure(
                "read-only disk",
                seconds,
                running.lost_seconds(),
                running.lost_alerts(),
            )
        )

        running.wait_for_sound(["street"])
        fill(small_disk)
        printed = len(_began(running.monitor.lines))
        running.monitor.wait_until(
            lambda it: len(_began(it.lines)) > printed, PATIENCE_SECONDS
        )
        back = datetime.now().timestamp()
        (small_disk / "filler").unlink()
        running.wait_for_sound(["street"], back)
        lost_alerts = running.lost_alerts()
        figures.append(Figure("full disk", None, running.lost_seconds(), lost_alerts))
        assert lost_alerts == 0
        # Each fault is logged.
        assert "cannot be written" in running.monitor.log
        assert "is almost full" in running.monitor.log
        assert running.monitor.stop()[0] == 0
        # Every printed onset is in the log, in whole lines.
        assert all(isinstance(line, dict) for line in running.log_lines())
        assert len(running.records("onset")) == len(_began(running.monitor.lines))
        assert not running.records("gap")
        assert "Traceback" not in running.monitor.log


def test_a_disk_that_hangs_stops_nothing_that_listens(
    tmp_path: Path, figures: list[Figure]
) -> None:
    """A frozen file system answers neither a write nor a sync."""
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
    try:
        with running_fault_monitor(tmp_path, ["street"]) as running:
            running.wait_for_sound(["street"])
            subprocess.run(["fsfreeze", "--freeze", str(state)], check=True)
            try:
                printed = len(_began(running.monitor.lines))
                running.monitor.wait_until(
                    lambda it: len(_began(it.lines)) >= printed + 4, PATIENCE_SECONDS
                )
            finally:
                subprocess.run(["fsfreeze", "--unfreeze", str(state)], check=True)
            running.monitor.wait_until(
                lambda it: "the disk answers again; 0 batches" in it.log,
                PATIENCE_SECONDS,
            )
            lost_alerts = running.lost_alerts()
            lost = running.lost_seconds()
            figures.append(Figure("disk that hangs", 0.0, lost, lost_alerts))
            assert (lost, lost_alerts) == (0, 0)
            assert running.monitor.stop()[0] == 0
            assert len(running.records("onset")) == len(_began(running.monitor.lines))
    finally:
        subprocess.run(["umount", "--lazy", str(state)], check=True)


def _began(lines: list[str]) -> list[str]:
    return [line for line in lines if "  began" in line]
