"""Speed of live analysis; meaningful only if nothing else runs on the machine."""

import pytest

from monitor.model.networks import PRESETS
from monitor.runtime.benchmark import Benchmark, run_benchmark

pytestmark = pytest.mark.benchmark


@pytest.fixture(scope="module", params=PRESETS)
def measured(request: pytest.FixtureRequest) -> tuple[str, Benchmark]:
    return request.param, run_benchmark(None, request.param)


def test_the_article_network_is_eight_times_faster_than_the_articles_own_code():
    assert run_benchmark(None, "article").speedup >= 8


def test_a_core_can_analyse_many_sources(measured: tuple[str, Benchmark]):
    preset, figures = measured
    least = {"article": 150}.get(preset, 40)
    assert figures.sources_per_core >= least


def test_the_real_time_factor_is_below_two_percent(
    measured: tuple[str, Benchmark],
):
    assert measured[1].real_time_factor < 0.02
