"""Optimises a trained network for inference on the CPU: the same scores, less work.

Batch normalisation is folded into the convolution before it and, for mono sources, the
two input channels into one.  The shift and scale of each mel band cannot be folded: a
convolution has the same weights in all bands, and its zero padding lies at the mean.

A small network spends a third of its time on one window in looking up modules and
parameters, so these are looked up once too.
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

# In place, because nothing else reads the output of the convolution.
_ACTIVATIONS: dict[type[nn.Module], _Step] = {
    nn.ReLU: torch.relu_,
    nn.Hardswish: lambda maps: functional.hardswish(maps, inplace=True),
}


def fold(network: Network, channels: int) -> Network:
    """Return a copy of `network` in evaluation mode that is faster on the CPU.

    Args:
        network: Not modified.
        channels: Channels of the windows that the copy takes; 1 for a network of two
            computes the scores of two equal channels.

    Returns:
        Equal to `network` to 1e-5; it can neither be trained nor moved.
    """
    copy = deepcopy(network).float().cpu().eval().requires_grad_(False)
    if channels == 1:
        _merge_channels(copy)
    for module in list(copy.modules()):
        if isinstance(module, nn.Sequential):
            _fold_layers(module)
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
        blocks = network.blocks
        layers = blocks if isinstance(blocks, nn.Sequential) else [blocks]
        self._steps: list[_Step] = [layer.forward for layer in layers]  # no hooks
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
        # A linear head of the mean equals the mean of the head.
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
        # oneDNN's convolutions want the channels last, else they reorder them.
        self._weight = layer.weight.detach().to(memory_format=torch.channels_last)
        self._bias = None if layer.bias is None else layer.bias.detach()
        self._options: tuple[Any, ...] = (
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )
        self._activate = activation

    def forward(self, maps: Tensor) -> Tensor:
        output = torch.conv2d(maps, self._weight, self._bias, *self._options)
        return output if self._activate is None else self._activate(output)


def _merge_channels(network: Network) -> None:
    """Sum the weights of the first convolution over its two input channels.

    Where it has one input channel, an earlier layer has merged them.
    """
    layers = network.blocks.modules()
    first = next(layer for layer in layers if isinstance(layer, nn.Conv2d))
    if first.in_channels == 2:
        weight = first.weight.sum(dim=1, keepdim=True)
        first.weight = nn.Parameter(weight, requires_grad=False)
        first.in_channels = 1


def _fold_layers(sequence: nn.Sequential) -> None:
    """Join convolutions with what follows; drop what does nothing in evaluation."""
    folded: list[nn.Module] = []
    for layer in sequence:
        before = folded[-1] if folded else None
        if isinstance(before, nn.Conv2d) and isinstance(layer, nn.BatchNorm2d):
            folded[-1] = fuse_conv_bn_eval(before, layer)
        elif isinstance(before, nn.Conv2d) and type(layer) in _ACTIVATIONS:
            folded[-1] = _Convolution(before, _ACTIVATIONS[type(layer)])
        elif not isinstance(layer, nn.Dropout | nn.Identity):
            folded.append(layer)
    del sequence[:]
    sequence.extend(
        _Convolution(layer, None) if isinstance(layer, nn.Conv2d) else layer
        for layer in folded
    )
