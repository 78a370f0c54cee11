"""A network of the preset `mobile` learns from a teacher by one command."""

import json
from pathlib import Path

import pytest
import yaml

from monitor.commands.app import run_command_line
from monitor.model.trained import load_model
from tests.support.recordings import (
    LABELS,
    SMALL_SPEC,
    write_folders,
    write_negatives,
)
from tests.support.teachers import write_teacher

pytest.importorskip("onnx", reason="without the package onnx nothing teaches")
pytest.importorskip("onnxruntime")

SETTINGS = {
    "spec": SMALL_SPEC.model_dump(),
    "folds": 3,
    "ambience_hours": 0.01,
    "stream_hours": 0.02,
    "test_ambience_hours": 0.02,
    "optimiser": {"epochs": 1, "batch_size": 8},
    "teacher": {
        "sample_rate": 4000,
        "bank_items": 16,
        "clean_repeats": 1,
        "classes": {"buzz": [1, 2]},
    },
}


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("taught")
    write_folders(folder / "data", groups=3)
    write_negatives(folder / "noises")
    write_teacher(folder / "teacher.onnx")
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder


def train(folder: Path, *words: str) -> int:
    return run_command_line(
        [
            *("train", str(folder / "data"), "--preset", "mobile"),
            *("--teacher", str(folder / "teacher.onnx")),
            *("--negatives", str(folder / "noises")),
            *("--cross-validate", "--test-folds", "1,2", "--workers", "0"),
            *("--settings", str(folder / "settings.yaml")),
            *("--cache", str(folder / "cache")),
            *("--group-pattern", r"^([a-z]+\d+)_"),
            *("--out", str(folder / "taught.safetensors"), *words),
        ]
    )


@pytest.fixture(name="model", scope="module")
def _model(folder: Path) -> Path:
    assert train(folder) == 0
    return folder / "taught.safetensors"


def test_the_command_leaves_a_tested_and_calibrated_model(model: Path) -> None:
    card = load_model(model).card
    assert card.preset == "mobile"
    assert set(card.thresholds) == set(LABELS)
    assert set(card.report["folds"]) == {"1", "2"}
    assert card.report["ambience_never_heard"]["hours"] > 0
    assert set(card.report["teacher_embedding_accuracy"]) == {"1", "2", "together"}
    assert "Distilled from the teacher teacher.onnx" in card.licence


def test_the_heads_that_only_teach_are_not_in_the_file(model: Path) -> None:
    names = load_model(model).network.state_dict()
    assert not [name for name in names if "classifier" in name or "embedding" in name]


def test_every_network_learned_from_the_teacher(model: Path, folder: Path) -> None:
    for part in ("fold1", "fold2", "final"):
        lines = (folder / "taught-run" / part / "metrics.jsonl").read_text()
        parts = json.loads(lines.splitlines()[-1])
        assert {"embedding", "logits"} <= set(parts.get("parts", parts))


def test_a_class_that_the_teacher_does_not_have_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = {**SETTINGS, "teacher": {**SETTINGS["teacher"], "classes": {"buzz": [4]}}}
    (folder / "wrong.yaml").write_text(yaml.safe_dump(wrong))
    words = ("--settings", str(folder / "wrong.yaml"), "--run", str(folder / "wrong"))
    assert train(folder, *words) == 2
    assert "buzz: the teacher has the outputs 0 to 3; not 4" in capsys.readouterr().err
