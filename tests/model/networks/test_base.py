"""The highest column has a say in what a network makes of a window."""

import torch
from torch import nn

from monitor.model.networks.base import Network, Normalise, average


def network_of(share: float) -> Network:
    """A network whose columns are the frames, and whose logit is their level."""
    head, column_head = nn.Linear(1, 1), nn.Linear(1, 1)
    for layer, bias in ((head, 0.0), (column_head, 1.0)):
        nn.init.ones_(layer.weight)
        nn.init.constant_(layer.bias, bias)
    made = Network(Normalise(1), nn.Identity(), average, head, 1, column_head, share)
    return made.eval()


def test_a_short_sound_counts_by_its_highest_column() -> None:
    window = torch.zeros(1, 1, 1, 10)
    window[..., 7] = 5
    with torch.inference_mode():
        mean, peak = 0.5, 6.0
        for share in (0.0, 0.25, 1.0):
            logits = network_of(share)(window).logits
            assert torch.allclose(
                logits, torch.tensor((1 - share) * mean + share * peak)
            )
