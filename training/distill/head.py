"""The head of a network whose features are a teacher's embedding, fitted at the end.

A regression on embedding and logits of the teacher tells the labels better than one on
the embedding alone, because the logits hold what its hidden layer makes of it.  The
network has no logits of the teacher, but a head with a few hidden units can learn what
that regression says.

What the head has learned itself, in training, confuses more clips and hears better what
lies in other sounds: the teacher was asked about mixtures but never taught on them.  So
the fitted head learns the mean of both.
"""

from copy import deepcopy

import torch
from torch import nn
from torch.nn import functional

from monitor.model.networks.build import Network
from monitor.model.networks.mobile import SkipHead
from training.distill.target_cache import BankSource
from training.distill.teacher import Reading

_STEPS = 1500
_BATCH = 256
_NOISE = 0.3
"""Deviation of the noise added to the embedding, in its own: the network's features
are not quite the teacher's."""
_TRAINED_SHARE = 0.5
"""Share of the head from training in what is learned."""
_PEAK_RATE = 4e-3
_DECAY = 0.01


def fit_head(network: Network, source: BankSource, seed: int) -> None:
    """Fit the head of `network` to itself and to what the regression says of a bank.

    Does nothing for networks with other heads.

    Args:
        network: Its features are the teacher's embedding.
        source: Windows that it may learn from.
        seed: Of the draws.
    """
    head = next((m for m in network.head.modules() if isinstance(m, SkipHead)), None)
    if head is None or source.head_start is None:
        return
    trained = deepcopy(head).eval().requires_grad_(False)
    embedding, read = source.head_lesson()
    mean, deviation = embedding.mean(dim=0), embedding.std(dim=0) + 1e-6
    standard = (embedding - mean) / deviation
    torch.manual_seed(seed)
    fitted = SkipHead(embedding.shape[1], read.shape[1])
    _start(fitted.linear, source.head_start)
    _fold_in(fitted.linear, -mean / deviation, 1 / deviation)  # to standard inputs
    optimiser = torch.optim.AdamW(fitted.parameters(), weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _PEAK_RATE, total_steps=_STEPS
    )
    for _ in range(_STEPS):
        rows = torch.randint(0, len(standard), (_BATCH,))
        given = standard[rows] + _NOISE * torch.randn(_BATCH, standard.shape[1])
        wanted = read[rows].lerp(trained(given * deviation + mean), _TRAINED_SHARE)
        error = functional.mse_loss(fitted(given), wanted)
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    for layer in (fitted.linear, fitted.hidden):
        _fold_in(layer, mean, deviation)
    head.load_state_dict(fitted.state_dict())


def start_heads(network: Network, reading: Reading) -> None:
    """Begin with what the labels are in the teacher's embedding."""
    for head in (network.head, network.column_head):
        for module in head.modules() if head is not None else ():
            if isinstance(module, SkipHead):
                _start(module.linear, reading)
            elif module is head and isinstance(module, nn.Linear):
                _start(module, reading)


def _start(layer: nn.Linear, reading: Reading) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(reading.weight))
        layer.bias.copy_(torch.from_numpy(reading.bias))


def _fold_in(layer: nn.Linear, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Make a layer for (x - mean) / deviation one for x."""
    with torch.no_grad():
        layer.weight.div_(deviation)
        layer.bias.sub_(layer.weight @ mean)
