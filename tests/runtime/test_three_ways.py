"""A live run, a recording and a replay give the same events, with either engine."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from monitor.audio.sources.demo import SCENE, render_scene
from monitor.config.audio import SourceSettings
from monitor.config.config import Config
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from monitor.records import Event, Onset, PlacedRecord, ScoreFrame, Timed
from monitor.runtime.offline import analyze_file
from monitor.runtime.pipeline import build_pipeline, rules_of
from monitor.runtime.replay import Comparison, replay
from monitor.sinks.sink import MemorySink
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.records import Session
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock
from tests.support.simulation import SimulatedCard, Simulation

SOURCE = "street"
RATE = 44_100
CONFIG = Config(sources=(SourceSettings(name=SOURCE),))
BLOCK_SECONDS = 0.13
ENGINES = ("onnx", "torch")


@dataclass(frozen=True)
class Analysed:
    """What one engine made of the street."""

    live: list[PlacedRecord]
    recording: list[PlacedRecord]
    replay: Comparison


def street() -> NDArray[np.int16]:
    """The sounds of the demo in another street: hum, hiss and a beep, in 16 bits."""
    scene = render_scene(RATE)[0].astype(float)
    time = np.arange(scene.size) / RATE
    scene += 0.002 * np.sin(2 * np.pi * 100 * time)
    scene += 0.001 * np.random.default_rng(1).standard_normal(scene.size)
    scene += 0.02 * np.sin(2 * np.pi * 2_000 * time) * ((time > 24) & (time < 24.5))
    return np.clip(scene * 32_768, -32_768, 32_767).astype(np.int16)


def listen(
    samples: NDArray[np.int16], classifier: Classifier, database: Path
) -> list[Timed]:
    """Let a sound card play the samples to a monitor with a database."""
    clock, sink = FakeClock(), MemorySink()
    scene = samples.astype(np.float32) / 32_768
    card = SimulatedCard(
        clock,
        lambda moments: scene[np.rint(moments * RATE).astype(int) % scene.size],
        RATE,
        block_seconds=BLOCK_SECONDS,
    )
    session = Session("session", classifier.name, classifier.labels, RATE)
    store = Store(database, CONFIG.store, session, clock)
    pipeline = build_pipeline(CONFIG, classifier, session.session)
    simulation = Simulation(card, pipeline, [store, sink], live=True)
    simulation.run(samples.size / RATE)
    return sink.records


def analysed(records: list[Timed]) -> list[PlacedRecord]:
    """Score frames, onsets and events, without what names the run."""
    found = [it.record for it in records]
    kept = [it for it in found if isinstance(it, ScoreFrame | Onset | Event)]
    return [
        replace(it, ongoing=()) if isinstance(it, ScoreFrame) else replace(it, id="")
        for it in kept
    ]


@pytest.fixture(scope="module")
def of_engine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Analysed]:
    samples, found = street(), {}
    for engine in ENGINES:
        folder = tmp_path_factory.mktemp(engine)
        soundfile.write(folder / "street.wav", samples, RATE)
        classifier = Classifier(load_model(None), "cpu", engine=engine)
        live = listen(samples, classifier, folder / "monitor.db")
        recording = analyze_file(
            folder / "street.wav", classifier, CONFIG, source=SOURCE
        )
        assert recording.failure is None
        rules = rules_of(CONFIG, classifier)
        gate = CONFIG.detection.level_gate_dbfs
        with open_to_read(folder / "monitor.db") as reader:
            again = replay(reader, lambda *_, rules=rules: rules, gate, None, None)
        found[engine] = Analysed(analysed(live), analysed(recording.records), again)
    return found


def events(records: list[PlacedRecord]) -> list[tuple[str, int, int, str]]:
    found = [it for it in records if isinstance(it, Event)]
    return [(it.label, it.start, it.stop, it.end_reason) for it in found]


@pytest.mark.parametrize("engine", ENGINES)
def test_a_live_run_and_a_recording_give_the_same_records_to_the_last_bit(
    of_engine: dict[str, Analysed], engine: str
) -> None:
    live, recording = of_engine[engine].live, of_engine[engine].recording
    count = min(len(live), len(recording))
    assert live[:count] == recording[:count]
    assert len(live) - count <= 1  # the last block of the card
    assert {label for label, *_ in events(live)} >= {it.label for it in SCENE}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_replay_gives_the_events_of_the_live_run(
    of_engine: dict[str, Analysed], engine: str
) -> None:
    again = of_engine[engine].replay
    assert (again.comes, again.goes) == ([], [])
    replayed = [it.record for it in again.stays]
    assert events(replayed) == events(of_engine[engine].live)


def test_the_engines_give_the_same_events_and_nearly_the_same_scores(
    of_engine: dict[str, Analysed],
) -> None:
    light, reference = (of_engine[engine].recording for engine in ENGINES)
    assert events(light) == events(reference)
    scores = [
        np.array([it.scores for it in records if isinstance(it, ScoreFrame)])
        for records in (light, reference)
    ]
    assert scores[0].shape == scores[1].shape
    assert np.abs(scores[0] - scores[1]).max() < 1e-5
