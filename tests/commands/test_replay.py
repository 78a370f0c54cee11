"""`replay` counts which events other settings would detect."""

import json
from pathlib import Path

import pytest

from tests.support.commands import fails, run


def test_scores_of_another_model_are_not_replayed(
    config: Path, model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with config.open("a") as file:
        file.write(f"model: {{file: {model_file}}}\n")
    code, err = fails(capsys, "replay", "--config", config)
    assert code == 1
    assert "of the model urban, and the configuration names seeded" in err


def test_replay_counts_events_that_stay_come_and_go(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    *rows, empty, counts = run(capsys, "replay", "--config", config).splitlines()
    assert rows[0].split()[:3] == ["CHANGE", "START", "SOURCE"]
    assert {row.split()[0] for row in rows[1:]} == {"gone"}
    assert empty == ""
    assert "0 unchanged, 0 new, 3 gone (60 score frames)" in counts
    out = run(capsys, "replay", "--config", config, "--json")
    changes = [json.loads(line) for line in out.splitlines()]
    assert [each["event"]["label"] for each in changes] == [
        "siren",
        "dog_bark",
        "drilling",
    ]
