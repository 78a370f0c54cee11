"""Processor time of each part of a hop; prints the table of docs/benchmark.md.

pytest -m benchmark -s tests/benchmarks/test_hop.py
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monitor.audio.conditioning import Conditioner
from monitor.audio.dropouts import DropoutDetector, GapJoiner
from monitor.audio.level import LevelMeter
from monitor.audio.timeline import Timeline
from monitor.audio.weighting import AWeighting
from monitor.config.config import Config
from monitor.detection.detector import Detector
from monitor.model.classifier import Classifier, active_spans
from monitor.model.engines import WindowHistory, WindowPlace
from monitor.model.engines.onnx import OnnxEngine
from monitor.model.frontend import IncrementalLogMel, LogMel
from monitor.model.model_file import load_model, write_model
from monitor.records import ScoreFrame
from monitor.runtime.contenders import samples_to_records
from monitor.runtime.pipeline import rules_of
from tests.support.models import seeded_windows, stored_model
from tests.support.signals import RATE, noise

pytestmark = pytest.mark.benchmark

HOP_FRAMES = 48
ROUNDS = 40
REPEATED = 5


@pytest.fixture(scope="module", params=["shipped", "article"])
def parts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, float]:
    """Least time of each part, microseconds; the parts take turns."""
    path: Path | None = None
    if request.param == "article":
        path = tmp_path_factory.mktemp("model") / "article.safetensors"
        write_model(path, stored_model("article"))
    steps = steps_of(path)
    least = dict.fromkeys(steps, np.inf)
    for _ in range(ROUNDS):
        for name, step in steps.items():
            step()
            before = time.thread_time_ns()
            for _ in range(REPEATED):
                step()
            taken = (time.thread_time_ns() - before) / REPEATED / 1e3
            least[name] = min(least[name], taken)
    rows = [f"| {name} | {taken:.0f} |" for name, taken in least.items()]
    sys.stdout.write("\n".join(["", request.param, *rows, ""]))
    return least


def steps_of(path: Path | None) -> dict[str, Callable[[], object]]:
    model = load_model(path)
    spec, classifier = model.spec, Classifier(model, "cpu")
    engine, history = OnnxEngine(model), WindowHistory()
    frames = IncrementalLogMel(LogMel(spec), channels=1)
    meter = LevelMeter(AWeighting(spec.sample_rate), 0.0)
    hop = HOP_FRAMES * spec.hop_length
    samples = noise(hop / spec.sample_rate, rms=0.05)
    window = seeded_windows(1, channels=1)
    activity = engine.run(window).activity
    rules = rules_of(Config(), classifier)
    detector = Detector("street", classifier.labels, rules, -70.0, "model", "session")
    starts = iter(range(0, 10**9, hop))

    def follow() -> None:
        engine.run(window, [WindowPlace(history, history.first_frame + HOP_FRAMES)])

    def detect() -> None:
        start = next(starts)
        stop = start + spec.window_samples
        spans = ((start, stop),) * len(classifier.labels)
        values = (0.1,) * len(classifier.labels)
        detector.push(ScoreFrame("street", start, stop, values, spans, -20, -20, -30))

    return {
        "all, from samples to records": samples_to_records(classifier).step,
        "log-mel": lambda: frames.push(samples),
        "level meter": lambda: meter.measure(samples),
        "network, a window that follows another": follow,
        "network, a whole window": lambda: engine.run(window),
        "active spans": lambda: active_spans(activity),
        "detector": detect,
        "capture": capture(spec.sample_rate, hop / spec.sample_rate),
        "capture at 48 kHz": capture(48_000, hop / spec.sample_rate),
    }


def capture(rate: int, seconds: float) -> Callable[[], object]:
    """Condition the samples of a hop, which come in blocks of 10 ms."""
    timeline = Timeline("street", RATE, capacity_seconds=12.0)
    conditioner = Conditioner(
        timeline,
        GapJoiner(timeline),
        sample_rate=rate,
        channels=1,
        make_room=lambda _: True,
        dropouts=DropoutDetector(rate, stall_seconds=3.0),
    )
    samples = noise(seconds, rms=0.05, sample_rate=rate)
    blocks = np.array_split(samples, round(100 * seconds), axis=1)
    now = 0.0

    def step() -> None:
        nonlocal now
        for block in blocks:
            now += block.shape[1] / rate
            conditioner.push(block, now)

    return step


def test_a_window_that_follows_another_costs_less_than_a_whole_one(
    parts: dict[str, float],
) -> None:
    follows = parts["network, a window that follows another"]
    assert follows < 0.85 * parts["network, a whole window"]


def test_the_level_meter_costs_twice_the_log_mel(parts: dict[str, float]) -> None:
    """It has the level of every 11.6 ms since it measures LAFmax and percentiles."""
    assert parts["level meter"] < 2.5 * parts["log-mel"]
