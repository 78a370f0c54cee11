"""The benchmark: its figures, and the models that it rejects."""

import json
from pathlib import Path

import pytest

from monitor.commands.app import run_command_line
from monitor.commands.benchmark import benchmark
from monitor.errors import ModelFileError, SoundMonitorError, UsageError
from monitor.model.classifier import Classifier
from monitor.runtime.benchmark import run_benchmark
from monitor.runtime.contenders import (
    article_method,
    foreign_model,
    samples_to_records,
    samples_to_scores,
)
from tests.support.models import stored_model


def test_a_missing_model_and_an_unknown_preset_are_named(tmp_path: Path):
    with pytest.raises(ModelFileError, match="there is no such model file"):
        run_benchmark(tmp_path / "missing")
    with pytest.raises(UsageError, match="'arcticle' is not a network"):
        run_benchmark(None, "arcticle")


def test_a_model_and_a_preset_at_once_are_refused():
    with pytest.raises(UsageError, match="--model and --preset"):
        benchmark(model=Path("m"), preset="article")


def test_every_measured_step_can_be_repeated():
    classifier = Classifier(stored_model(), "cpu")
    for work in (
        samples_to_records(classifier),
        samples_to_scores(classifier),
        article_method(),
    ):
        assert work.seconds == pytest.approx(48 * 512 / 44_100)
        work.step()
        work.step()


def test_another_model_in_onnx_form_is_run(tmp_path: Path):
    path = tmp_path / "other.onnx"
    path.write_bytes(stored_model().score_graph)
    work = foreign_model(path)
    work.step()
    assert work.seconds == pytest.approx(48 * 512 / 44_100)


def test_what_a_comparison_lacks_is_said_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("monitor.runtime.benchmark._measure", None)
    with pytest.raises(UsageError, match="there is no such file"):
        run_benchmark(None, against=tmp_path / "missing.tflite")
    (tmp_path / "yamnet.tflite").touch()
    monkeypatch.setattr("monitor.runtime.contenders.find_spec", lambda _: None)
    with pytest.raises(UsageError, match="install ai-edge-litert`"):
        run_benchmark(None, against=tmp_path / "yamnet.tflite")
    with pytest.raises(UsageError, match="in a folder that exists"):
        benchmark(plot=tmp_path / "missing" / "costs.png")


def test_a_model_that_cannot_be_run_is_one_sentence(tmp_path: Path):
    with pytest.raises(UsageError, match="there is no such file"):
        foreign_model(tmp_path / "missing.onnx")
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UsageError, match=r"text.onnx: cannot be used"):
        foreign_model(tmp_path / "text.onnx")
    with pytest.raises(SoundMonitorError, match=r"text.onnx: cannot be used"):
        run_benchmark(None, against=tmp_path / "text.onnx", windows=1)


def test_table_picture_and_json_hold_the_figures_of_each_contender(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr("monitor.runtime.benchmark.PROCESSES", 1)
    monkeypatch.setattr("monitor.runtime.benchmark.WINDOWS", 1)
    picture = tmp_path / "costs.png"
    arguments = ["benchmark", "--preset", "article", "--plot", str(picture)]
    assert run_command_line(arguments) == 0
    table = capsys.readouterr().out
    assert "the article's own code" in table
    assert "samples to records" in table
    assert picture.read_bytes().startswith(b"\x89PNG")

    assert run_command_line([*arguments[:3], "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    contenders = {each["name"]: each for each in figures.pop("contenders")}
    assert contenders.keys() == {"scores", "records", "article", "article network"}
    assert figures.keys() == {
        "real_time_factor",
        "cpu_ms_per_window",
        "baseline_cpu_ms_per_window",
        "speedup",
        "pipeline_cpu_ms_per_window",
        "sources_per_core",
        "rss_mib",
        "startup_seconds",
    }
    assert all(value > 0 for value in figures.values())
    ratio = figures["baseline_cpu_ms_per_window"] / figures["cpu_ms_per_window"]
    assert figures["speedup"] == pytest.approx(ratio)
