"""The networks, by preset name, and what they cost."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from monitor.errors import UsageError
from monitor.model.article import article
from monitor.model.base import Network, Normalise, Output
from monitor.spec import ModelSpec

__all__ = [
    "PRESETS",
    "Cost",
    "Network",
    "Normalise",
    "Output",
    "build_network",
    "count_parameters_and_macs",
]

PRESETS: Mapping[str, Callable[[ModelSpec, int], Network]] = MappingProxyType(
    {"article": article}
)


def build_network(preset: str, spec: ModelSpec, labels: int) -> Network:
    """Build the network `preset` with fresh weights for `labels` labels.

    Raises:
        UsageError: There is no such preset.
    """
    if preset not in PRESETS:
        raise UsageError(
            f"preset: {preset!r} is not a network; choose from {', '.join(PRESETS)}"
        )
    return PRESETS[preset](spec, labels)


class Cost(NamedTuple):
    """What a network takes."""

    parameters: int
    """Numbers learned in training; statistics of the data are not counted."""

    macs: int
    """Multiplications with addition for one window, in convolutions and products."""


def count_parameters_and_macs(network: Network, spec: ModelSpec) -> Cost:
    """Count what one window of `spec` costs; computes nothing."""
    shadow = deepcopy(network).to("meta").eval()
    window = torch.empty(
        1, spec.channels, spec.n_mels, spec.window_frames, device="meta"
    )
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(window)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Cost(parameters, counter.get_total_flops() // 2)
