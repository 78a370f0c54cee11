"""The daemon and its database, seen from outside."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import RunningMonitor
from tests.support.store import rows

pytestmark = pytest.mark.timeout(300)

DEADLINE_SECONDS = 90.0
"""A busy machine takes long to load torch."""


def ask(folder: Path, *arguments: str) -> list[dict[str, Any]]:
    answer = subprocess.run(
        [sys.executable, "-m", "monitor", *arguments],
        env={**os.environ, "STATE_DIRECTORY": str(folder / "state")},
        capture_output=True,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in answer.stdout.splitlines()]


def test_a_killed_monitor_has_stored_its_reports_and_the_next_one_ends_them(
    tmp_path: Path, siren_command: str
) -> None:
    with RunningMonitor(tmp_path, "--input", siren_command) as monitor:
        monitor.wait_for_line("siren  began", DEADLINE_SECONDS)
        monitor.process.send_signal(signal.SIGKILL)
        monitor.process.wait()
        database = monitor.state_dir / "monitor.db"
        assert "siren" in rows(database, "SELECT label FROM events")
    with RunningMonitor(tmp_path, "--input", siren_command) as monitor:
        monitor.wait_for_line("listening", DEADLINE_SECONDS)
        assert "interrupted" in rows(database, "SELECT end_reason FROM events")
        assert "they end as interrupted" in monitor.log
        # The event log and the console get it too, once.
        monitor.wait_for_line("(interrupted)", DEADLINE_SECONDS)
        assert monitor.stop()[0] == 0
    assert sum("(interrupted)" in line for line in monitor.lines) == 1
    begun = {record["id"] for record in monitor.records("onset")}
    (interrupted,) = [
        record
        for record in monitor.records("event")
        if record["end_reason"] == "interrupted"
    ]
    assert interrupted["id"] in begun
    ended = ask(tmp_path, "events", "--label", "siren", "--json")
    assert {record["type"] for record in ended} == {"event"}
    assert ended[0]["end_reason"] == "interrupted"
    reported = {record["id"] for record in monitor.records()}
    assert reported <= {record["id"] for record in ask(tmp_path, "events", "--json")}


@pytest.mark.slow
def test_replay_with_the_same_settings_gives_the_same_events(
    tmp_path: Path, siren_command: str
) -> None:
    with RunningMonitor(tmp_path, "--input", siren_command) as monitor:
        monitor.wait_for_line("siren  began", DEADLINE_SECONDS)
        assert monitor.stop()[0] == 0
    changes = ask(tmp_path, "replay", "--json")
    assert changes
    assert {change["change"] for change in changes} == {"stays"}


def test_the_monitor_runs_without_a_database(
    tmp_path: Path, siren_command: str
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("store: {path: null}\n")
    arguments = ["--input", siren_command, "--config", str(config)]
    with RunningMonitor(tmp_path, *arguments) as monitor:
        monitor.wait_for_line("siren  began", DEADLINE_SECONDS)
        assert monitor.stop()[0] == 0
    assert not list(monitor.state_dir.glob("*.db*"))


@pytest.mark.slow
def test_a_second_monitor_on_the_same_state_is_rejected(
    tmp_path: Path, siren_command: str
) -> None:
    with RunningMonitor(tmp_path, "--input", siren_command) as monitor:
        monitor.wait_for_line("listening", DEADLINE_SECONDS)
        with RunningMonitor(tmp_path, "--input", siren_command) as second:
            assert second.process.wait(DEADLINE_SECONDS) == 1
            assert "being written by another monitor" in second.log
        assert monitor.stop()[0] == 0
