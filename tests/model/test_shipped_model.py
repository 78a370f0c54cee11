"""The model that comes with the program."""

from importlib.resources import files

import numpy as np
import pytest

from monitor.model.card import read_card
from monitor.model.classifier import Classifier, span_samples
from monitor.model.frontend import LogMel
from monitor.model.model_file import Model, load_model
from tests.support.timed import LABELS


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(None)


def test_it_has_ten_labels_and_names_the_licence_of_its_recordings():
    _, card = read_card(None)
    assert card.labels == LABELS
    assert card.thresholds.keys() == card.temperatures.keys() == set(LABELS)
    assert "CC BY-NC" in card.licence
    assert card.report["accuracy"] > 0.5


def test_it_is_small_enough_for_a_wheel():
    path = files("monitor.model") / "weights" / "urban.safetensors"
    assert len(path.read_bytes()) < 4 * 2**20


@pytest.mark.parametrize("at", [60_000, 88_000, 120_000])
def test_a_burst_moves_the_column_in_which_it_lies(model: Model, at: int):
    """A 50 ms burst changes its own column most, or the one beside."""
    spec, classifier = model.spec, Classifier(model, "cpu")
    generator = np.random.default_rng(at)
    quiet = generator.normal(0, 1e-3, spec.window_samples)
    burst = quiet.copy()
    burst[at - 1100 : at + 1100] += generator.normal(0, 0.1, 2200)
    windows = np.stack([quiet, burst]).astype(np.float32)
    activity = classifier.classify(LogMel(spec)(windows)[:, None]).activity
    change = np.abs(activity[1] - activity[0]).sum(axis=0)
    edges = span_samples(
        np.arange(change.size + 1),
        classifier.total_stride,
        spec.hop_length,
        spec.n_fft,
    )
    most = change.argmax()
    centre = (edges[most] + edges[most + 1]) / 2
    assert abs(centre - at) < classifier.total_stride * spec.hop_length
