"""A disk that is read-only at first, and full later, costs no record and no alert."""

import os
import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.support.faulty_sources import PATIENCE_SECONDS, Figure, under_faults

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

DISK_MIB = 24


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own where the monitor keeps its state."""
    if os.getuid() != 0:
        pytest.skip("needs root, to mount a small disk")
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
    """Take every byte that is left."""
    with (folder / "filler").open("wb", buffering=0) as file:
        for size in (2**16, 1):
            try:
                while file.write(b"\0" * size):
                    pass
            except OSError:
                continue


def test_a_read_only_and_then_a_full_disk_cost_nothing(
    tmp_path: Path, small_disk: Path, figures: list[Figure]
) -> None:
    remount(small_disk, "ro")
    with under_faults(tmp_path, ["street"]) as stage:
        stage.monitor.wait_for_line("began", PATIENCE_SECONDS)
        assert not stage.log_lines()
        back = datetime.now().timestamp()
        remount(small_disk, "rw")
        stage.monitor.wait_until(lambda _: stage.records("onset"), PATIENCE_SECONDS)
        seconds = datetime.now().timestamp() - back
        figures.append(
            Figure(
                "read-only disk",
                seconds,
                stage.lost_seconds(),
                stage.lost_alerts(),
            )
        )

        stage.wait_for_sound(["street"])
        fill(small_disk)
        told = len(_began(stage.monitor.lines))
        stage.monitor.wait_until(
            lambda it: len(_began(it.lines)) > told, PATIENCE_SECONDS
        )
        back = datetime.now().timestamp()
        (small_disk / "filler").unlink()
        stage.wait_for_sound(["street"], back)
        lost_alerts = stage.lost_alerts()
        figures.append(Figure("full disk", None, stage.lost_seconds(), lost_alerts))
        assert lost_alerts == 0
        # It was told so, once for each fault.
        assert "cannot be written" in stage.monitor.log
        assert "is almost full" in stage.monitor.log
        assert stage.monitor.stop()[0] == 0
        # All that was said stands in the log, in whole lines.
        assert all(isinstance(line, dict) for line in stage.log_lines())
        assert len(stage.records("onset")) == len(_began(stage.monitor.lines))
        assert not stage.records("gap")
        assert "Traceback" not in stage.monitor.log


def _began(lines: list[str]) -> list[str]:
    return [line for line in lines if "  began" in line]
