"""A running daemon exposes no port and no file to other users."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.daemon import RunningMonitor


@pytest.fixture
def _careless_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("_careless_umask")
def test_by_default_other_users_can_read_no_file_and_reach_no_port(
    tmp_path: Path, siren_command: str
) -> None:
    with RunningMonitor(tmp_path, "--input", siren_command) as monitor:
        monitor.wait_for_line("siren  began", 100)
        process = psutil.Process(monitor.process.pid)
        family = [process, *process.children(recursive=True)]
        assert len(family) > 1
        for each in family:
            assert each.net_connections(kind="inet") == []
        for path in (monitor.state_dir, *monitor.state_dir.rglob("*")):
            mode = stat.S_IMODE(path.stat().st_mode)
            assert not mode & 0o077, f"{path.name}: {mode:o}"
            assert path.is_dir() or not mode & 0o100, f"{path.name}: {mode:o}"
        names = {path.name for path in monitor.state_dir.iterdir()}
        assert {"events.jsonl", "monitor.db", "monitor.db.lock"} <= names
        assert monitor.stop()[0] == 0
