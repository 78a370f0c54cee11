"""Training begins with the network of a model, and says what it did."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

import pytest
import soundfile
import torch

from monitor.commands.app import run_command_line
from monitor.model.trained import load_model
from tests.support.recordings import LABELS, RATE, sound, write_folders
from training.recipes import beginning, training_settings


def included_file() -> Path:
    with as_file(files("monitor.model") / "weights" / "urban.safetensors") as path:
        return path


def write_urbansound(folder: Path) -> Path:
    """Three classes of UrbanSound8K in two folds, with names and table of its own."""
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    classes = ((2, "children_playing"), (4, "drilling"), (8, "siren"))
    for number, (label, (index, name)) in enumerate(
        zip(LABELS, classes, strict=True), start=1
    ):
        for fold in (1, 2):
            file = f"{number}{fold}-{index}-0-0.wav"
            (folder / "audio" / f"fold{fold}").mkdir(parents=True, exist_ok=True)
            soundfile.write(
                folder / "audio" / f"fold{fold}" / file, sound(label, fold), RATE
            )
            rows.append(f"{file},{number}{fold},0,0.8,1,{fold},{index},{name}")
    (folder / "metadata").mkdir()
    (folder / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows) + "\n")
    return folder


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
        (("--from", "no.safetensors"), "no.safetensors: there is no such model file"),
    ],
)
def test_what_cannot_begin_is_refused(
    folder: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    sentence: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert train(folder, tmp_path, *words) == (1 if "no.safetensors" in words else 2)
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
    assert "was trained on 4 of the 4 clips of the test" in capsys.readouterr().err
    # The clips of all trainings of a chain are known.
    other = tmp_path / "other"
    for label in LABELS:
        (other / "data" / label).mkdir(parents=True)
        for seed in (901, 902):
            path = other / "data" / label / f"{label}{seed}_0.wav"
            soundfile.write(path, sound(label, seed), RATE)
    assert train(other, second, *again, "--test-folds", "none") == 0
    third = tmp_path / "third"
    third.mkdir()
    assert train(folder, third, "--from", str(second / "m.safetensors")) == 2
    assert "was trained on 4 of the 4 clips of the test" in capsys.readouterr().err
    assert load_model(second / "m.safetensors").card.licence.count("the model") == 2


def test_urbansound8k_does_not_test_what_begins_with_the_included_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever the format in which its files are."""
    data = write_urbansound(tmp_path / "data")
    assert train(tmp_path, tmp_path) == 2
    assert "was trained on UrbanSound8K" in capsys.readouterr().err
    assert train(tmp_path, tmp_path, "--test-folds", "none") == 0
    assert data.is_dir()


def test_a_resumed_run_begins_with_the_same_model(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, words = tmp_path / "base.safetensors", ("--test-folds", "none")
    shutil.copy(included_file(), base)
    begun = (*words, "--from", str(base))
    assert train(folder, tmp_path, *begun) == 0
    first = (tmp_path / "m.safetensors").read_bytes()
    assert train(folder, tmp_path, *begun, "--resume") == 0
    assert load_model(tmp_path / "m.safetensors").card.labels == LABELS
    shutil.copy(tmp_path / "m.safetensors", base)
    capsys.readouterr()
    assert train(folder, tmp_path, *begun, "--resume") == 2
    assert "the model to begin with" in capsys.readouterr().err
    assert len(first) > 1000
