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
    assert "0 unchanged, 0 new, 2 gone (60 score frames)" in counts
    out = run(capsys, "replay", "--config", config, "--json")
    changes = [json.loads(line) for line in out.splitlines()]
    # The drilling goes on, and its scores are not stored yet.
    assert [each["event"]["label"] for each in changes] == ["siren", "dog_bark"]


def write_scores(folder: Path, *loud: str, height: float = 0.99) -> Path:
    """A database in which each of the labels stands high for a while, in turn."""
    frames = score_frames(40 * (len(loud) + 1))
    for turn, label in enumerate(loud):
        for number in range(40 * turn + 20, 40 * turn + 40):
            record = frames[number].record
            assert isinstance(record, ScoreFrame)
            scores = [0.02] * len(LABELS)
            scores[LABELS.index(label)] = height
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


def test_another_sensitivity_is_replayed_for_one_label_or_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scores(tmp_path, "siren", "dog_bark", height=0.6)
    config = tmp_path / "config.yaml"
    config.write_text(f"state_dir: {tmp_path / 'state'}\n")

    def labels(*options: str) -> list[str]:
        out = run(capsys, "replay", "--config", config, "--json", *options)
        return [json.loads(line)["event"]["label"] for line in out.splitlines()]

    assert labels() == []
    assert labels("--sensitivity", "siren=1") == ["siren"]
    assert labels("--sensitivity", "1") == ["siren", "dog_bark"]
    assert labels("--sensitivity", "1", "--sensitivity", "siren=0") == ["dog_bark"]
    assert labels("--sensitivity", "1", "--label", "siren") == ["siren"]
    own = f"state_dir: {tmp_path / 'state'}\ndetection: {{labels: {{siren: "
    config.write_text(f"{own}{{onset_threshold: 0.9}}}}}}\n")
    assert labels("--sensitivity", "1") == ["dog_bark"]
    assert labels("--sensitivity", "siren=1") == ["siren"]


@pytest.mark.parametrize("value", ["2", "siren=", "siren=x", "", "nan"])
def test_a_sensitivity_that_is_none_is_rejected(
    config: Path, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    code, err = fails(capsys, "replay", "--config", config, "--sensitivity", value)
    assert code == 2
    assert f"--sensitivity: {value!r} is not of the form" in err


def test_a_sensitivity_of_an_unknown_label_is_rejected(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, err = fails(capsys, "replay", "--config", config, "--sensitivity", "sirn=1")
    assert code == 2
    assert "'sirn' is not a label of the model; did you mean siren?" in err


def test_curves_count_the_events_of_this_place(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scores(tmp_path, "siren", "dog_bark", "siren", height=0.6)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"state_dir: {tmp_path / 'state'}\n"
        "detection: {sensitivity: 0.7, labels: {dog_bark: {onset_threshold: 0.8}}}\n"
    )
    arguments = ("replay", "--config", config, "--curves")
    facts = json.loads(run(capsys, *arguments, "--json"))["labels"]
    assert set(facts) == set(LABELS)
    siren, bark = facts["siren"], facts["dog_bark"]
    assert (siren["sensitivity"], siren["follows"]) == (0.7, True)
    curve = {point["sensitivity"]: point for point in siren["curve"]}
    assert siren["onset"] == curve[0.7]["onset"]
    assert (curve[0.0]["events"], curve[1.0]["events"]) == (0, 2)
    assert curve[1.0]["events_per_hour"] == pytest.approx(2 / siren["hours"], rel=0.01)
    assert curve[1.0]["false_alarms_per_hour"] > 0
    assert (bark["onset"], bark["follows"], bark["has_onset"]) == (0.8, False, True)
    assert "siren" in run(capsys, *arguments)
    alone = json.loads(run(capsys, *arguments, "--label", "siren", "--json"))
    assert alone["labels"] == {"siren": siren}


@pytest.mark.parametrize("option", [["--sensitivity", "siren=0.1"], ["--all"]])
def test_curves_reject_what_they_do_not_use(
    config: Path, capsys: pytest.CaptureFixture[str], option: list[str]
) -> None:
    code, err = fails(capsys, "replay", "--config", config, "--curves", *option)
    assert code == 2
    assert f"leave {option[0]} out" in err


def test_without_scores_the_curves_are_those_of_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"state_dir: {tmp_path / 'state'}\nlabels: [siren]\n")
    out = run(capsys, "replay", "--config", config, "--curves", "--json")
    (siren,) = json.loads(out)["labels"].values()
    assert len(siren["curve"]) == 11
    assert {point["events"] for point in siren["curve"]} == {None}
