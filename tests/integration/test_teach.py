"""A bell is taught on the included model, and found in another room and in a street."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.audio.sources.demo import render_scene
from monitor.model.card import TAUGHT_MODEL
from monitor.model.classifier import Classifier
from monitor.model.frontend import Array, LogMel
from monitor.model.model_file import Model, load_model
from monitor.model.taught import (
    TaughtLabel,
    check_network,
    read_taught,
    taught_path,
)
from tests.support.commands import fails, run
from tests.support.doorbell import doorbell, write_rings


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(TAUGHT_MODEL)


@pytest.fixture
def taught(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> TaughtLabel:
    config = tmp_path / "config.yaml"
    config.write_text(f"state_dir: {tmp_path / 'state'}\n")
    rings = write_rings(tmp_path, 5, 32_000)
    out = run(capsys, "teach", "our_bell", *rings, "--config", config)
    assert "detected, each left out in turn: 5 of 5" in out
    return read_taught(taught_path(tmp_path / "state", "our_bell"))


def columns_of(model: Model, windows: Iterator[Array]) -> Array:
    classifier, log_mel = Classifier(model, "cpu"), LogMel(model.spec)
    found = classifier.classify(np.stack([log_mel(each[None]) for each in windows]))
    assert found.columns is not None
    return found.columns


def test_a_taught_bell_is_found_where_it_rings_and_when(
    model: Model, taught: TaughtLabel
) -> None:
    spec, onset = model.spec, taught.card.thresholds.onset
    street = render_scene(spec.sample_rate)[0]  # siren, drill, horn, dog and traffic
    starts = range(0, len(street) - spec.window_samples, 2 * spec.sample_rate)
    windows = [street[it : it + spec.window_samples] for it in starts]
    alone = columns_of(model, iter(windows))
    check_network(taught, model.card.name, model.network_digest, alone.shape[1])
    assert (taught.scores(alone) < onset).all()
    # In the second half of each window of the traffic before the siren.
    ring = doorbell("bedroom", 2.0, spec.sample_rate, seed=77, seconds=1.8)
    there = windows[0].copy()
    there[-len(ring) :] += ring
    columns = columns_of(model, iter([there]))
    assert taught.scores(columns)[0] >= onset
    activity = taught.activity(columns)[0]
    half = len(activity) // 2
    assert activity[half:].max() > activity[:half].max()


def test_a_taught_label_is_switched_on_by_its_name_and_raises_events(
    tmp_path: Path, taught: TaughtLabel, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = 44_100
    quiet = np.random.default_rng(1).normal(0, 1e-3, 8 * rate).astype(np.float32)
    ring = doorbell("bedroom", 3.0, rate, seed=77)
    recording = tmp_path / "house.wav"
    soundfile.write(recording, np.concatenate([quiet, ring, quiet]), rate)
    config = tmp_path / "config.yaml"
    config.write_text(
        f"state_dir: {tmp_path / 'state'}\n"
        "models: [urban, world]\nlabels: [siren, our_bell]\n"
    )
    lines = run(capsys, "analyze", recording, "--config", config, "--json")
    (event,) = [json.loads(line) for line in lines.splitlines()]
    assert event["label"] == "our_bell"
    assert event["model"] == "world"
    assert event["start_seconds"] == pytest.approx(8.1, abs=0.5)
    checked = json.loads(run(capsys, "check", "--config", config, "--json"))
    assert checked["labels"]["our_bell"]["model"] == "world"
    config.write_text(
        f"state_dir: {tmp_path / 'state'}\nmodel: urban\nlabels: [our_bell]\n"
    )
    code, error = fails(capsys, "analyze", recording, "--config", config)
    assert code == 2
    assert "'our_bell' was taught on the model world, which does not listen" in error
