"""The more accurate network: preset `mobile`, the trunk of a MobileNetV3.

Its shape is that of mn04 (Schmid et al., "Efficient Large-Scale Audio Tagging via
Transformer-to-CNN Knowledge Distillation", 2023), so that training can begin with the
weights that it learned from two million sounds.  Two things differ: a dilated
convolution in place of the last stride doubles the columns, and the last two squeezes
are narrower.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from monitor.errors import UsageError
from monitor.model.networks.base import Network, Normalise, average
from monitor.spec import ModelSpec

TRUNK_BANDS = 128
"""Mel bands of the trunk's own front end."""

# That front end adds a floor to the power of each band and scales its logarithm.
_TRUNK_SHIFT, _TRUNK_SCALE, _TRUNK_FLOOR = 4.5, 5.0, 1e-5
_MAX_LOG_POWER = 80.0  # its exponential is still finite


class BlockShape(NamedTuple):
    """An inverted residual: widen, convolve each channel, narrow."""

    wide: int
    outputs: int
    kernel: int
    stride: tuple[int, int] = (1, 1)
    """Over bands and over frames."""

    squeeze: int = 0
    """Features of the squeeze and excitation, see `Gate`; 0: none."""

    dilation: int = 1
    """Over frames."""


RELU_BLOCKS = (
    BlockShape(8, 8, 3),
    BlockShape(24, 16, 3, stride=(2, 2)),
    BlockShape(32, 16, 3),
    BlockShape(32, 16, 5, stride=(2, 2), squeeze=8),
    BlockShape(48, 16, 5, squeeze=16),
    BlockShape(48, 16, 5, squeeze=16),
)
HARDSWISH_BLOCKS = (
    BlockShape(96, 32, 3, stride=(2, 2)),
    BlockShape(80, 32, 3),
    BlockShape(72, 32, 3),
    BlockShape(72, 32, 3),
    BlockShape(192, 48, 3, squeeze=48),
    BlockShape(272, 48, 3, squeeze=72),
    BlockShape(272, 64, 5, stride=(2, 1), squeeze=72),
    BlockShape(384, 64, 5, squeeze=64, dilation=2),
    BlockShape(384, 64, 5, squeeze=64, dilation=2),
)
STEM_WIDTH = 8
FEATURES = 384
HIDDEN = 32
"""Hidden units of the head; with a background it is the mean of three such heads."""

RECENT_COLUMNS = 6
"""Columns of the recent view: about the last second."""

PEAK_SHARE = 0.3
"""Share of the highest column in the logits of a window.  Out of fold, a larger share
detects onsets earlier, a smaller one classifies more clips correctly."""


class MergeChannels(nn.Module):
    """The mean of the channels in dB: (batch, channels, ...) to (batch, 1, ...)."""

    def forward(self, log_mel: Tensor) -> Tensor:
        """Average over the channels."""
        if log_mel.shape[1] == 1:
            return log_mel
        return log_mel.mean(dim=1, keepdim=True)


