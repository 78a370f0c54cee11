"""The network of AudioSet: preset `mn04`, the MobileNetV3 that `mobile` begins with.

Layer for layer that of Schmid et al., "Efficient Large-Scale Audio Tagging via
Transformer-to-CNN Knowledge Distillation", 2023, at width 0.4, with its classifier.
"""

from torch import nn

from monitor.errors import UsageError
from monitor.model.networks.base import Network, Normalise, average
from monitor.model.networks.mobile import (
    FEATURES,
    HARDSWISH_BLOCKS,
    TRUNK_BANDS,
    BlockShape,
    trunk,
)
from monitor.spec import ModelSpec

TOTAL_STRIDE = 32
HOP_STRIDE = 8
"""Frames of a column behind the layers that depend on the frames nearby alone."""

HIDDEN = 512

BLOCKS = (
    *HARDSWISH_BLOCKS[:6],
    BlockShape(272, 64, 5, stride=(2, 2), squeeze=72),
    BlockShape(384, 64, 5, squeeze=96),
    BlockShape(384, 64, 5, squeeze=96),
)

SPEC = ModelSpec(
    sample_rate=32_000,
    channels=1,
    n_fft=1024,
    win_length=800,
    hop_length=320,
    pre_emphasis=0.97,
    n_mels=TRUNK_BANDS,
    mel_scale="kaldi",
    f_min=0.0,
    f_max=15_000.0,
    floor_db=-50.0,
    adds_floor=True,
    # 3.86 s: behind the delay of a resampler they still lie in a window of 4.005 s.
    window_frames=384,
)
"""Its own front end."""


def mn04(spec: ModelSpec, labels: int) -> Network:
    """Build the network: 979 k parameters for 527 labels.

    For a batch of 16: (16, 1, 128, 384), (16, 384, 4, 12), (16, 384), (16, labels).
    Batch normalisation is folded into its weights.
    """
    if spec.n_mels != TRUNK_BANDS:
        raise UsageError(
            f"n_mels: the network mn04 takes {TRUNK_BANDS} bands, not {spec.n_mels}"
        )
    return Network(
        Normalise(spec.n_mels),
        nn.Sequential(*trunk(BLOCKS)),
        average,
        nn.Sequential(
            nn.Linear(FEATURES, HIDDEN), nn.Hardswish(), nn.Linear(HIDDEN, labels)
        ),
        total_stride=TOTAL_STRIDE,
        hop_stride=HOP_STRIDE,
    )
