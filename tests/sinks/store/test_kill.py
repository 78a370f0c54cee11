"""Reported records are in the database, whenever the process is killed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.store import AlertOnEverything, make_store, rows

ROUNDS = 20


def test_no_kill_loses_a_reported_record_or_leaves_a_half(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "monitor.db"
    drill = subprocess.run(
        [sys.executable, "-m", "tests.support.kill_drill", str(path), str(ROUNDS)],
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )
    make_store(path, run="after", rules=AlertOnEverything()).close()
    reported = [line.split() for line in drill.stdout.splitlines()]
    assert rows(path, "PRAGMA integrity_check") == ["ok"]
    assert {kind for kind, _ in reported} == {"onset", "event"}
    reasons = dict(rows(path, "SELECT id, end_reason FROM events"))
    for kind, id_ in reported:
        assert reasons[id_] == "offset" if kind == "event" else id_ in reasons
    alerts = rows(path, "SELECT id FROM alerts")
    assert len(alerts) == len(set(alerts))
    # Onset and alert stand or fall together; the end of each event has one alert.
    assert set(alerts) == {
        f"{id_}/{kind}" for id_ in reasons for kind in ("onset", "end")
    }
    assert set(reasons.values()) == {"offset", "interrupted"}
    assert not list(tmp_path.glob("*damaged*"))
    with capsys.disabled():
        sys.stdout.write(
            f"\n{ROUNDS} kills: {len(reported)} reports, {len(reasons)} events "
            f"and {len(alerts)} alerts stored, none lost\n"
        )
