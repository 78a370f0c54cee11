"""A trained network rewritten for listening on the CPU: the same numbers, less work.

What can be done once is done once: batch normalisation is folded into the convolution
before it, and for mono sources the two input channels into one.  The shift and scale
of each mel band cannot be folded: a convolution has the same weights in all bands, and
its zero padding lies at the mean.

A small network on one window spends a third of its time not in its sums but in looking
up modules and parameters, so these are looked up once too.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from monitor.model.networks.base import Network, Output, average

_Step = Callable[[Tensor], Tensor]

# They may overwrite the output of a convolution, which nobody else reads.
_IN_PLACE: dict[type[nn.Module], _Step] = {
    nn.ReLU: torch.relu_,
    nn.Hardswish: lambda maps: functional.hardswish(maps, inplace=True),
}


def fold(network: Network, channels: int) -> Network:
    """Return a copy of `network` in evaluation mode that is faster on the CPU.

    Args:
        network: Stays as it is.
        channels: Of the windows that the copy takes; 1 for a network of two channels
            computes what two equal channels would give.

    Returns:
        Equal to `network` to 1e-5; it can neither be trained nor moved.
    """
    copy = deepcopy(network).float().cpu().eval().requires_grad_(False)
    if channels == 1:
        _merge_channels(copy)
    sequences = [
        module for module in copy.modules() if isinstance(module, nn.Sequential)
    ]
    for sequence in sequences:
        _fold_normalisation(sequence)
    # oneDNN's convolutions want the channels last, and reorder what comes otherwise.
    copy.to(memory_format=torch.channels_last)
    for sequence in sequences:
        _join_activations(sequence)
    return _Folded(copy)


class _Folded(Network):
    """The network in the fewest calls."""

    def __init__(self, network: Network) -> None:
        super().__init__(
            network.normalise,
            network.blocks,
            network.pool,
            network.head,
            network.total_stride,
            network.column_head,
            network.peak_share,
        )
        self._mean = network.normalise.mean
        self._factor = 1 / network.normalise.deviation
        self._steps = _steps(network.blocks)
        self._shared_head = _shared_head(network)

    def columns(self, log_mel: Tensor) -> Tensor:
        maps = (log_mel - self._mean).mul_(self._factor)
        for step in self._steps:
            maps = step(maps)
        return maps.mean(dim=2)

    def forward(self, log_mel: Tensor) -> Output:
        if self._shared_head is None:
            return super().forward(log_mel)
        weight, bias = self._shared_head
        # The head of the mean is the mean of the head: it is linear.
        activity = torch.matmul(weight, self.columns(log_mel)).add_(bias)
        return Output(activity.mean(dim=2), activity)


def _shared_head(network: Network) -> tuple[Tensor, Tensor] | None:
    """Weight and bias of a linear head that serves an average and its columns."""
    head = network.head
    is_shared = network.column_head is None and network.pool is average
    if is_shared and isinstance(head, nn.Linear) and not network.peak_share:
        return head.weight, head.bias[:, None]
    return None


class _Convolution(nn.Module):
    """A convolution and the activation after it, if any."""

    def __init__(self, layer: nn.Conv2d, activation: _Step | None) -> None:
        super().__init__()
        self._arguments: tuple[Any, ...] = (
            layer.weight.detach(),
            None if layer.bias is None else layer.bias.detach(),
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )
        self._activate = activation

    def forward(self, maps: Tensor) -> Tensor:
        output = torch.conv2d(maps, *self._arguments)
        return output if self._activate is None else self._activate(output)


def _steps(blocks: nn.Module) -> list[_Step]:
    """What is called one after the other, past the hooks that modules may have."""
    layers = blocks if isinstance(blocks, nn.Sequential) else [blocks]
    return [layer.forward for layer in layers]


def _merge_channels(network: Network) -> None:
    """Sum the weights of the first convolution over its two input channels.

    A network whose first convolution has one has merged the channels before it.
    """
    layers = network.blocks.modules()
    first = next(layer for layer in layers if isinstance(layer, nn.Conv2d))
    if first.in_channels == 2:
        weight = first.weight.sum(dim=1, keepdim=True)
        first.weight = nn.Parameter(weight, requires_grad=False)
        first.in_channels = 1


def _fold_normalisation(sequence: nn.Sequential) -> None:
    """Fold batch normalisation, and drop what does nothing in evaluation."""
    kept: list[nn.Module] = []
    for layer in sequence:
        before = kept[-1] if kept else None
        if isinstance(before, nn.Conv2d) and isinstance(layer, nn.BatchNorm2d):
            kept[-1] = fuse_conv_bn_eval(before, layer)
        elif not isinstance(layer, nn.Dropout | nn.Identity):
            kept.append(layer)
    _replace(sequence, kept)


def _join_activations(sequence: nn.Sequential) -> None:
    """Join each convolution with the activation after it."""
    joined: list[nn.Module] = []
    layers = list(sequence)
    for before, layer in zip([None, *layers], layers, strict=False):
        if isinstance(layer, nn.Conv2d):
            joined.append(_Convolution(layer, None))
        elif isinstance(before, nn.Conv2d) and type(layer) in _IN_PLACE:
            joined[-1] = _Convolution(before, _IN_PLACE[type(layer)])
        else:
            joined.append(layer)
    _replace(sequence, joined)


def _replace(sequence: nn.Sequential, layers: list[nn.Module]) -> None:
    del sequence[:]
    sequence.extend(layers)
