"""The model that comes with the program."""

from importlib.resources import files

import numpy as np
import pytest
import torch

from monitor.model.card import read_card
from monitor.model.classifier import Classifier, span_samples
from monitor.model.frontend import LogMel
from monitor.model.golden import TOLERANCES, golden_signal, golden_vector
from monitor.model.model_file import TrainedModel, load_model
from monitor.model.networks.base import to_scores

URBAN = (
    "air_conditioner",
    "car_horn",
    "children_playing",
    "dog_bark",
    "drilling",
    "engine_idling",
    "gun_shot",
    "jackhammer",
    "siren",
    "street_music",
)


@pytest.fixture(scope="module")
def model() -> TrainedModel:
    return load_model(None)


def test_it_has_ten_labels_and_names_the_licence_of_its_recordings():
    _, card = read_card(None)
    assert card.labels == URBAN
    assert card.thresholds.keys() == card.temperatures.keys() == set(URBAN)
    assert "CC BY-NC" in card.licence
    assert card.report["accuracy"] > 0.5


def test_it_is_small_enough_for_a_wheel():
    path = files("monitor.model") / "weights" / "urban.safetensors"
    assert len(path.read_bytes()) < 4 * 2**20


def test_rounding_stays_far_below_the_tolerances_of_the_golden_vector(
    model: TrainedModel,
):
    """Double precision differs by less than a tenth of them."""
    rounded = golden_vector(model.network, model.spec, model.temperatures)
    log_mel = LogMel(model.spec).double()(
        torch.from_numpy(golden_signal(model.spec)).double()
    )
    network = load_model(None).network.double()
    with torch.no_grad():
        output = network(log_mel[None])
    scores, activity = to_scores(output, model.temperatures.double())
    exact = {"log_mel": log_mel, "scores": scores[0], "activity": activity[0]}
    for name, tolerance in TOLERANCES.items():
        error = np.abs(getattr(rounded, name) - exact[name].numpy()).max()
        assert error < tolerance / 10


@pytest.mark.parametrize("at", [60_000, 88_000, 120_000])
def test_a_burst_moves_the_column_in_which_it_lies(model: TrainedModel, at: int):
    """A 50 ms burst changes its own column most, or the one beside."""
    spec, classifier = model.spec, Classifier(model, "cpu")
    generator = np.random.default_rng(at)
    quiet = generator.normal(0, 1e-3, spec.window_samples)
    burst = quiet.copy()
    burst[at - 1100 : at + 1100] += generator.normal(0, 0.1, 2200)
    windows = torch.from_numpy(np.stack([quiet, burst]).astype(np.float32))
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
