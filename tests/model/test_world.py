"""The included model world is the network of AudioSet that it was made from."""

import numpy as np
import pytest
import torch

from monitor.model.card import read_card
from monitor.model.catalogue import default_labels
from monitor.model.classifier import Classifier
from monitor.model.frontend import Array, LogMel
from monitor.model.model_file import load_model
from monitor.model.networks.mn04 import SPEC
from monitor.model.trained import network_of
from tests.support.world_teacher import clip, reflected, taught


def sigmoid(logits: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-logits)))


def test_on_a_whole_clip_it_says_what_its_teacher_says() -> None:
    """Embedding, logits and scores, with its own front end."""
    expected = taught()
    log_mel = LogMel(SPEC)(reflected(clip())[None])
    network = network_of(load_model("world"))
    with torch.inference_mode():
        columns = network.columns(torch.from_numpy(log_mel)[None])
        embedding = network.embed(columns)
        logits = network.head(embedding)
    assert log_mel.shape[-1] == 500  # a frame in every 10 ms
    assert np.abs(embedding[0].numpy() - expected.embedding).max() < 1e-3
    assert np.abs(logits[0].numpy() - expected.logits).max() < 1e-2
    scores = sigmoid(logits[0].numpy())
    assert np.abs(scores - sigmoid(expected.logits)).max() < 1e-3


def test_the_teacher_hears_something_in_the_clip() -> None:
    """Else the test above would compare zeros."""
    scores = sigmoid(taught().logits)
    assert (scores > 0.1).sum() >= 2
    assert taught().embedding.max() > 1


def test_its_front_end_is_that_of_its_network() -> None:
    spec, card = read_card("world")
    assert spec == SPEC
    assert card.preset == "mn04"
    assert len(card.labels) == 527
    assert card.hop_frames_step == 8


def test_a_window_of_silence_has_none_of_the_labels_that_are_reported() -> None:
    model = load_model("world")
    classifier = Classifier(model, "cpu")
    log_mel = LogMel(SPEC)(np.zeros((1, SPEC.window_samples), np.float32))
    (scores,) = classifier.classify(log_mel[None]).scores
    for label in default_labels(model.card):
        for name in model.card.catalogue[label].classes:
            score = scores[model.card.labels.index(name)]
            assert score < model.card.thresholds[label].onset, (label, name)


@pytest.mark.parametrize("name", ["urban", "world"])
def test_an_included_model_is_found_by_its_name(name: str) -> None:
    assert read_card(name).card.name == name
    assert read_card(None) == read_card("urban")
