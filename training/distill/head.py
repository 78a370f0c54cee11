"""The head of a network whose features are a teacher's embedding, fitted at the end.

A readout of the teacher's embedding and logits classifies better than one of the
embedding alone, because the logits contain its hidden layer.  The network has no logits
of the teacher, but a head with a few hidden units can learn the output of that readout.

The head from training confuses more clips but detects more in mixtures, since the
teacher was not trained on mixtures.  So the fitted head learns the mean of both.
"""

from copy import deepcopy

import torch
from torch import nn
from torch.nn import functional

from monitor.model.networks.build import Network
from monitor.model.networks.mobile import SkipHead
from training.distill.target_cache import CachedBatches
from training.distill.teacher import LinearReadout

_STEPS = 1500
_BATCH = 256
_NOISE = 0.3
"""Deviation of the noise added to the embedding, in its own deviations: the features
of the network are not quite the teacher's."""
_TRAINED_SHARE = 0.5
"""Share of the head from training in the targets."""
_PEAK_RATE = 4e-3
_DECAY = 0.01


def fit_head(network: Network, source: CachedBatches, seed: int) -> None:
    """Fit the head of `network` to itself and to the readout of the teacher.

    Does nothing for networks with other heads.
    """
    head = next((m for m in network.head.modules() if isinstance(m, SkipHead)), None)
    if head is None or source.head_start is None:
        return
    trained = deepcopy(head).eval().requires_grad_(False)
    embedding, targets = source.head_targets()
    mean, deviation = embedding.mean(dim=0), embedding.std(dim=0) + 1e-6
    standard = (embedding - mean) / deviation
    torch.manual_seed(seed)
    fitted = SkipHead(embedding.shape[1], targets.shape[1])
    _start(fitted.linear, source.head_start)
    _fold_in(fitted.linear, -mean / deviation, 1 / deviation)  # to standard inputs
    optimiser = torch.optim.AdamW(fitted.parameters(), weight_decay=_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _PEAK_RATE, total_steps=_STEPS
    )
    for _ in range(_STEPS):
        rows = torch.randint(0, len(standard), (_BATCH,))
        inputs = standard[rows] + _NOISE * torch.randn(_BATCH, standard.shape[1])
        wanted = targets[rows].lerp(trained(inputs * deviation + mean), _TRAINED_SHARE)
        error = functional.mse_loss(fitted(inputs), wanted)
        optimiser.zero_grad()
        error.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    for layer in (fitted.linear, fitted.hidden):
        _fold_in(layer, mean, deviation)
    head.load_state_dict(fitted.state_dict())


def start_heads(network: Network, readout: LinearReadout) -> None:
    """Initialise the heads with the linear readout of the teacher's embedding."""
    for head in (network.head, network.column_head):
        for module in head.modules() if head is not None else ():
            if isinstance(module, SkipHead):
                _start(module.linear, readout)
            elif module is head and isinstance(module, nn.Linear):
                _start(module, readout)


def _start(layer: nn.Linear, readout: LinearReadout) -> None:
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(readout.weight))
        layer.bias.copy_(torch.from_numpy(readout.bias))


def _fold_in(layer: nn.Linear, mean: torch.Tensor, deviation: torch.Tensor) -> None:
    """Turn a layer of (x - mean) / deviation into one of x."""
    with torch.no_grad():
        layer.weight.div_(deviation)
        layer.bias.sub_(layer.weight @ mean)
