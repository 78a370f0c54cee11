"""The fit of a head, on views in which the change against the background tells."""

import threading

import numpy as np
import pytest
import torch

from monitor.model.networks import build_network, with_background
from monitor.spec import BackgroundSpec, ModelSpec
from training.checkpoint import InterruptedTrainingError
from training.config import HeadSettings
from training.heads.backgrounds import backgrounds
from training.heads.fit import fit_head
from training.heads.views import Views, hop_frames

PLAIN = ModelSpec()
SPEC = ModelSpec(background=BackgroundSpec())
FEATURES, WINDOWS, ONSET = 384, 40, 25


def changing_views(streams: int = 24) -> Views:
    """A label is present where the embedding has moved away from its background.

    The embedding itself does not tell: each stream has an origin of its own.
    """
    r = np.random.default_rng(0)
    origin = 3 * r.standard_normal((streams, 1, FEATURES))
    move = 2 * r.standard_normal((1, 1, FEATURES))
    sounding = np.zeros((streams, WINDOWS), bool)
    sounding[::2, ONSET : ONSET + 6] = True
    embedding = origin + sounding[..., None] * move
    return Views(
        embedding.astype(np.float16),
        embedding.astype(np.float16),
        sounding[..., None].astype(np.float16),
        np.ones((streams, WINDOWS, 1), np.float16),
        np.zeros(streams, np.int16),
    )


def fitted(views: Views, **settings: float) -> torch.nn.Module:
    torch.manual_seed(0)
    network = with_background(build_network("mobile", PLAIN, 1), SPEC)
    chosen = HeadSettings.model_validate({"batch_streams": 8, "noise": 0.1} | settings)
    return fit_head(
        network, views, SPEC, chosen, 0, threading.Event(), lambda *_: None
    ).head.eval()


def inputs_of(views: Views) -> torch.Tensor:
    embedding = views.embedding.astype(np.float32)
    background = [
        backgrounds(own, present, SPEC, hop_frames(16))
        for own, present in zip(embedding, views.present, strict=True)
    ]
    parts = [embedding, embedding, np.stack(background)]
    return torch.from_numpy(np.concatenate(parts, axis=2))


def test_a_head_learns_the_change_against_the_background():
    views = changing_views()
    head = fitted(views, steps=150, dropout=0.0)
    logits = head(inputs_of(views))[..., 0].detach().numpy()
    sounding = views.present[..., 0] > 0
    assert logits[sounding].min() > logits[~sounding].max()


def test_without_a_step_the_head_is_that_of_the_trunk():
    views = changing_views(8)
    torch.manual_seed(0)
    network = with_background(build_network("mobile", PLAIN, 1), SPEC)
    before = network.head.eval()(inputs_of(views))
    head = fitted(views, steps=1, learning_rate=1e-9)
    # The hidden units of all heads are there, and their mean is the same head.
    assert torch.allclose(head(inputs_of(views)), before, atol=1e-4)


def test_the_same_seed_gives_the_same_head():
    views = changing_views(8)
    one, other = (fitted(views, steps=3).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_features_that_do_not_vary_give_weights_that_fit_into_16_bits():
    views = changing_views(8)
    for view in (views.embedding, views.recent):
        view[..., :5] = 1
    weights = fitted(views, steps=60, learning_rate=0.2, noise=1.5).half().state_dict()
    assert all(weight.isfinite().all() for weight in weights.values())


def test_a_fit_can_be_stopped():
    stop = threading.Event()
    stop.set()
    network = with_background(build_network("mobile", PLAIN, 1), SPEC)
    settings = HeadSettings(steps=3, batch_streams=2)
    with pytest.raises(InterruptedTrainingError, match="--resume continues"):
        fit_head(network, changing_views(4), SPEC, settings, 0, stop, lambda *_: None)
