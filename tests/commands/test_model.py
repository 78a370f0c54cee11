"""`model` prints the card of a model file."""

import json
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.commands.model import expected_cells
from tests.support.curves import curve_of


def test_the_card_is_printed(
    model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["model", str(model_file)]) == 0
    card = capsys.readouterr().out
    assert "seeded: network article, 3 labels, created 2026-01-01" in card
    assert "44100 Hz, 2 channels, 64 mel bands" in card
    assert "siren" in card


def test_the_card_is_printed_as_json(
    model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["model", str(model_file), "--json"]) == 0
    card = json.loads(capsys.readouterr().out)
    assert card["spec"]["window_frames"] == 344
    assert card["card"]["thresholds"]["siren"]["onset"] == 0.7


def test_figures_of_the_curves_are_printed(
    curved_model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["model", str(curved_model_file)]) == 0
    card = capsys.readouterr().out
    rows = {row.split()[0]: row.split()[1:] for row in card.splitlines() if row}
    assert "FALSE ALARMS/H" not in card
    assert " ".join(rows["siren"][:10]) == "0.700 0.350 75% 45% 2.0 s 0.25 an hour (at"
    assert rows["drilling"][:6] == ["-"] * 6

    assert run_command_line(["model", str(curved_model_file), "--curves"]) == 0
    header, *points = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["LABEL", "SENSITIVITY", "ONSET"]
    assert [row.split()[:3] for row in (points[0], points[21])] == [
        ["siren", "0.0", "0.950"],
        ["gun_shot", "1.0", "0.500"],
    ]
    assert points[21].endswith("1.0 an hour (at most 2.3)")
    assert len(points) == 22


def test_a_share_of_no_event_is_a_dash() -> None:
    point = curve_of([0.9])[0].model_copy(update={"detected_far": None})
    assert expected_cells(point)[:2] == ("50%", "-")


def test_a_model_without_curves_has_the_table_of_before(
    model_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command_line(["model", str(model_file)]) == 0
    assert "FALSE ALARMS/H  PRECISION" in capsys.readouterr().out
    assert run_command_line(["model", str(model_file), "--curves"]) == 0
    assert capsys.readouterr().out == "no label of the model has a curve\n"


def test_a_file_of_another_kind_is_reported_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("not a model")
    assert run_command_line(["model", str(path)]) == 1
    message = capsys.readouterr().err
    assert message == f"sound-monitor: {path}: is not a safetensors file\n"


def test_a_conversion_writes_a_new_file_only(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = tmp_path / "new.safetensors"
    assert run_command_line(["model", "--convert", str(new)]) == 0
    assert capsys.readouterr().out == f"wrote {new}\n"
    before = new.read_bytes()
    assert run_command_line(["model", str(new), "--convert", str(new)]) == 2
    assert "exists" in capsys.readouterr().err
    assert new.read_bytes() == before
