"""The benchmark: its figures, and the models that it rejects."""

import json
from pathlib import Path

import numpy as np
import pytest

from monitor.commands.benchmark import benchmark
from monitor.errors import ModelFileError, UsageError
from monitor.model.classifier import Classifier
from monitor.runtime.benchmark import (
    baseline,
    resident_mib,
    run_benchmark,
    samples_to_records,
    samples_to_scores,
    typical_cpu_ms,
)
from tests.support.models import seeded_model


def test_a_missing_model_and_an_unknown_preset_are_named(tmp_path: Path):
    with pytest.raises(ModelFileError, match="there is no such model file"):
        run_benchmark(tmp_path / "missing")
    with pytest.raises(UsageError, match="'arcticle' is not a network"):
        run_benchmark(None, "arcticle")


def test_a_model_and_a_preset_at_once_are_refused():
    with pytest.raises(UsageError, match="--model and --preset"):
        benchmark(model=Path("m"), preset="article")


def test_every_measured_step_can_be_repeated():
    classifier = Classifier(seeded_model(), "cpu")
    hop_seconds, records = samples_to_records(classifier)
    assert hop_seconds == pytest.approx(48 * 512 / 44_100)
    steps = (records, samples_to_scores(classifier), baseline())
    assert all(cost > 0 for cost in typical_cpu_ms(steps, 1))


def test_the_time_of_a_step_is_that_of_its_typical_round():
    """A disturbance in one round of three does not count."""
    now, calls = 0.0, 0

    def work(seconds: float) -> None:
        nonlocal now, calls
        calls += 1
        now += 10 * seconds if 60 < calls <= 90 else seconds

    steps = [lambda: work(0.001), lambda: work(0.003)]
    assert typical_cpu_ms(steps, 60, lambda: now) == pytest.approx([1.0, 3.0])


def test_memory_that_is_filled_is_counted():
    before = resident_mib()
    filled = np.ones(64 * 2**20 // 8)
    assert resident_mib() - before > 48
    assert filled[-1] == 1


def test_the_json_has_the_documented_keys(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("monitor.runtime.benchmark.PROCESSES", 1)
    assert benchmark(preset="article", as_json=True) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures.keys() >= {
        "real_time_factor",
        "cpu_ms_per_window",
        "baseline_cpu_ms_per_window",
        "speedup",
        "sources_per_core",
        "rss_mib",
        "startup_seconds",
    }
    assert all(value > 0 for value in figures.values())
    ratio = figures["baseline_cpu_ms_per_window"] / figures["cpu_ms_per_window"]
    assert figures["speedup"] == pytest.approx(ratio)
