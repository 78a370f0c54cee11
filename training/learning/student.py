"""A network in training, with the further heads by which it learns from a teacher."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from monitor.model.network import Network


class Answers(NamedTuple):
    """What a student makes of a batch of windows."""

    logits: Tensor
    """(batch, labels)."""

    activity: Tensor | None
    """(batch, labels, columns), if asked for."""

    embedding: Tensor | None
    """(batch, size of the teacher's embedding) in its deviations, if it has that."""

    teacher_logits: Tensor | None
    """(batch, classes of the teacher) in their deviations, if it has that."""


class Student(nn.Module):
    """A network and the heads that are dropped when it has learned.

    Where the pooled features are as many as the teacher's embedding, they shall be
    that embedding; else a linear layer stands between the two.

    Args:
        network: What is kept.
        embedding_scale: (size,), deviations of the teacher's embedding; None: it has
            none to learn from.
        logits_scale: (classes,), the same of its logits.
        classifier: The teacher's own, from embedding to logits, which stays as it is;
            None: a linear layer learns it.
        label_gradient: Share of the gradient of `logits` and `activity` that goes
            beyond the heads.
    """

    embedding_scale: Tensor
    logits_scale: Tensor

    def __init__(
        self,
        network: Network,
        embedding_scale: Tensor | None = None,
        logits_scale: Tensor | None = None,
        classifier: nn.Module | None = None,
        label_gradient: float = 1.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.label_gradient = label_gradient
        features = feature_count(network)
        nothing = torch.ones(0)
        self.register_buffer(
            "embedding_scale", nothing if embedding_scale is None else embedding_scale
        )
        self.register_buffer(
            "logits_scale", nothing if logits_scale is None else logits_scale
        )
        size, classes = len(self.embedding_scale), len(self.logits_scale)
        self.embedding_head = (
            nn.Identity() if size in (0, features) else nn.Linear(features, size)
        )
        if classifier is not None:
            classifier.requires_grad_(False)
        elif classes:
            classifier = nn.Linear(size or features, classes)
        self.classifier = classifier

    @property
    def has_more_heads(self) -> bool:
        """Whether there are heads that not every batch asks for."""
        heads = (self.network.column_head, self.classifier)
        return any(head is not None for head in heads) or len(self.embedding_scale) > 0

    @property
    def is_embedding(self) -> bool:
        """Whether the features of the network shall be the teacher's embedding."""
        return feature_count(self.network) == len(self.embedding_scale)

    def forward(self, log_mel: Tensor, columns: bool) -> Answers:
        """Answers for (batch, channels, n_mels, frames) in dB.

        Args:
            log_mel: The windows.
            columns: Whether the activity over time is wanted as well.
        """
        network = self.network
        features = network.columns(log_mel)  # (batch, features, columns)
        pooled = network.embed(features)  # (batch, features)
        embedding = self.embedding_head(pooled)  # (batch, size)
        pooled, features = self._held_back(pooled), self._held_back(features)
        activity = None
        if columns:
            head = network.column_head or network.head
            activity = head(features.transpose(1, 2)).transpose(1, 2)
        teacher_logits = None
        if self.classifier is not None and len(self.logits_scale):
            teacher_logits = self.classifier(embedding) / self.logits_scale
        return Answers(
            network.head(pooled),
            activity,
            embedding / self.embedding_scale if len(self.embedding_scale) else None,
            teacher_logits,
        )

    def _held_back(self, features: Tensor) -> Tensor:
        """The same numbers, through which less of the gradient flows."""
        if self.label_gradient == 1:
            return features
        return features.detach().lerp(features, self.label_gradient)


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
