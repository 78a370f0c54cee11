"""The command with places, end to end, on a folder of three made-up labels."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from monitor.commands.app import run_command_line
from monitor.model.model_file import load_model
from tests.support.places import write_places
from tests.support.recordings import LABELS, SMALL_SPEC, write_folders, write_negatives

SETTINGS = {
    "spec": SMALL_SPEC.model_dump(exclude={"background"}),
    "folds": 2,
    "negatives_test_folds": [3],
    "optimiser": {"epochs": 1},
    "heads": {
        "streams": 8,
        "stream_seconds": 20,
        "steps": 6,
        "batch_streams": 4,
        "passes": 1,
    },
}


def train(folder: Path, *words: str, **heads: float) -> int:
    settings = {**SETTINGS, "heads": {**SETTINGS["heads"], **heads}}
    (folder / "settings.yaml").write_text(yaml.safe_dump(settings))
    paths = ["--negatives", str(folder / "noises"), "--places", str(folder / "places")]
    return run_command_line(
        [
            *("train", str(folder / "data"), "--preset", "mobile", *paths),
            *("--settings", str(folder / "settings.yaml")),
            *("--cache", str(folder / "cache"), "--group-pattern", r"^([a-z]+\d+)_"),
            *("--out", str(folder / "m.safetensors"), "--workers", "0", *words),
        ]
    )


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("places")
    write_folders(folder / "data", groups=4)
    write_negatives(folder / "noises")
    write_places(folder / "places")
    assert train(folder, "--cross-validate") == 0
    return folder


def test_the_model_has_a_background_thresholds_and_curves(folder: Path) -> None:
    model = load_model(folder / "m.safetensors")
    assert model.spec.background is not None
    for label in LABELS:
        found = model.card.thresholds[label]
        assert len(found.curve) == 11
        assert found.curve[5].onset == found.onset
    assert set(model.card.report["folds"]) == {"1", "2"}


def test_the_figures_are_of_every_place_and_every_label(folder: Path) -> None:
    figures = load_model(folder / "m.safetensors").card.report["places"]
    assert figures["places"] == 8
    # Each place twice, once for each fold; the shortest scenes have 12 s.
    assert figures["hours"] == pytest.approx(2 * 8 * 12 / 3600, rel=0.05)
    assert set(figures["per_label"]) == set(LABELS)
    for own in figures["per_label"].values():
        assert set(own["limiting_places"]) <= {f"place{n}" for n in range(8)}
        low, high = own["detected_ci95"]
        assert 0 <= low <= own["detected"] <= high <= 1


def test_heads_are_fitted_anew_with_other_settings(
    folder: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    run = again / "m-run" / "fold1"
    files = {
        name: (run / name).stat().st_mtime_ns
        for name in (
            *("network.safetensors", "views/00000.npz"),
            "heads/all/head.safetensors",
        )
    }
    words = ("--cross-validate", "--resume", "--cache", str(folder / "cache"))
    assert train(again, *words, steps=7) == 0
    changed = {
        name for name, time in files.items() if (run / name).stat().st_mtime_ns != time
    }
    assert changed == {"heads/all/head.safetensors"}


def test_evaluate_scores_clips_with_the_model_and_with_the_networks_of_the_run(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", str(folder / "data"), "--cache", str(folder / "cache")]
    words += ["--group-pattern", r"^([a-z]+\d+)_", "--json"]
    capsys.readouterr()
    assert run_command_line([*words, "--model", str(folder / "m.safetensors")]) == 0
    assert set(json.loads(capsys.readouterr().out)["per_class"]) == set(LABELS)
    assert run_command_line([*words, "--run", str(folder / "m-run")]) == 0
    of_folds = json.loads(capsys.readouterr().out)
    report = load_model(folder / "m.safetensors").card.report
    assert of_folds["accuracy"] == pytest.approx(report["accuracy"])


def test_without_a_negative_to_learn_from_nothing_is_trained(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again, ignore=shutil.ignore_patterns("m-run"))
    for file in (again / "noises").rglob("*.wav"):
        if not file.name.startswith("3-"):
            file.unlink()
    assert train(again, "--cross-validate") == 1
    assert "none is left to learn from" in capsys.readouterr().err
    assert not list((again / "m-run").rglob("network.safetensors"))


@pytest.mark.parametrize("words", [("--cross-validate", "--test-folds", "2"), ()])
def test_a_single_fold_is_tested_with_and_without_a_network_for_all(
    folder: Path, tmp_path: Path, words: tuple[str, ...]
) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again, ignore=shutil.ignore_patterns("m-run"))
    assert train(again, "--cache", str(folder / "cache"), *words) == 0
    report = load_model(again / "m.safetensors").card.report
    assert report["places"]["events"] > 0
    assert set(report["folds"]) == {"2" if words else "1"}
