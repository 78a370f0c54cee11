"""The commands, end to end, on a folder of three made-up labels."""

import json
import re
import shutil
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from rich.console import Console

from monitor.commands.app import run_command_line
from monitor.config.detection import DetectionSettings
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model as load_file
from monitor.model.trained import load_model, save_model
from tests.support.daemon import START_SECONDS, RunningMonitor
from tests.support.recordings import (
    LABELS,
    RATE,
    SMALL_SPEC,
    sound,
    write_folders,
    write_negatives,
)
from training.checkpoint import InterruptedTrainingError
from training.experiment import Experiment
from training.job import Job
from training.mixtures.material import DataPaths
from training.progress import Display
from training.recipes import training_settings
from training.streams.evaluate import detect_events

SETTINGS = {
    "spec": SMALL_SPEC.model_dump(),
    "folds": 3,
    "ambience_hours": 0.01,
    "stream_hours": 0.02,
    "test_ambience_hours": 0.02,
    "optimiser": {"epochs": 20, "learning_rate": 0.01, "ema_decay": 0.8},
    "mixtures": {"ambience_items": 0.2},
    "features": {"time_mask_frames": 6, "frequency_mask_bands": 2},
}


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("train")
    write_folders(folder / "data", groups=8)
    write_negatives(folder / "noises")
    (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    return folder


def command(folder: Path, *words: str) -> int:
    paths = ["--cache", str(folder / "cache"), "--group-pattern", r"^([a-z]+\d+)_"]
    return run_command_line([*words, *paths])


def train(folder: Path, name: str, *words: str) -> int:
    return command(
        folder,
        *("train", str(folder / "data"), "--settings", str(folder / "settings.yaml")),
        *("--out", str(folder / f"{name}.safetensors"), "--workers", "0", *words),
    )


@pytest.fixture(name="model", scope="module")
def _model(folder: Path) -> Path:
    negatives = ["--negatives", str(folder / "noises")]
    assert train(folder, "model", "--test-folds", "1", *negatives) == 0
    return folder / "model.safetensors"


def test_made_up_labels_are_learned_by_one_command(model: Path) -> None:
    card = load_model(model).card
    assert card.labels == LABELS
    assert card.report["accuracy"] > 0.8
    assert set(card.report["folds"]) == {"1"}
    assert set(card.thresholds) == set(LABELS)
    assert card.training["seed"] == 0


def test_the_report_is_one_page_with_figures_and_pictures(model: Path) -> None:
    page = (model.parent / "model-run" / "report.html").read_text()
    accuracy = load_model(model).card.report["accuracy"]
    assert f"accuracy {accuracy:.3f}" in re.sub(r"<[^>]+>", "", page)
    assert page.count("data:image/png") == 6
    assert "onset threshold" in page


def test_the_model_runs_in_the_monitor_unchanged(model: Path) -> None:
    classifier = Classifier(load_file(model), "cpu")
    quiet = np.random.default_rng(0).normal(0, 1e-3, (1, 20_000)).astype(np.float32)
    seconds, _ = detect_events(
        iter([quiet, quiet]), classifier, DetectionSettings(hop_frames=16)
    )
    assert seconds == pytest.approx(5)


def test_the_commands_of_the_monitor_take_the_model(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Unchanged, but for a hop that fits into windows of one second."""
    street = folder / "street.wav"
    quiet = np.random.default_rng(1).normal(0, 0.003, 12 * RATE)
    quiet[4 * RATE : 8 * RATE] += sound("buzz", 900, seconds=4)
    soundfile.write(street, quiet, RATE)
    config = folder / "short.yaml"
    config.write_text("detection: {hop_frames: 16}\n")
    options = ["--model", str(model), "--config", str(config)]
    assert run_command_line(["analyze", str(street), "--json", *options]) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    events = [each for each in printed if each.get("type") == "event"]
    assert {event["label"] for event in events} <= set(LABELS)
    assert any(
        event["label"] == "buzz" and 3 < event["start_seconds"] < 8 for event in events
    )
    source = ["--input", f"file:{street}", "--speed", "max"]
    with RunningMonitor(folder, *source, *options) as monitor:
        assert monitor.process.wait(2 * START_SECONDS) == 0, monitor.log
        reported = monitor.records("event")
    starts = [(event["label"], event["start_sample"]) for event in events]
    assert [(event["label"], event["start_sample"]) for event in reported] == starts


def test_evaluate_reproduces_the_figures_of_the_report(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for the temperatures, which the report must not take from the test fold."""
    assert (
        command(
            folder,
            *("evaluate", str(folder / "data"), "--model", str(model)),
            *("--folds", "1", "--json"),
        )
        == 0
    )
    figures = json.loads(capsys.readouterr().out)
    report = load_model(model).card.report
    for key in ("clips", "accuracy", "accuracy_ci95", "confusion", "parameters"):
        assert figures[key] == report[key], key


def test_cross_validation_tests_every_clip_by_a_network_not_trained_on_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    negatives = ["--negatives", str(folder / "noises"), "--epochs", "2"]
    assert train(folder, "crossed", "--cross-validate", *negatives) == 0
    report = load_model(folder / "crossed.safetensors").card.report
    assert report["clips"] == 48
    assert set(report["folds"]) == {"1", "2", "3"}
    assert report["negatives_never_heard"]["clips"] == 2
    capsys.readouterr()
    run = folder / "crossed-run"
    shutil.copytree(run / "fold1", run / "fold1 of last year")
    assert (
        command(folder, "evaluate", str(folder / "data"), "--run", str(run), "--json")
        == 0
    )
    figures = json.loads(capsys.readouterr().out)
    for fold, part in report["folds"].items():
        accuracy = pytest.approx(part["accuracy"])
        assert figures["folds"][fold]["accuracy"] == accuracy
    assert figures["expected_calibration_error"] == pytest.approx(
        report["expected_calibration_error"], abs=1e-4
    )


def test_the_events_of_scenes_are_evaluated(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The detection's hop must fit a window of one second, so it is shortened."""
    scenes = folder / "scenes"
    words = ["--negatives", str(folder / "noises"), "--out", str(scenes)]
    length = ["--hours", "0.02", "--stream-minutes", "1", "--events-per-minute", "6"]
    cache = ["--cache", str(folder / "cache")]
    code = run_command_line(["scenes", str(folder / "data"), *words, *length, *cache])
    assert code == 0
    config = folder / "streams.yaml"
    config.write_text("detection: {hop_frames: 16}\n")
    options = ["--model", str(model), "--json", "--config", str(config)]
    code = run_command_line(["evaluate", str(scenes), "--streams", *options])
    assert code == 0
    figures: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert figures["hours"] == pytest.approx(1 / 60, rel=0.05)
    assert sum(row["events"] for row in figures["per_class"].values()) > 3
    assert set(figures["onset_latency_seconds"]) == {"p50", "p95"}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--test-folds", "one"], 2, "'one' is not a list of numbers"),
        (["--test-folds", "9"], 1, "no fold 9"),
        (["--preset", "huge"], 2, "'huge' is not a network"),
        (["--negatives", "nowhere"], 2, "nowhere: no such folder"),
        (["--places", "nowhere"], 2, "nowhere: no such folder of places"),
        (["--teacher", "nowhere"], 2, "--teacher: nowhere: there is no such file"),
        (["--place-pattern", "x"], 2, "--place-pattern needs --places"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    code: int,
    said: str,
) -> None:
    assert train(folder, "wrong", *words) == code
    assert said in capsys.readouterr().err


def test_a_training_that_was_stopped_says_what_continues_it(
    folder: Path, tmp_path: Path
) -> None:
    job = Job(
        DataPaths(folder / "data", folder / "cache"),
        tmp_path / "m.safetensors",
        tmp_path / "run",
    )
    settings = training_settings(SETTINGS, origin="test")
    stop, display = threading.Event(), Display(Console(quiet=True))
    stop.set()
    empty = replace(job, paths=replace(job.paths, cache=tmp_path / "cache"))
    with pytest.raises(InterruptedTrainingError, match="recordings; begin again"):
        Experiment(empty, settings, display, stop)
    stop.clear()
    experiment = Experiment(job, settings, display, stop)
    stop.set()
    with pytest.raises(InterruptedTrainingError, match="streams; --resume continues"):
        experiment.advance("making streams", 1, 8)


def test_a_model_that_does_not_know_a_label_is_not_tested_on_it(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "more" / "bang").mkdir(parents=True)
    source = next((folder / "data" / "tick").glob("*.wav"))
    (folder / "more" / "bang" / "one.wav").write_bytes(source.read_bytes())
    words = ["evaluate", str(folder / "more"), "--model", str(model)]
    assert command(folder, *words) == 1
    assert "label 'bang' of the data is not one of the model's" in (
        capsys.readouterr().err
    )


def test_a_test_on_clips_of_the_training_is_said(
    folder: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = ("evaluate", str(folder / "data"), "--model", str(model))
    assert command(folder, *words, "--folds", "1") == 0
    assert "was trained on" not in caplog.text
    assert command(folder, *words) == 0
    assert "model was trained on 30 of these 48 clips" in caplog.text


def test_a_model_that_does_not_name_its_clips_is_said(
    folder: Path, model: Path, caplog: pytest.LogCaptureFixture
) -> None:
    older = load_model(model)
    card = older.card.model_copy(update={"training": {}})
    file = folder / "older.safetensors"
    save_model(file, replace(older, card=card))
    assert command(folder, "evaluate", str(folder / "data"), "--model", str(file)) == 0
    assert "does not name the recordings that it was trained on" in caplog.text


def test_settings_in_a_model_file_that_make_no_sense_are_one_sentence(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = load_model(model)
    card = known.card.model_copy(update={"training": {"folds": "many"}})
    file = folder / "strange.safetensors"
    save_model(file, replace(known, card=card))
    assert command(folder, "evaluate", str(folder / "data"), "--model", str(file)) == 1
    assert "model model: card: training: folds: " in capsys.readouterr().err


def test_negatives_of_no_fold_are_one_sentence(
    folder: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", str(folder / "data"), "--model", str(model))
    negatives = ("--negatives", str(folder / "noises"), "--negatives-folds", "9")
    assert command(folder, *words, *negatives) == 1
    assert "there is no fold 9 in the negatives" in capsys.readouterr().err


def test_labels_of_any_characters_are_trained_tested_and_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = ("[bold]$a^$ :dog:", "dog bark (big)", "no")
    write_folders(tmp_path / "data", groups=3, slices=1)
    for before, label in zip(LABELS, labels, strict=True):
        (tmp_path / "data" / before).rename(tmp_path / "data" / label)
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(SETTINGS))
    assert train(tmp_path, "my model (2)", "--epochs", "1", "--test-folds", "1") == 0
    printed = capsys.readouterr().out
    for label in labels:
        assert label in printed
    assert load_model(tmp_path / "my model (2).safetensors").card.labels == labels
    assert (tmp_path / "my model (2)-run" / "report.html").is_file()


def test_what_fails_at_the_end_fails_before_recordings_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.yaml").write_text("{}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "unread.wav").touch()
    (tmp_path / "m.safetensors").mkdir()
    assert train(tmp_path, "m") == 2
    assert "is a folder; name a file" in capsys.readouterr().err
    (tmp_path / "n-run").touch()
    assert train(tmp_path, "n") == 2
    assert "--run: " in capsys.readouterr().err
    assert not (tmp_path / "cache").exists()
