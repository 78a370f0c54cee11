"""The cost of live analysis against the article's method, as ratios in one run."""

import pytest

from monitor.runtime.benchmark import run_benchmark

pytestmark = pytest.mark.benchmark


@pytest.fixture(scope="module")
def costs() -> dict[str, float]:
    """Least processor time per second of sound, by contender."""
    contenders = run_benchmark(None).contenders
    return {each.name: each.cpu_ms_per_second_min for each in contenders}


# docs/benchmark.md has 13 and 4.  Other load on the machine moves them by a fifth.
@pytest.mark.parametrize(
    ("contender", "least"), [("article network", 10), ("records", 3)]
)
def test_the_whole_pipeline_is_many_times_cheaper_than_the_articles_method(
    contender: str, least: float, costs: dict[str, float]
) -> None:
    assert costs["article"] / costs[contender] >= least
