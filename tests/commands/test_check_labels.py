"""`check` says of the chosen labels what they are, and what to expect of them."""

import json
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line


@pytest.fixture
def checked(
    catalogue_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> "Check":
    return Check(catalogue_file, tmp_path, capsys)


class Check:
    """Prints the check of a configuration with the model file `MODEL`."""

    def __init__(
        self, model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self._model, self._folder, self._capsys = model, folder, capsys

    def __call__(self, text: str, *words: str) -> str:
        path = self._folder / "config.yaml"
        path.write_text(
            f"state_dir: {self._folder}\nsources: [{{name: a, input: 'demo:'}}]\n"
            + text.replace("MODEL", str(self._model))
        )
        assert run_command_line(["check", "--config", str(path), *words]) == 0
        return self._capsys.readouterr().out

    def rows(self, text: str, column: str) -> dict[str, str]:
        """The rows of the table with this column, by label."""
        lines = iter(self(text).splitlines())
        for line in lines:
            if line.startswith("LABEL") and column in line:
                break
        table = {}
        for line in lines:
            if not line:
                break
            label, _, rest = line.partition(" ")
            table[label] = rest.strip()
        return table


def test_a_label_is_shown_with_its_sentence_and_its_members(checked: Check) -> None:
    rows = checked.rows("model: MODEL\n", "SOUND")
    assert rows == {"alarm": "A siren or a shot. Members: shot, siren."}


def test_a_class_has_no_sentence(checked: Check) -> None:
    text = "model: MODEL\nlabels: [shot, drilling]\n"
    assert checked.rows(text, "SOUND") == {"shot": "A shot of a gun."}


def test_a_label_without_figures_of_detection_is_unmeasured(checked: Check) -> None:
    text = "model: MODEL\nlabels: [shot, siren, drilling]\n"
    rows = checked.rows(text, "SENSITIVITY")
    assert rows["shot"].split()[:5] == ["0.5", "unmeasured", "-", "2.0", "s"]
    assert rows["drilling"].split() == ["0.5", "unmeasured", "-", "-", "-", "-"]
    assert rows["siren"].split()[:3] == ["0.5", "75%", "45%"]


def test_figures_of_clips_are_shown_and_their_share_at_the_threshold_of_the_model(
    checked: Check,
) -> None:
    text = "model: MODEL\nlabels: [siren, shot]\ndetection: {sensitivity: SET}\n"
    rows = checked.rows(text.replace("SET", "0.5"), "IN CLIPS")
    assert rows["siren"].endswith("50%, AP 0.75")
    rows = checked.rows(text.replace("SET", "0.6"), "IN CLIPS")
    assert rows["siren"].endswith(")  AP 0.75")


def test_figures_of_clips_stand_in_for_those_of_places(checked: Check) -> None:
    text = (
        "model: MODEL\nlabels: [siren]\n"
        "detection: {labels: {siren: {min_duration_on_seconds: 1}}}\n"
    )
    rows = checked.rows(text, "IN CLIPS")
    assert rows["siren"].split() == ["0.5", "-", "-", "-", "-", "50%,", "AP", "0.75"]


def test_unmeasured_labels_alone_are_said_to_be_so(checked: Check) -> None:
    report = checked("model: MODEL\nlabels: [alarm]\n")
    assert "Nothing was measured for these labels with these rules." in report
    assert "False alarms of" not in report


def test_the_model_of_each_label_is_shown_if_there_are_several(checked: Check) -> None:
    several = "models: [MODEL, world]\nlabels: [siren, speech]\n"
    rows = checked.rows(several, "CAN FIRE")
    assert {label: row.split()[0] for label, row in rows.items()} == {
        "siren": "seeded",
        "speech": "world",
    }
    assert "MODEL" not in checked("model: MODEL\nlabels: [siren]\n").split()


def test_json_has_the_words_and_the_figures(checked: Check) -> None:
    labels = json.loads(checked("model: MODEL\n", "--json"))["labels"]
    assert labels["alarm"]["text"] == "A siren or a shot."
    assert labels["alarm"]["members"] == ["shot", "siren"]
    assert labels["alarm"]["clips"] is None


def test_all_labels_of_world_fit_in_120_columns(checked: Check) -> None:
    report = checked("model: world\n")
    tables = report.split("LABEL")[1:]
    assert len(tables) == 3
    for table in tables:
        rows = table.partition("\n\n")[0].partition("False alarms of")[0]
        assert len(rows.splitlines()) > 30
        assert max(map(len, rows.splitlines())) <= 120
