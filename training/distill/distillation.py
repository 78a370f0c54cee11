"""Distillation of one network: its first weights, its batches, its final head.

A readout of the teacher's embedding and logits classifies better than one of the
embedding alone, because the logits contain its hidden layer.  The network has no logits
of the teacher, but a head with a few hidden units can learn the output of that readout.

The head from training confuses more clips but detects more in mixtures, since the
teacher was not trained on mixtures.  So the fitted head learns the mean of both.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from monitor.model.networks import Network
from monitor.model.networks.mobile import SkipHead
from training.config import TrainingSettings
from training.distill import initialisation
from training.distill.target_cache import CachedBatches, TargetCache
from training.distill.teacher import LinearReadout, Teacher, classes_of
from training.losses import Student
from training.mixtures.dataset import (
    BatchLogMel,
    first_log_mels,
    learn_statistics,
    stack,
)
from training.mixtures.mixtures import MixtureMaker

_START_WINDOWS = 96
_HEAD_STEPS = 1500
_HEAD_BATCH = 256
_NOISE = 0.3
"""Deviation of the noise added to the embedding, in its own deviations: the features
of the network are not quite the teacher's."""
_TRAINED_SHARE = 0.5
"""Share of the head from training in the targets."""
_HEAD_PEAK_RATE = 4e-3
_HEAD_DECAY = 0.01


@dataclass(frozen=True, slots=True)
class Distillation:
    """A teacher, and the cache of its outputs."""

    cache: TargetCache
    teacher: Teacher
    labels: tuple[str, ...]

    @property
    def notice(self) -> str:
        """Licence notice of the teacher, for the model file."""
        weights = initialisation.read_weights(self.teacher.path)
        if initialisation.is_known(weights):
            return initialisation.NOTICE
        return f"Distilled from the teacher {self.teacher.path.name}."

    def begin(
        self,
        network: Network,
        maker: MixtureMaker,
        folds_apart: Sequence[int],
        negatives_apart: Sequence[int],
        settings: TrainingSettings,
    ) -> tuple[Student, CachedBatches]:
        """Prepare a network to learn from the teacher."""
        cache, chosen = self.cache, settings.teacher
        outputs = 0 if cache.logits is None else cache.logits.shape[1]
        source = CachedBatches(
            cache,
            cache.rows(folds_apart, negatives_apart),
            chosen.clean_repeats,
            settings.optimiser.batch_size,
            settings.seed,
            classes_of(self.labels, outputs, chosen.classes),
        )
        learn_statistics(network, first_log_mels(source))
        weights = initialisation.read_weights(self.teacher.path)
        alike = initialisation.can_start(network, weights)
        student = Student(
            network,
            _tensor(source.embedding_scale),
            _tensor(source.logits_scale),
            initialisation.classifier(weights) if alike else None,
            chosen.label_gradient,
        )
        if alike:
            self._initialise(network, weights, maker, settings)
            for layer in list(network.blocks.children())[: chosen.frozen_layers]:
                layer.requires_grad_(False)
            if source.head_start is not None:
                start_heads(network, source.head_start)
        return student, source

    def end(
        self,
        network: Network,
        student: Student,
        source: CachedBatches,
        settings: TrainingSettings,
    ) -> None:
        """Fit the head to the teacher's outputs, where the features are its own."""
        if settings.teacher.fitted_head and student.is_embedding:
            fit_head(network, source, settings.seed)

    def _initialise(
        self,
        network: Network,
        weights: initialisation.Weights,
        maker: MixtureMaker,
        settings: TrainingSettings,
    ) -> None:
        spec = settings.spec
        windows = []
        for number in range(_START_WINDOWS):
            r = np.random.default_rng([settings.seed, 4, number])
            windows.append(maker.make(r, None).full_scale)
        log_mels = BatchLogMel(spec)(stack(windows)).mean(axis=1)
        inputs = [self.teacher.waveform(each, spec.sample_rate) for each in windows]
        initialisation.start_from(network, weights, spec, log_mels, np.stack(inputs))


def _tensor(values: NDArray[np.float32] | None) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values)


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
    optimiser = torch.optim.AdamW(fitted.parameters(), weight_decay=_HEAD_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, _HEAD_PEAK_RATE, total_steps=_HEAD_STEPS
    )
    for _ in range(_HEAD_STEPS):
        rows = torch.randint(0, len(standard), (_HEAD_BATCH,))
        inputs = standard[rows] + _NOISE * torch.randn(_HEAD_BATCH, standard.shape[1])
        wanted = targets[rows].lerp(trained(inputs * deviation + mean), _TRAINED_SHARE)
        error = functional.mse_loss(fitted(inputs), wanted)
        optimiser.zero_grad()
        error.backward()
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
