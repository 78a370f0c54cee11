"""`forget` deletes records everywhere, and prints how many."""

import json
from pathlib import Path

import pytest

from tests.support.commands import fails, lines_of, run
from tests.support.embeddings import embedded_frames, store_all
from tests.support.store import rows


def test_forget_counts_deleted_records(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = config.parent / "state"
    (state / "events.jsonl").write_text("a line\n")
    (state / "monitor.db.damaged-20260101T000000Z").write_text("")
    out = run(capsys, "forget", "--all", "--config", config)
    assert "3 events, 1 gap, 60 score frames, levels of 1 hour, 0 alerts" in out
    assert "event log: 1 line\n" in out
    assert "1 file of damaged databases" in out
    assert rows(state / "monitor.db", "SELECT count(*) FROM events") == [0]
    assert (state / "events.jsonl").read_text() == ""
    facts = json.loads(run(capsys, "forget", "--all", "--config", config, "--json"))
    assert facts["events"] == 0


def test_forget_counts_embeddings(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_all(config.parent / "state" / "monitor.db", embedded_frames(7), run="next")
    (line, *_) = lines_of(capsys, "forget", "--all", "--config", config)
    assert "67 score frames, 7 embeddings, levels of 1 hour, 0 alerts" in line


def test_forget_reaches_event_log_and_clips_where_there_is_no_database(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    config = tmp_path / "config.yaml"
    config.write_text(f"state_dir: {state}\nstore: {{path: null}}\n")
    code, err = fails(capsys, "forget", "--all", "--config", config)
    assert (code, "nothing is stored in" in err) == (1, True)
    (state / "clips").mkdir(parents=True)
    (state / "clips" / "20261123T073000.000Z_street_siren.flac").write_bytes(b"fLaC")
    (state / "events.jsonl").write_text("a line\n")
    out = run(capsys, "forget", "--all", "--config", config)
    assert "deleted: nothing" in out
    assert "event log: 1 line\n" in out
    assert "deleted: 1 clip\n" in out
    assert (state / "events.jsonl").read_text() == ""
    assert not list((state / "clips").glob("*.flac"))


def test_forget_counts_health_problems(
    with_health: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (line, *_) = lines_of(capsys, "forget", "--all", "--config", with_health)
    assert "2 events, 0 gaps, 2 health problems, 60 score frames" in line
    assert lines_of(capsys, "events", "--config", with_health) == ["no events"]
