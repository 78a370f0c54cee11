"""A network in training, with the further heads by which it learns from a teacher."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from monitor.model.network import Network


class Lesson(NamedTuple):
    """What a student makes of a batch of windows."""

    logits: Tensor
    """(batch, labels)."""

    activity: Tensor | None
    """(batch, labels, columns), if asked for."""

    embedding: Tensor | None
    """(batch, size of the teacher's embedding), if it has that head."""

    teacher_logits: Tensor | None
    """(batch, classes of the teacher), if it has that head."""


class Student(nn.Module):
    """A network and the heads that are dropped when it has learned.

    Where the pooled features are as many as the teacher's embedding, they shall be
    that embedding; else a linear layer stands between the two.
    """

    def __init__(
        self, network: Network, embedding_size: int = 0, teacher_classes: int = 0
    ) -> None:
        super().__init__()
        self.network = network
        features = feature_count(network)
        self.embedding_head: nn.Module | None = None
        if embedding_size == features:
            self.embedding_head = nn.Identity()
        elif embedding_size:
            self.embedding_head = nn.Linear(features, embedding_size)
        self.teacher_head: nn.Module | None = None
        if teacher_classes:
            self.teacher_head = nn.Linear(features, teacher_classes)

    def forward(self, log_mel: Tensor, columns: bool) -> Lesson:
        """Outputs for (batch, channels, n_mels, frames) in dB.

        Args:
            log_mel: The windows.
            columns: Whether the activity over time is wanted as well.
        """
        network = self.network
        features = network.columns(log_mel)  # (batch, features, columns)
        pooled = network.embed(features)  # (batch, features)
        activity = None
        if columns:
            head = network.column_head or network.head
            activity = head(features.transpose(1, 2)).transpose(1, 2)
        return Lesson(
            network.head(pooled),
            activity,
            self.embedding_head(pooled) if self.embedding_head else None,
            self.teacher_head(pooled) if self.teacher_head else None,
        )


def feature_count(network: Network) -> int:
    """How many features the head of a network gets."""
    was_training = network.training
    bands = network.normalise.mean.shape[0]
    channels = next(
        module.in_channels
        for module in network.modules()
        if isinstance(module, nn.Conv2d)
    )
    with torch.no_grad():
        windows = torch.zeros(1, channels, bands, 16 * network.total_stride)
        pooled = network.eval().embed(network.columns(windows))
    network.train(was_training)
    return int(pooled.shape[1])


def expand_channels(log_mel: Tensor, channels: int) -> Tensor:
    """Give a mono log-mel the channels that a network takes: equal ones."""
    return log_mel.expand(-1, channels, -1, -1)
