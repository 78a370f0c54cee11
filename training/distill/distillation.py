"""Distillation of one network: its first weights, its batches, its final head."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.model.frontend import LogMel
from monitor.model.networks.build import Network
from training.config import TrainingSettings
from training.distill import initialisation
from training.distill.head import fit_head, start_heads
from training.distill.target_cache import CachedBatches, TargetCache
from training.distill.teacher import Teacher, classes_of
from training.losses import Student
from training.mixtures.dataset import first_log_mels, stack, to_log_mel
from training.mixtures.mixtures import MixtureMaker

_STATISTICS_BATCHES = 16
_START_WINDOWS = 96


@dataclass(frozen=True, slots=True)
class Distillation:
    """A teacher, and the cache of its outputs."""

    cache: TargetCache
    teacher: Teacher
    labels: tuple[str, ...]

    @property
    def notice(self) -> str:
        """Notice about the teacher for the model file."""
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
        log_mels = to_log_mel(LogMel(spec), stack(windows)).mean(axis=1)
        inputs = [self.teacher.waveform(each, spec.sample_rate) for each in windows]
        initialisation.start_from(network, weights, spec, log_mels, np.stack(inputs))


def _tensor(values: NDArray[np.float32] | None) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values)


def learn_statistics(network: Network, log_mels: Iterable[NDArray[np.float32]]) -> None:
    """Set the mean and deviation of each band from the first batches of training."""
    values = np.concatenate(
        [
            log_mel.transpose(2, 0, 1, 3).reshape(log_mel.shape[2], -1)
            for log_mel in islice(log_mels, _STATISTICS_BATCHES)
        ],
        axis=1,
    )
    mean = torch.from_numpy(values.mean(axis=1, keepdims=True))
    deviation = torch.from_numpy(values.std(axis=1, keepdims=True))
    network.normalise.mean.copy_(mean)
    network.normalise.deviation.copy_(deviation.clamp_min(1.0))
