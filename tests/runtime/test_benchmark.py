"""The benchmark measures what listens, and says clearly what it cannot measure."""

import json
from pathlib import Path

import numpy as np
import pytest

from monitor.commands.benchmark import benchmark
from monitor.errors import ModelFileError, UsageError
from monitor.model.classifier import Classifier
from monitor.runtime.benchmark import (
    plain_chain,
    records_chain,
    resident_mib,
    run_benchmark,
    scores_chain,
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


def test_what_is_measured_runs_again_and_again():
    classifier = Classifier(seeded_model(), "cpu")
    hop_seconds, records = records_chain(classifier)
    assert hop_seconds == pytest.approx(48 * 512 / 44_100)
    steps = (records, scores_chain(classifier), plain_chain())
    assert all(cost > 0 for cost in typical_cpu_ms(steps, 1))


def test_a_step_costs_what_it_computes_in_the_typical_round():
    values = np.random.default_rng(0).normal(size=20_000)
    once, thrice = typical_cpu_ms(
        [lambda: np.sort(values), lambda: [np.sort(values) for _ in range(3)]], 200
    )
    assert thrice / once == pytest.approx(3, rel=0.5)


def test_memory_that_is_filled_is_counted():
    before = resident_mib()
    filled = np.ones(64 * 2**20 // 8)
    assert resident_mib() - before > 48
    assert filled[-1] == 1


def test_the_json_has_the_documented_keys(capsys: pytest.CaptureFixture[str]):
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
