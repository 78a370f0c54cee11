"""The cost of live analysis against the article's method, as ratios in one run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from monitor.audio.sources.demo import render_sound
from monitor.runtime.benchmark import Contender, run_benchmark

pytestmark = pytest.mark.benchmark


@pytest.fixture(scope="module")
def contenders() -> tuple[Contender, ...]:
    return run_benchmark(None).contenders


@pytest.fixture(scope="module")
def costs(contenders: tuple[Contender, ...]) -> dict[str, float]:
    """Least processor time per second of sound, by contender."""
    return {each.name: each.cpu_ms_per_second_min for each in contenders}


# docs/benchmark.md has 5.5 to 17 and 2.2 to 4.8, by the machine.
@pytest.mark.parametrize(
    ("contender", "least"), [("article network", 5), ("records", 2)]
)
def test_the_whole_pipeline_is_many_times_cheaper_than_the_articles_method(
    contender: str, least: float, costs: dict[str, float]
) -> None:
    assert costs["article"] / costs[contender] >= least


# docs/benchmark.md has 1.4, 2.5 and 19 MiB.
def test_a_second_model_is_affordable(
    contenders: tuple[Contender, ...], costs: dict[str, float]
) -> None:
    memory = {each.name: each.rss_mib for each in contenders}
    assert costs["world"] <= 2 * costs["records"]
    assert costs["urban+world"] <= 3.5 * costs["records"]
    assert memory["urban+world"] - memory["records"] <= 25


def test_a_recording_costs_little_more_than_its_hops(
    costs: dict[str, float], tmp_path: Path
) -> None:
    minutes = 10
    long, short = tmp_path / "long.wav", tmp_path / "short.wav"
    sound = 0.1 * render_sound("siren", 60.0, 44_100)
    with soundfile.SoundFile(long, "w", 44_100, 1) as file:
        for _ in range(minutes):
            file.write(sound)
    soundfile.write(short, sound[: round(4.1 * 44_100)], 44_100)
    runs = [(cpu_of_analyze(long), cpu_of_analyze(short)) for _ in range(3)]
    without_start = min(a for a, _ in runs) - min(b for _, b in runs)
    assert without_start < 1.5 * minutes * 60 * costs["records"] / 1000


def cpu_of_analyze(recording: Path) -> float:
    """Seconds of processor time for `sound-monitor analyze`."""
    command = [sys.executable, "-m", "monitor", "analyze", str(recording)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return used.ru_utime + used.ru_stime
