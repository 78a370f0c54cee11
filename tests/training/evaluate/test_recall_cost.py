"""The recall cost is counted by repeating the detection on stored scores."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from monitor.commands.app import run_command_line
from monitor.config.detection import DetectionSettings
from monitor.model.card import ModelCard
from monitor.model.classifier import Classifier
from monitor.model.networks import build_network
from monitor.model.thresholds import Thresholds
from monitor.model.trained import TrainedModel, save_model, to_stored
from tests.support.recordings import LABELS, RATE, SMALL_SPEC, sound
from training.evaluate.recalibrate import recall_costs
from training.streams.evaluate import evaluate_streams
from training.streams.scored import detect, score_streams

RULES = DetectionSettings(hop_frames=16, level_gate_dbfs=-200)
SECONDS = 30


@pytest.fixture(name="streams", scope="module")
def _streams(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two streams of noise with a sound of each label."""
    folder = tmp_path_factory.mktemp("streams")
    for number in range(2):
        r = np.random.default_rng(number)
        samples = r.normal(0, 0.003, SECONDS * RATE).astype(np.float32)
        lines = ["onset\toffset\tevent_label"]
        for place, label in enumerate(LABELS):
            at = 4 + 8 * place
            wave = sound(label, number)
            samples[at * RATE : at * RATE + len(wave)] += wave
            lines.append(f"{at}\t{at + len(wave) / RATE}\t{label}")
        soundfile.write(folder / f"{number}.wav", samples, RATE)
        (folder / f"{number}.tsv").write_text("\n".join(lines) + "\n")
    return folder


def model_with(onset: float) -> TrainedModel:
    """Untrained: its scores move, but mean nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        network = build_network("article", SMALL_SPEC, len(LABELS)).eval()
    network.normalise.mean.fill_(-60)
    network.normalise.deviation.fill_(20)
    pair = Thresholds(onset=onset, offset=0.9 * onset)
    card = ModelCard(
        name="small",
        preset="article",
        labels=LABELS,
        thresholds=dict.fromkeys(LABELS, pair),
    )
    return TrainedModel(network, SMALL_SPEC, card)


def advance(name: str, done: int, total: int) -> None:
    assert 0 <= done <= total


@pytest.fixture(name="middle", scope="module")
def _middle(streams: Path) -> float:
    """An onset threshold that scores cross now and then."""
    scored = score_streams(
        streams, Classifier(to_stored(model_with(0.5))), RULES, advance
    )
    scores = [frame.scores for stream in scored for frame in stream.frames]
    return float(np.median(scores))


def test_repeated_detection_finds_the_events_of_the_monitor(
    streams: Path, middle: float
) -> None:
    classifier = Classifier(to_stored(model_with(middle)))
    monitored = evaluate_streams(streams, classifier, RULES, advance)
    scored = score_streams(streams, classifier, RULES, advance)
    labels, spec, own = classifier.labels, classifier.spec, classifier.thresholds
    again = [detect(one, labels, spec, RULES, own) for one in scored]
    assert sum(len(result.found) for result in monitored) > 3
    assert [result.found for result in again] == [result.found for result in monitored]


def test_thresholds_that_nothing_reaches_miss_every_event(
    streams: Path, middle: float
) -> None:
    classifier = Classifier(to_stored(model_with(middle)))
    scored = score_streams(streams, classifier, RULES, advance)
    high = Thresholds(onset=0.999, offset=0.9)
    found = recall_costs(scored, classifier, RULES, dict.fromkeys(LABELS, high))
    assert set(found) == set(LABELS)
    for cost in found.values():
        assert cost.events == cost.missed == 2
    same = recall_costs(scored, classifier, RULES, classifier.thresholds)
    assert all(cost.missed == cost.missed_before for cost in same.values())


def test_calibrate_prints_the_missed_events_beside_the_thresholds(
    streams: Path, middle: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "nights").mkdir()
    noise = np.random.default_rng(5).normal(0, 0.003, 60 * RATE)
    soundfile.write(tmp_path / "nights" / "one.flac", noise, RATE)
    save_model(tmp_path / "m.safetensors", model_with(middle))
    words = ["calibrate", "--model", str(tmp_path / "m.safetensors")]
    words += ["--background", str(tmp_path / "nights"), "--events", str(streams)]
    words += ["--false-alarms-per-day", "1"]
    assert run_command_line(words) == 0
    printed = capsys.readouterr().out
    assert "missed" in printed
    assert "of 2" in printed
    assert run_command_line([*words, "--fragment"]) == 0
    assert "of 2 events, before" in capsys.readouterr().out


def test_a_stream_that_is_no_recording_is_one_sentence(
    middle: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.wav").write_text("no sound at all")
    (tmp_path / "a.tsv").write_text("onset\toffset\tevent_label\n")
    save_model(tmp_path / "m.safetensors", model_with(middle))
    words = ["evaluate", "--streams", str(tmp_path), "--model"]
    assert run_command_line([*words, str(tmp_path / "m.safetensors")]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "a.wav: not a recording that can be read" in line
