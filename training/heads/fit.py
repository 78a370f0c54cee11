"""The fit of a head to the views of streams; the network before it stays as it is.

What a few recordings of a label teach in places is mixed with what the head of the
trunk knows from all mixtures: a mean of both detects as much, confuses fewer clips and
raises fewer alarms in odd places.
"""

import threading
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from monitor.model.networks import Network
from monitor.model.networks.mobile import HIDDEN, SkipHead
from monitor.spec import ModelSpec
from training.checkpoint import InterruptedTrainingError
from training.config import HeadSettings
from training.data.decoded import Advance
from training.heads.backgrounds import backgrounds
from training.heads.views import Views, hop_frames

_VIEWS = 3
"""Embedding, recent view and background."""
_LEAST_DEVIATION = 0.01
"""Of a feature, as a share of the mean over all."""
TRUNK_SHARE = 0.5
"""Share of the trunk's own head in the logits."""
FITS = 2
"""Fits with different draws, whose mean is the rest."""


def fit_head(
    network: Network,
    views: Views,
    spec: ModelSpec,
    settings: HeadSettings,
    seed: int,
    stop: threading.Event,
    advance: Advance,
) -> Network:
    """Return `network` with a head fitted to `views`.

    Args:
        network: Takes a background; its head is that of its trunk, see
            `with_background`.
        views: Of streams.
        spec: Has a background.
        settings: Of the fit.
        seed: Of all draws.
        stop: Ends the fit.
        advance: Called after every step.

    Raises:
        InterruptedTrainingError: `stop` was set.
    """
    windows = _Windows(views, spec, network.total_stride)
    fitted = deepcopy(network).eval()
    head = next(each for each in fitted.head.modules() if isinstance(each, SkipHead))
    own = _first_of(head)
    heads, shares = [own], [TRUNK_SHARE]
    for number in range(FITS):

        def progress(what: str, done: int, total: int, before: int = number) -> None:
            advance(what, before * total + done, FITS * total)
            if stop.is_set():
                raise InterruptedTrainingError(
                    "stopped while a head was fitted; --resume continues"
                )

        heads.append(_fit(own, windows, settings, (seed, number), progress))
        shares.append((1 - TRUNK_SHARE) / FITS)
    _set_to_mean(head, heads, shares)
    return fitted


def _first_of(head: SkipHead) -> SkipHead:
    """The head of the trunk: the hidden units of the others have no effect yet."""
    own = SkipHead(head.linear.in_features, head.linear.out_features)
    own.linear.load_state_dict(head.linear.state_dict())
    with torch.no_grad():
        own.hidden.weight.copy_(head.hidden.weight[:HIDDEN])
        own.hidden.bias.copy_(head.hidden.bias[:HIDDEN])
        own.output.weight.copy_(head.output.weight[:, :HIDDEN])
        own.output.bias.copy_(head.output.bias)
    return own


def _fit(
    own: SkipHead,
    windows: "_Windows",
    settings: HeadSettings,
    seed: tuple[int, int],
    advance: Advance,
) -> SkipHead:
    """Fit a head that begins as `own`, on inputs of zero mean and unit deviation."""
    mean, deviation = (each.repeat(_VIEWS) for each in windows.statistics())
    head = deepcopy(own).train()
    _fold_in(head, -mean / deviation, 1 / deviation)
    optimiser = torch.optim.AdamW(head.parameters(), weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=settings.steps
    )
    r = np.random.default_rng([*seed, 8])
    random = torch.Generator().manual_seed(int(r.integers(2**31)))
    for step in range(settings.steps):
        rows = r.integers(len(windows.present), size=settings.batch_streams)
        inputs = (windows.inputs(rows) - mean) / deviation
        inputs += settings.noise * torch.randn(inputs.shape, generator=random)
        kept = torch.rand(inputs.shape, generator=random) >= settings.dropout
        inputs = inputs * kept / (1 - settings.dropout)
        present, weights = windows.present[rows].float(), windows.weights[rows].float()
        error = functional.binary_cross_entropy_with_logits(
            head(inputs), present, reduction="none"
        )
        loss = (error * weights).sum() / weights.sum() * present.shape[2]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        advance("fitting a head", step + 1, settings.steps)
    _fold_in(head, mean, deviation)
    return head


class _Windows:
    """Views as tensors, with the backgrounds of their windows."""

    def __init__(self, views: Views, spec: ModelSpec, total_stride: int) -> None:
        self.present = torch.from_numpy(views.present)
        self.weights = torch.from_numpy(views.weights)
        self._embedding = torch.from_numpy(views.embedding)
        self._recent = torch.from_numpy(views.recent)
        hop = hop_frames(total_stride)
        found = [
            backgrounds(own.astype(np.float32), present, spec, hop).astype(np.float16)
            for own, present in zip(views.embedding, views.present, strict=True)
        ]
        self._backgrounds = torch.from_numpy(np.stack(found))

    def statistics(self) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the embeddings, both (features,)."""
        flat = self._embedding.flatten(0, 1).float()
        deviation = flat.std(dim=0)
        # Weights for features that hardly vary would be too large for 16 bits.
        least = _LEAST_DEVIATION * deviation.mean()
        return flat.mean(dim=0), deviation.maximum(least) + 1e-6

    def inputs(self, rows: NDArray[np.intp]) -> Tensor:
        """Embedding, recent view and background: (rows, windows, 3 * features)."""
        views = (self._embedding, self._recent, self._backgrounds)
        return torch.cat([view[rows].float() for view in views], dim=2)


def _fold_in(head: SkipHead, mean: Tensor, deviation: Tensor) -> None:
    """Turn a head of (x - mean) / deviation into one of x."""
    with torch.no_grad():
        for layer in (head.linear, head.hidden):
            layer.weight.div_(deviation)
            layer.bias.sub_(layer.weight @ mean)


def _set_to_mean(
    head: SkipHead, heads: Sequence[SkipHead], shares: Sequence[float]
) -> None:
    """Set a head to the weighted mean of others, with the hidden units of all."""

    def mean(weights: Sequence[Tensor]) -> Tensor:
        pairs = zip(shares, weights, strict=True)
        return torch.stack([share * weight for share, weight in pairs]).sum(dim=0)

    with torch.no_grad():
        head.linear.weight.copy_(mean([each.linear.weight for each in heads]))
        head.linear.bias.copy_(mean([each.linear.bias for each in heads]))
        head.hidden.weight.copy_(torch.cat([each.hidden.weight for each in heads]))
        head.hidden.bias.copy_(torch.cat([each.hidden.bias for each in heads]))
        outputs = [
            share * each.output.weight
            for share, each in zip(shares, heads, strict=True)
        ]
        head.output.weight.copy_(torch.cat(outputs, dim=1))
        head.output.bias.copy_(mean([each.output.bias for each in heads]))
