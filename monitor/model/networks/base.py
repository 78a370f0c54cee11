"""The structure that all networks share, and its output."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d


class Normalise(nn.Module):
    """Shift and scale each mel band by a mean and deviation learned in training.

    They are constants: were they taken from the window, a click would change the quiet
    frames around it.
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
    """Logits of a batch of windows."""

    logits: Tensor
    """(batch, labels), of the whole window."""

    activity: Tensor
    """(batch, labels, columns), of single columns: the place of a sound in it."""


class Views(NamedTuple):
    """Two looks at a batch of windows, for a head that compares them."""

    embedding: Tensor
    """(batch, features), of the whole window."""

    recent: Tensor
    """(batch, features), of its end."""


class Network(nn.Module):
    """Convolution blocks, the mean over bands, a pool over time and a linear head.

    The head applied to single columns gives the class activation over time (Zhou et
    al., "Learning Deep Features for Discriminative Localization", 2016).  A network
    with a column head of its own has learned it from sounds of known position.

    Column `k` is centred on frame `k * total_stride`: every strided convolution is
    padded by half of its kernel.

    Args:
        normalise: Applied to the log-mel first.
        blocks: (batch, channels, n_mels, frames) to (batch, features, bands, columns).
        pool: (batch, features, columns) to (batch, features).  The pool of equal
            columns is one of them, so that the head means the same for both.
        head: (..., features) to (..., labels).
        total_stride: Frames from one column to the next.
        hop_stride: Hops are multiples of so many frames; 0: of the total stride.
        column_head: Like `head`, for columns; None takes the head.
        peak_share: Share of the highest column in the logits of the window.  A sound
            that has just begun fills little of a window and hardly moves the mean.
        recent_columns: Columns of the recent view.  Not 0: the head takes embedding,
            recent view and background, (..., 3 * features); see
            `monitor.model.background`.
    """

    def __init__(
        self,
        normalise: Normalise,
        blocks: nn.Module,
        pool: Callable[[Tensor], Tensor],
        head: nn.Module,
        total_stride: int,
        column_head: nn.Module | None = None,
        peak_share: float = 0.0,
        recent_columns: int = 0,
        hop_stride: int = 0,
    ) -> None:
        super().__init__()
        self.normalise = normalise
        self.blocks = blocks
        self.pool = pool
        self.head = head
        self.column_head = column_head
        self.total_stride = total_stride
        self.hop_stride = hop_stride or total_stride
        self.peak_share = peak_share
        self.recent_columns = recent_columns

    def columns(self, log_mel: Tensor) -> Tensor:
        """Features over time, (batch, features, columns), of log-mel windows."""
        return mean_of_bands(self.blocks(self.normalise(log_mel)))

    def embed(self, columns: Tensor) -> Tensor:
        """Pool columns to the embedding (batch, features), the input of the head."""
        return self.pool(columns)

    def views(self, columns: Tensor) -> Views:
        """Views of features over time, (batch, features, columns)."""
        count = columns.shape[2]
        recent = min(self.recent_columns, count)
        # A product with weights: the exported graph has no slices.
        shares = [[0.0]] * (count - recent) + [[1 / recent]] * recent
        weights = torch.tensor(shares, dtype=columns.dtype, device=columns.device)
        return Views(self.embed(columns), (columns @ weights).squeeze(2))

    def compare(self, views: Views, background: Tensor) -> Tensor:
        """Logits (batch, labels) of views against the background (batch, features)."""
        logits: Tensor = self.head(torch.cat([*views, background], dim=1))
        return logits

    def forward(self, log_mel: Tensor) -> Output:
        """Logits and activity of log-mel windows (batch, channels, n_mels, frames).

        A network that takes a background gets the embedding for it: nothing changed.
        """
        return self.score_columns(self.columns(log_mel))

    def score_columns(self, columns: Tensor) -> Output:
        """Logits and activity of features over time, (batch, features, columns)."""
        activity = self.activity(columns)
        if self.recent_columns:
            views = self.views(columns)
            return Output(self.compare(views, views.embedding), activity)
        logits: Tensor = self.head(self.embed(columns))
        if self.peak_share:
            logits = logits.lerp(activity.amax(dim=2), self.peak_share)
        return Output(logits, activity)

    def activity(self, columns: Tensor) -> Tensor:
        """Activity (batch, labels, columns) of features over time."""
        head = self.head if self.column_head is None else self.column_head
        activity: Tensor = head(columns.transpose(1, 2))
        return activity.transpose(1, 2)


def mean_of_bands(maps: Tensor) -> Tensor:
    """Mean of (batch, features, bands, columns): (batch, features, columns)."""
    # ONNX Runtime pools where the maps lie; for a mean it moves them first.
    return avg_pool2d(maps, (maps.shape[2], 1)).squeeze(2)


def average(columns: Tensor) -> Tensor:
    """Mean over time: (batch, features, columns) to (batch, features)."""
    return columns.mean(dim=2)


def to_scores(output: Output, temperatures: Tensor) -> tuple[Tensor, Tensor]:
    """Scores and activity in [0, 1]; `temperatures`, (labels,), divide the logits."""
    scores = torch.sigmoid(output.logits / temperatures)
    activity = torch.sigmoid(output.activity / temperatures[:, None])
    return scores, activity
