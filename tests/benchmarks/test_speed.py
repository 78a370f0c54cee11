"""How fast listening is; meaningful only with the machine to itself."""

import pytest

from monitor.model.networks.build import PRESETS
from monitor.runtime.benchmark import Benchmark, run_benchmark

pytestmark = pytest.mark.benchmark


@pytest.fixture(scope="module", params=PRESETS)
def measured(request: pytest.FixtureRequest) -> tuple[str, Benchmark]:
    return request.param, run_benchmark(None, request.param)


def test_the_articles_network_runs_eight_times_faster_than_the_articles_way():
    assert run_benchmark(None, "article").speedup >= 8


def test_a_core_follows_many_sources(measured: tuple[str, Benchmark]):
    preset, figures = measured
    least = {"article": 150}.get(preset, 40)
    assert figures.sources_per_core >= least


def test_listening_takes_less_than_two_percent_of_real_time(
    measured: tuple[str, Benchmark],
):
    assert measured[1].real_time_factor < 0.02
