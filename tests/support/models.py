"""Small models with known weights, for tests."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch

from monitor.model.card import ModelCard
from monitor.model.frontend import Array
from monitor.model.model_file import Model
from monitor.model.networks import Network, build_network
from monitor.model.networks.mn04 import SPEC as MN04_SPEC
from monitor.model.thresholds import Thresholds
from monitor.model.trained import TrainedModel, to_stored
from monitor.spec import BackgroundSpec, ModelSpec

SPECS = {"article": ModelSpec(), "mn04": MN04_SPEC, "mobile": ModelSpec()}
"""A front end for each preset."""

HOP_STRIDES = {"mn04": 8}
"""Hops of networks that need not be multiples of the total stride."""

T = TypeVar("T")

LIVELY_SEED = 26
"""With it, the labels of the network are quiet in faint noise, and loud in loud."""

WITH_BACKGROUND = ModelSpec(background=BackgroundSpec(hold_score=0.7))


def seeded_model(
    preset: str = "article",
    spec: ModelSpec | None = None,
    seed: int = 0,
    labels: Sequence[str] = ("siren", "drilling", "gun_shot"),
) -> TrainedModel:
    """An untrained model whose statistics and scores are nevertheless lively."""
    spec = spec or SPECS[preset]
    card = ModelCard(
        name="seeded",
        preset=preset,
        labels=tuple(labels),
        thresholds=_of(labels, {"siren": Thresholds(onset=0.7, offset=0.5)}),
        temperatures=_of(labels, {"siren": 2.0, "drilling": 0.5}),
        hop_stride=HOP_STRIDES.get(preset),
        licence="none",
        created="2026-01-01T00:00:00Z",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = build_network(preset, spec, len(card.labels)).eval()
        network.normalise.mean.normal_(-40, 5)
        network.normalise.deviation.uniform_(10, 20)
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                assert module.running_mean is not None
                assert module.running_var is not None
                module.running_mean.normal_(0, 0.3)
                module.running_var.uniform_(0.2, 2)
                torch.nn.init.uniform_(module.weight, 0.5, 2)
                torch.nn.init.normal_(module.bias, 0, 0.3)
        if spec.background is not None:
            _enliven(network)
    return TrainedModel(network, spec, card)


def _of(labels: Sequence[str], values: dict[str, T]) -> dict[str, T]:
    return {label: value for label, value in values.items() if label in labels}


def _enliven(network: Network) -> None:
    """Draw weights with which an untrained `mobile` does not fade out."""
    torch.manual_seed(LIVELY_SEED)
    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(module.weight, a=0.5)
    for head in (network.head, network.column_head):
        assert head is not None
        for module in head.modules():
            torch.manual_seed(LIVELY_SEED)  # whatever the size of the one before
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.weight, 0, module.in_features**-0.5)


def stored_model(
    preset: str = "article", spec: ModelSpec | None = None, seed: int = 0
) -> Model:
    """The same as the content of a model file."""
    return to_stored(seeded_model(preset, spec, seed))


def seeded_windows(
    batch: int, channels: int = 2, seed: int = 0, spec: ModelSpec | None = None
) -> Array:
    """Log-mel windows of noise, dB; (batch, channels, 64, 344) without a spec."""
    spec = spec or ModelSpec()
    shape = (batch, channels, spec.n_mels, spec.window_frames)
    windows = np.random.default_rng(seed).normal(-40, 15, shape)
    return windows.astype(np.float32)


def overlapping_windows(
    first_frames: Sequence[int], channels: int, spec: ModelSpec | None = None
) -> Array:
    """Log-mel windows of one noise that gets louder and softer."""
    count = (spec or ModelSpec()).window_frames
    frames = np.concatenate(seeded_windows(7, channels, spec=spec), axis=-1)
    frames += 25 * np.sin(np.arange(frames.shape[-1], dtype=np.float32) / 200)
    return np.stack([frames[..., at : at + count] for at in first_frames])


def small_model(
    name: str, labels: Sequence[str], spec: ModelSpec, seed: int, **card: object
) -> Model:
    """A small untrained model, of any labels and spec, whose scores differ."""
    made = seeded_model("article", spec, seed, labels=labels)
    changed = made.card.model_copy(update={"name": name, **card})
    return to_stored(TrainedModel(made.network, spec, changed))
