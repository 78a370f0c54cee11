"""The network of Ketan Doshi's "Audio Deep Learning Made Simple": preset `article`.

The sizes at line ends are those of a batch of one with the default input format.
"""

from torch import nn

from monitor.model.networks.base import Network, Normalise, average
from monitor.spec import ModelSpec


def article(spec: ModelSpec, labels: int) -> Network:
    """Build four strided convolutions, an average and a linear head: 26 k parameters.

    Unlike the article's, a block normalises before the ReLU, so that the normalisation
    can be folded into the convolution, and the input is normalised by fixed statistics
    of the training set instead of those of the batch.
    """
    blocks = nn.Sequential(  # (1, 2, 64, 344)
        *_block(spec.channels, 8, kernel=5),  # (1, 8, 32, 172)
        *_block(8, 16),  # (1, 16, 16, 86)
        *_block(16, 32),  # (1, 32, 8, 43)
        *_block(32, 64),  # (1, 64, 4, 22)
    )
    return Network(
        Normalise(spec.n_mels),
        blocks,
        pool=average,  # (1, 64): over bands and columns
        head=nn.Linear(64, labels),  # (1, labels)
        total_stride=2**4,
    )


def _block(inputs: int, outputs: int, kernel: int = 3) -> list[nn.Module]:
    """One block of the article: convolution, normalisation, ReLU."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride=2, padding=kernel // 2)
    return [convolution, nn.BatchNorm2d(outputs), nn.ReLU()]
