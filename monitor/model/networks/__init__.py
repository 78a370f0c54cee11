"""The networks that a model file can name, by preset, and their cost."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from types import MappingProxyType
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from monitor.errors import UsageError
from monitor.model.networks.article import article
from monitor.model.networks.base import Network, Normalise, Output
from monitor.model.networks.mn04 import mn04
from monitor.model.networks.mobile import mobile, with_background
from monitor.spec import ModelSpec

__all__ = [
    "PRESETS",
    "Cost",
    "Network",
    "Normalise",
    "Output",
    "build_network",
    "count_parameters_and_macs",
    "with_background",
]

PRESETS: Mapping[str, Callable[[ModelSpec, int], Network]] = MappingProxyType(
    {"article": article, "mn04": mn04, "mobile": mobile}
)


def build_network(preset: str, spec: ModelSpec, labels: int) -> Network:
    """Build the network `preset` with fresh weights for `labels` labels.

    Raises:
        UsageError: There is no such preset, or it takes no background and `spec` has
            one.
    """
    if preset not in PRESETS:
        raise UsageError(
            f"preset: {preset!r} is not a network; choose from {', '.join(PRESETS)}"
        )
    network = PRESETS[preset](spec, labels)
    if spec.background is not None and not network.recent_columns:
        raise UsageError(
            f"spec.background: the network {preset} takes none; choose mobile"
        )
    return network


class Cost(NamedTuple):
    """Size and work of a network."""

    parameters: int
    """Learned weights, without statistics of the data."""

    macs: int
    """Multiply-accumulates for one window, of convolutions and linear layers."""


def count_parameters_and_macs(network: Network, spec: ModelSpec) -> Cost:
    """Count weights, and the work for one window of `spec`."""
    network = deepcopy(network).cpu().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, spec.channels, spec.n_mels, spec.window_frames))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Cost(parameters, counter.get_total_flops() // 2)
