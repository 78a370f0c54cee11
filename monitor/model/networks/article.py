"""The network of the article that this project began with: preset `article`."""

from itertools import pairwise

from torch import nn

from monitor.model.networks.base import Network, Normalise, average
from monitor.spec import ModelSpec


def article(spec: ModelSpec, labels: int) -> Network:
    """Four strided convolutions and an average, about 26 k parameters.

    For a batch of 16: (16, 2, 64, 344), (16, 64, 4, 22), (16, 64), (16, labels).
    """
    blocks = nn.Sequential()
    widths = (spec.channels, 8, 16, 32, 64)
    for index, (inputs, outputs) in enumerate(pairwise(widths)):
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
        average,
        nn.Linear(widths[-1], labels),
        total_stride=2**4,
    )
