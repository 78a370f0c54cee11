"""train.yaml shows every setting, and a settings file overrides the recipe."""

import re
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.config.strict_yaml import KeyPath, read_yaml
from monitor.errors import ConfigError
from tests.support.settings_files import explanation_above, settings
from training.config import SETTINGS_FILE, TrainingSettings
from training.recipes import RECIPES, read_settings, training_settings

SETTINGS = list(settings(TrainingSettings, TrainingSettings(), ()))


def shown_text() -> str:
    """The file with every setting taken."""
    return re.sub(r"^( *)#(?=\w)", r"\1", SETTINGS_FILE.read_text(), flags=re.MULTILINE)


def test_the_file_as_it_is_changes_nothing() -> None:
    for preset in RECIPES:
        own = {"preset": preset}
        plain = training_settings(own, origin="test")
        assert training_settings(read_settings(SETTINGS_FILE), own, origin="") == plain


def test_the_settings_shown_are_the_defaults() -> None:
    shown = read_yaml(shown_text(), "train.yaml").data
    assert TrainingSettings.model_validate(shown, strict=False) == TrainingSettings()


@pytest.mark.parametrize(
    ("path", "explanation"), [(path, text) for path, text, _ in SETTINGS]
)
def test_every_setting_is_shown_with_its_explanation(
    path: KeyPath, explanation: str
) -> None:
    text = shown_text()
    line = read_yaml(text, "train.yaml").lines.get(path)
    assert line is not None, f"train.yaml lacks {path}: # {explanation}"
    assert explanation_above(text.splitlines(), line) == " ".join(explanation.split())


def test_nothing_is_shown_that_is_no_setting() -> None:
    lines = read_yaml(shown_text(), "train.yaml").lines
    shown = {path for path in lines if not isinstance(path[-1], int)}
    assert shown == {path for path, _, _ in SETTINGS}


def test_a_settings_file_overrides_the_recipe_and_options_override_it(
    tmp_path: Path,
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("optimiser: {epochs: 7, batch_size: 8}\ntest_folds: [1, 2]\n")
    chosen = training_settings(
        read_settings(file), {"optimiser": {"epochs": 3}}, origin="test"
    )
    assert (chosen.optimiser.epochs, chosen.optimiser.batch_size) == (3, 8)
    assert chosen.test_folds == (1, 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("optimiser: {epoch: 3}", "optimiser.epoch: there is no such setting"),
        ("seed: -1", "seed: -1 must be at least 0"),
        ("optimiser: {warm_up_share: 1.0}", "warm_up_share: 1.0 must be less than 1"),
        ("seed: 1\nseed: 2", "seed: duplicate key"),
    ],
)
def test_a_wrong_setting_is_one_sentence(
    tmp_path: Path, text: str, sentence: str
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        training_settings(read_settings(file), origin=str(file))
    assert sentence in str(caught.value)
    assert str(file) in str(caught.value)


def test_the_command_prints_the_file_and_names_the_presets(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run_command_line(["train", "--print-settings"]) == 0
    assert capsys.readouterr().out == SETTINGS_FILE.read_text()
    assert run_command_line(["train", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(preset in printed for preset in RECIPES)