class BandMap(nn.Module):
    """Map the mel bands of the front end to those that the trunk was trained on."""

    def __init__(self, n_mels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(n_mels, TRUNK_BANDS)

    def forward(self, bands: Tensor) -> Tensor:
        """Map (batch, 1, n_mels, frames) to (batch, 1, TRUNK_BANDS, frames)."""
        mapped = self.linear.weight @ bands + self.linear.bias[:, None]
        # log(power + floor), where mapped = (log(power) + shift) / scale: a softplus,
        # which torch computes five times more slowly.
        log_power = _TRUNK_SCALE * mapped - _TRUNK_SHIFT
        power = torch.exp(log_power.clamp(max=_MAX_LOG_POWER))
        return (torch.log(power + _TRUNK_FLOOR) + _TRUNK_SHIFT) / _TRUNK_SCALE


class Gate(nn.Module):
    """Squeeze and excitation: scale each channel by features of the whole window."""

    def __init__(self, channels: int, squeeze: int) -> None:
        super().__init__()
        self.gates = nn.Sequential(
            nn.Linear(channels, squeeze),
            nn.ReLU(),
            nn.Linear(squeeze, channels),
            nn.Sigmoid(),
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Scale (batch, channels, bands, columns)."""
        gates: Tensor = self.gates(maps.mean(dim=(2, 3)))
        return maps * gates[:, :, None, None]


class InvertedResidual(nn.Module):
    """One block, with a residual connection where the shape allows it."""

    def __init__(
        self, inputs: int, shape: BlockShape, activation: type[nn.Module]
    ) -> None:
        super().__init__()
        self.adds_input = inputs == shape.outputs and shape.stride == (1, 1)
        self.body = nn.Sequential()
        if inputs != shape.wide:
            self.body.extend([nn.Conv2d(inputs, shape.wide, 1), activation()])
        self.body.extend([_depthwise(shape), activation()])
        if shape.squeeze:
            self.body.append(Gate(shape.wide, shape.squeeze))
        self.body.append(nn.Conv2d(shape.wide, shape.outputs, 1))

    def forward(self, maps: Tensor) -> Tensor:
        """Map (batch, inputs, bands, columns) to (batch, outputs, ...)."""
        body: Tensor = self.body(maps)
        return maps + body if self.adds_input else body


class SkipHead(nn.Module):
    """The sum of a linear head and one with a few hidden units.

    The trunk's own classifier is not linear in the features.
    """

    def __init__(self, features: int, labels: int, hidden: int = HIDDEN) -> None:
        super().__init__()
        self.linear = nn.Linear(features, labels)
        self.hidden = nn.Linear(features, hidden)
        self.output = nn.Linear(hidden, labels)
        # Training begins with the linear head alone.
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Map (..., features) to logits (..., labels)."""
        logits: Tensor = self.linear(features)
        more: Tensor = self.output(nn.functional.hardswish(self.hidden(features)))
        return logits + more

    @torch.no_grad()
    def start_from(self, trained: "SkipHead") -> None:
        """Begin with the logits of a smaller head, of the first features alone.

        The further hidden units keep their weights, without an effect yet.
        """
        features, hidden = trained.linear.in_features, trained.hidden.out_features
        for weight in (self.linear.weight, self.hidden.weight[:hidden]):
            weight.zero_()
        self.linear.weight[:, :features] = trained.linear.weight
        self.linear.bias.copy_(trained.linear.bias)
        self.hidden.weight[:hidden, :features] = trained.hidden.weight
        self.hidden.bias[:hidden] = trained.hidden.bias
        self.output.weight.zero_()[:, :hidden] = trained.output.weight
        self.output.bias.copy_(trained.output.bias)


def _depthwise(shape: BlockShape) -> nn.Conv2d:
    """The depthwise convolution."""
    half = shape.kernel // 2
    return nn.Conv2d(
        shape.wide,
        shape.wide,
        shape.kernel,
        shape.stride,
        padding=(half, half * shape.dilation),
        dilation=(1, shape.dilation),
        groups=shape.wide,
    )


def trunk(hardswish_blocks: Sequence[BlockShape]) -> Iterator[nn.Module]:
    """Yield the layers behind the bands, in their order.

    They map (batch, 1, TRUNK_BANDS, frames) to (batch, FEATURES, bands, columns).
    """
    yield from (nn.Conv2d(1, STEM_WIDTH, 3, stride=2, padding=1), nn.Hardswish())
    inputs = STEM_WIDTH
    stages = ((RELU_BLOCKS, nn.ReLU), (hardswish_blocks, nn.Hardswish))
    for shapes, activation in stages:
        for shape in shapes:
            yield InvertedResidual(inputs, shape, activation)
            inputs = shape.outputs
    yield from (nn.Conv2d(inputs, FEATURES, 1), nn.Hardswish())


def mobile(spec: ModelSpec, labels: int) -> Network:
    """Build a MobileNetV3 of width 0.4 behind a learned band map: 491 k parameters.

    For a batch of 16: (16, 2, 64, 344), (16, 384, 4, 22), (16, 384), (16, labels).  The
    batch normalisation of its first training is folded into its weights.  If `spec` has
    a background, the head takes (16, 3 * 384).
    """
    if spec.n_mels > TRUNK_BANDS:
        raise UsageError(
            f"n_mels: the network mobile takes at most {TRUNK_BANDS} bands, "
            f"not {spec.n_mels}"
        )
    blocks = nn.Sequential(
        MergeChannels(),
        BandMap(spec.n_mels),
        *trunk(HARDSWISH_BLOCKS),
    )
    has_background = spec.background is not None
    head = SkipHead(FEATURES, labels)
    if has_background:
        head = SkipHead(3 * FEATURES, labels, 3 * HIDDEN)
    return Network(
        Normalise(spec.n_mels),
        blocks,
        average,
        nn.Sequential(nn.Dropout(0.1), head),
        total_stride=16,
        column_head=nn.Linear(FEATURES, labels),
        peak_share=0 if has_background else PEAK_SHARE,
        recent_columns=RECENT_COLUMNS if has_background else 0,
    )


def with_background(trained: Network, spec: ModelSpec) -> Network:
    """Build the network of `spec`, which has a background, from one without.

    The new head gives the logits of the old one, without the share of the highest
    column, until it is trained.  `trained` is a network of preset `mobile`, and is left
    as it is.
    """
    old = _skip_head(trained)
    network = mobile(spec, old.linear.out_features)
    weights = {
        name: weight
        for name, weight in trained.state_dict().items()
        if not name.startswith("head.")
    }
    network.load_state_dict(weights, strict=False)
    _skip_head(network).start_from(old)
    return network.train(trained.training)


def _skip_head(network: Network) -> SkipHead:
    return next(each for each in network.modules() if isinstance(each, SkipHead))
