"""`replay` counts which events other settings would detect."""

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.model.card import read_card
from monitor.model.catalogue import known_labels
from monitor.records import ScoreFrame
from tests.support.commands import fails, run
from tests.support.store import make_store, score_frames
from tests.support.timed import LABELS


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


def write_scores(folder: Path, *loud: str) -> Path:
    """A database in which each of the labels stands high for a while, in turn."""
    frames = score_frames(40 * (len(loud) + 1))
    for turn, label in enumerate(loud):
        for number in range(40 * turn + 20, 40 * turn + 40):
            record = frames[number].record
            assert isinstance(record, ScoreFrame)
            scores = [0.02] * len(LABELS)
            scores[LABELS.index(label)] = 0.99
            record = replace(record, scores=tuple(scores))
            frames[number] = replace(frames[number], record=record)
    store = make_store(folder / "state" / "monitor.db")
    store.write(frames)
    store.close()
    return folder / "state" / "monitor.db"


def replayed(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> Sequence[str]:
    """Labels of the events, which are all new."""
    config = folder / "config.yaml"
    config.write_text(f"state_dir: {folder / 'state'}\n{text}\n")
    out = run(capsys, "replay", "--config", config, "--json")
    changes = [json.loads(line) for line in out.splitlines()]
    assert {each["change"] for each in changes} <= {"comes"}
    return [each["event"]["label"] for each in changes]


def test_replay_detects_what_each_source_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scores(tmp_path, "siren", "dog_bark")
    assert replayed(tmp_path, capsys, "") == ["siren", "dog_bark"]
    assert replayed(tmp_path, capsys, "labels: [siren]") == ["siren"]
    street = "labels: [siren]\nsources: [{name: street, input: 'demo:', labels: [X]}]"
    of_street = street.replace("X", "dog_bark")
    assert replayed(tmp_path, capsys, of_street) == ["dog_bark"]
    other = of_street.replace("name: street", "name: yard")
    both = replayed(tmp_path, capsys, other)
    assert both == ["dog_bark"], "a source that is gone has what any source reports"


def test_replay_says_which_labels_had_no_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = write_scores(tmp_path, "siren")
    spec, card = read_card("world")
    scored = known_labels(card)[: len(LABELS)]
    unknown = known_labels(card)[len(LABELS)]
    with closing(sqlite3.connect(database)) as opened, opened:
        opened.execute(
            "UPDATE sessions SET model = 'world', sample_rate = ?, labels = ?",
            (spec.sample_rate, json.dumps(scored)),
        )
    config = tmp_path / "config.yaml"
    text = f"state_dir: {tmp_path / 'state'}\nmodel: world\n"
    config.write_text(f"{text}labels: ['{scored[0]}', '{unknown}']\n")
    out = run(capsys, "replay", "--config", config)
    assert f"nothing is known of {unknown} at times at which" in out
    config.write_text(f"{text}labels: ['{scored[0]}']\n")
    assert "nothing is known" not in run(capsys, "replay", "--config", config)
