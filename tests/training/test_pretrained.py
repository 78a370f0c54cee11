"""Training begins with the network of a model, and says what it did."""

from pathlib import Path

import pytest
import torch

from monitor.commands.app import run_command_line
from monitor.model.trained import load_model
from tests.support.recordings import LABELS, write_folders
from training.recipes import beginning, training_settings


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained")
    write_folders(folder / "data", groups=2)
    return folder


def train(folder: Path, out: Path, *words: str) -> int:
    return run_command_line(
        [
            *("train", str(folder / "data"), "--cache", str(folder / "cache")),
            *("--out", str(out / "m.safetensors"), "--epochs", "1"),
            *("--group-pattern", r"^([a-z]+\d+)_", "--workers", "0", *words),
        ]
    )


@pytest.mark.parametrize(
    ("given", "preset", "model", "has_teacher", "expected"),
    [
        ({}, None, None, False, ("mobile", "urban")),
        ({}, "mobile", None, False, ("mobile", "urban")),
        ({}, "article", None, False, ("article", "none")),
        ({}, None, "none", False, ("article", "none")),
        ({}, None, None, True, ("article", "none")),
        ({}, "mobile", None, True, ("mobile", "none")),
        ({"preset": "article"}, None, None, False, ("article", "none")),
        ({"spec": {"n_mels": 40}}, None, None, False, ("article", "none")),
        ({"pretrained": {"model": "a"}}, None, None, False, ("mobile", "a")),
        ({"pretrained": {"model": "a"}}, None, "b", False, ("mobile", "b")),
    ],
)
def test_what_training_begins_with(
    given: dict[str, object],
    preset: str | None,
    model: str | None,
    has_teacher: bool,
    expected: tuple[str, str],
) -> None:
    found = beginning(given, preset, model, has_teacher=has_teacher)
    assert (found["preset"], found["pretrained"]["model"]) == expected
    if expected[1] != "none":
        settings = training_settings(given, found, origin="test")
        assert settings.optimiser.epochs > 4


def test_of_few_recordings_only_heads_are_learned(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert train(folder, tmp_path) == 0
    made, included = load_model(tmp_path / "m.safetensors"), load_model(None)
    before, after = included.network.state_dict(), made.network.state_dict()
    trunk = [name for name in after if name.startswith(("normalise.", "blocks."))]
    assert len(trunk) > 50
    assert all(torch.equal(before[name], after[name]) for name in trunk)
    assert made.card.labels == LABELS
    assert "too few to change more than the heads" in caplog.text
    assert "network of the model urban" in made.card.licence
    assert "CC BY-NC" in made.card.licence


def test_of_many_recordings_the_network_learns(folder: Path, tmp_path: Path) -> None:
    settings = folder / "settings.yaml"
    settings.write_text("pretrained: {fewest_recordings: 3}\n")
    assert train(folder, tmp_path, "--settings", str(settings)) == 0
    made, included = load_model(tmp_path / "m.safetensors"), load_model(None)
    before, after = (model.network.blocks.state_dict() for model in (included, made))
    assert not any(
        torch.equal(before[name], after[name])
        for name in after
        if name.endswith("weight")
    )


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--preset", "article", "--from", "urban"), "has the network mobile"),
        (("--from", "urban", "--teacher", "t.onnx"), "as --from does; leave out one"),
        (("--from", "nothing.safetensors"), "nothing.safetensors"),
    ],
)
def test_what_cannot_begin_is_refused(
    folder: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(folder, tmp_path, *words) in (1, 2)
    assert sentence in capsys.readouterr().err


def test_another_input_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = folder / "spec.yaml"
    settings.write_text("spec: {n_mels: 40}\n")
    words = ("--settings", str(settings), "--from", "urban")
    assert train(folder, tmp_path, *words) == 2
    assert "has spec.n_mels 64, and the settings have 40" in capsys.readouterr().err


def test_a_test_on_what_the_model_was_trained_on_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    second.mkdir()
    assert train(folder, first, "--test-folds", "none") == 0
    again = ("--from", str(first / "m.safetensors"))
    capsys.readouterr()
    assert train(folder, second, *again) == 2
    assert "clips of the test, whose figures would be too good" in (
        capsys.readouterr().err
    )
    assert train(folder, second, *again, "--test-folds", "none") == 0
