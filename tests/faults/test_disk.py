"""A disk that hangs costs no record and no alert."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.fault_monitor import PATIENCE_SECONDS, Figure, running_fault_monitor

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


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
                lambda it: "answers again; 0 records and 0 score" in it.log,
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
