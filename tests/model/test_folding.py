"""Folding: the same numbers with less work."""

import pytest
import torch
from torch import nn

from monitor.model.folding import fold
from monitor.model.networks import PRESETS
from tests.support.models import seeded_model, seeded_windows


@pytest.mark.parametrize("preset", PRESETS)
def test_a_folded_network_equals_the_unfolded(preset: str):
    network = seeded_model(preset).network
    windows = seeded_windows(3)
    with torch.no_grad():
        folded, unfolded = fold(network, channels=2)(windows), network(windows)
    assert (folded.logits - unfolded.logits).abs().max() < 1e-5
    assert (folded.activity - unfolded.activity).abs().max() < 1e-5


@pytest.mark.parametrize("preset", PRESETS)
def test_mono_equals_two_equal_channels(preset: str):
    network = seeded_model(preset).network
    mono = seeded_windows(3, channels=1)
    with torch.no_grad():
        folded = fold(network, channels=1)(mono)
        stereo = network(mono.expand(-1, 2, -1, -1))
    assert (folded.logits - stereo.logits).abs().max() < 1e-5
    assert (folded.activity - stereo.activity).abs().max() < 1e-5


@pytest.mark.parametrize("preset", PRESETS)
def test_no_batch_normalisation_is_left(preset: str):
    folded = fold(seeded_model(preset).network, channels=1)
    assert not [m for m in folded.modules() if isinstance(m, nn.BatchNorm2d)]


def test_the_original_is_untouched():
    network = seeded_model().network
    windows = seeded_windows(1)
    with torch.no_grad():
        before = network(windows).logits
        fold(network, channels=1)(windows[:, :1])
        assert torch.equal(network(windows).logits, before)
    assert all(parameter.requires_grad for parameter in network.parameters())


def test_windows_are_not_overwritten():
    windows = seeded_windows(1)
    before = windows.clone()
    with torch.no_grad():
        fold(seeded_model().network, channels=2)(windows)
    assert torch.equal(windows, before)
