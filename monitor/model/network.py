"""The networks, by preset name: log-mel windows in, one logit for each label out."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from monitor.errors import UsageError
from monitor.spec import ModelSpec


class Normalise(nn.Module):
    """Shift and scale each mel band by a mean and deviation learned in training.

    They are fixed numbers: were they taken from the window, a click would move the
    quiet frames around it.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_mels, 1))
        self.register_buffer("deviation", torch.ones(n_mels, 1))

    def forward(self, log_mel: Tensor) -> Tensor:
        """Map (..., n_mels, frames) in dB to about zero mean and unit deviation."""
        return (log_mel - self.mean) / self.deviation


class Output(NamedTuple):
    """What a network says of a batch of windows."""

    logits: Tensor
    """(batch, labels), of the whole window."""

    activity: Tensor
    """(batch, labels, columns): the logit that each column of `total_stride` frames
    would have if the whole window were like it; shows where a sound is."""


class Network(nn.Module):
    """Convolution blocks, pooling and a linear head.

    Pooling a map over frequency alone, column by column, and applying the same head
    gives the class activation over time (Zhou et al., "Learning Deep Features for
    Discriminative Localization", 2016).
    """

    def __init__(
        self,
        normalise: Normalise,
        blocks: nn.Module,
        pool: Callable[[Tensor], Tensor],
        head: nn.Module,
        total_stride: int,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.blocks = blocks
        self.pool = pool
        self.head = head
        self.total_stride = total_stride

    def maps(self, log_mel: Tensor) -> Tensor:
        """Feature maps (batch, features, bands, columns) of (batch, 2, n_mels, n)."""
        maps: Tensor = self.blocks(self.normalise(log_mel))
        return maps

    def forward(self, log_mel: Tensor) -> Output:
        """Logits and activity of log-mel windows (batch, channels, n_mels, frames)."""
        maps = self.maps(log_mel)  # (batch, features, bands, columns)
        logits = self.head(self.pool(maps))  # (batch, labels)
        columns = maps.permute(0, 3, 1, 2).flatten(0, 1).unsqueeze(-1)
        activity = self.head(self.pool(columns))  # (batch * columns, labels)
        activity = activity.unflatten(0, (maps.shape[0], -1)).transpose(1, 2)
        return Output(logits, activity)


def average_pool(maps: Tensor) -> Tensor:
    """Mean over bands and columns: (batch, features, bands, columns) to (b, f)."""
    return maps.mean(dim=(2, 3))


def _article(spec: ModelSpec, labels: int) -> Network:
    """Four strided convolutions and an average.

    For a batch of 16: (16, 2, 64, 344), (16, 64, 4, 22), (16, 64), (16, labels).
    """
    blocks = nn.Sequential()
    widths = (spec.channels, 8, 16, 32, 64)
    for index, (inputs, outputs) in enumerate(zip(widths, widths[1:], strict=False)):
        kernel = 5 if index == 0 else 3
        blocks.extend(
            [
                nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2),
                # Before the ReLU, so that the two can be folded into one convolution.
                nn.BatchNorm2d(outputs),
                nn.ReLU(),
            ]
        )
    return Network(
        Normalise(spec.n_mels),
        blocks,
        average_pool,
        nn.Linear(widths[-1], labels),
        total_stride=2**4,
    )


PRESETS: dict[str, Callable[[ModelSpec, int], Network]] = {"article": _article}


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
