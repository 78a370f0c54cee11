"""--label takes labels and groups, and answers a wrong name with the nearest ones."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from tests.support.clock import FakeClock
from tests.support.commands import fails, run
from tests.support.store import make_store
from tests.support.timed import OPENED, event

DAY = "2026-11-23"


@pytest.fixture
def config(
    tmp_path: Path, catalogue_file: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    """Configuration of a model with a catalogue, and a database of five sounds."""
    monkeypatch.setenv("TZ", "UTC")
    clock = FakeClock()
    clock.wall = OPENED
    store = make_store(tmp_path / "monitor.db", clock)
    labels = ("dog_bark", "dog", "siren", "shot", "of_an_old_model")
    store.write(
        [
            event(number=number, label=label, start_seconds=10 * number)
            for number, label in enumerate(labels, start=1)
        ]
    )
    store.close()
    with closing(sqlite3.connect(tmp_path / "monitor.db")) as database, database:
        database.execute(
            "UPDATE sessions SET labels = json_insert(labels, '$[#]', 'once_scored')"
        )
    path = tmp_path / "config.yaml"
    path.write_text(f"state_dir: {tmp_path}\nmodel: {{file: {catalogue_file}}}\n")
    return path


def found(config: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    out = run(capsys, "events", "--config", config, "--json", *options)
    return [json.loads(line)["label"] for line in out.splitlines()]


@pytest.mark.parametrize(
    ("name", "labels"),
    [
        ("dog", ["dog_bark", "dog"]),  # a group of an included model
        ("dog_bark", ["dog_bark"]),
        ("alarm", ["siren", "shot"]),  # of the configured model
        ("of_an_old_model", ["of_an_old_model"]),
        ("siren", ["siren"]),
        ("street_music", []),  # known, and never detected
        ("drilling", []),  # a class of the model
        ("once_scored", []),  # by a session, of a model that is gone
    ],
)
def test_a_group_stands_for_itself_and_its_members(
    name: str, labels: list[str], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert found(config, capsys, "--label", name) == labels


def test_several_names_are_joined(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = found(config, capsys, "--label", "dog", "--label", "shot")
    assert labels == ["dog_bark", "dog", "shot"]


@pytest.mark.parametrize("command", [["events"], ["report", DAY]])
def test_a_wrong_name_is_answered_with_the_nearest_ones(
    command: list[str], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, message = fails(
        capsys, *command, "--config", config, "--label", "of_an_old_modle"
    )
    assert code == 2
    assert message.startswith(
        "sound-monitor: --label: 'of_an_old_modle' is a label neither of the database "
        "nor of a model; did you mean of_an_old_model"
    )


def test_a_report_counts_the_chosen_labels(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", DAY, "--config", config, "--json", "--label", "dog"]
    facts = json.loads(run(capsys, *words))
    assert set(facts["labels"]) == {"dog", "dog_bark"}
    assert len(facts["events"]) == 2
    assert len(json.loads(run(capsys, *words[:-2]))["events"]) == 5


def test_a_model_file_that_is_gone_does_not_hide_its_events(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config.write_text(f"state_dir: {config.parent}\nmodel: {{file: /gone}}\n")
    assert found(config, capsys, "--label", "shot") == ["shot"]
    assert found(config, capsys, "--label", "dog") == ["dog_bark", "dog"]
    assert run_command_line(["events", "--config", str(config), "--label", "sho"]) == 2
