"""How a student begins: its input statistics, its first weights, its batches."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from monitor.model.frontend import LogMel
from monitor.model.networks.build import Network
from training.config import TrainingSettings
from training.distill import initialisation as transplant
from training.distill.head import fit_head, start_heads
from training.distill.target_cache import Bank, BankSource
from training.distill.teacher import Teacher, classes_of
from training.losses import Student
from training.mixtures.dataset import BatchSource, stack, to_log_mel
from training.mixtures.mixtures import MixtureMaker

_STATISTICS_BATCHES = 16
_START_WINDOWS = 96


@dataclass(frozen=True, slots=True)
class Lesson:
    """A teacher, and the bank of what it has said."""

    bank: Bank
    teacher: Teacher
    labels: tuple[str, ...]

    @property
    def notice(self) -> str:
        """What a model file must say of the teacher."""
        weights = transplant.read_weights(self.teacher.path)
        if transplant.is_known(weights):
            return transplant.NOTICE
        return f"Distilled from the teacher {self.teacher.path.name}."

    def begin(
        self,
        network: Network,
        maker: MixtureMaker,
        folds_apart: Sequence[int],
        negatives_apart: Sequence[int],
        settings: TrainingSettings,
    ) -> tuple[Student, BankSource]:
        """Prepare a network to learn from the teacher.

        Args:
            network: With fresh weights; gets the teacher's where the two are alike.
            maker: Of mixtures that may be trained on.
            folds_apart: Folds of clips that must not be heard.
            negatives_apart: The same of the negatives.
            settings: Of the run.
        """
        bank = self.bank
        source = BankSource(
            bank,
            bank.rows(folds_apart, negatives_apart),
            settings.teacher.clean_repeats,
            settings.optimiser.batch_size,
            settings.seed,
            self._classes(settings),
        )
        learn_statistics(network, source)
        weights = transplant.read_weights(self.teacher.path)
        alike = transplant.can_start(network, weights)
        student = Student(
            network,
            _tensor(source.embedding_scale),
            _tensor(source.logits_scale),
            transplant.classifier(weights) if alike else None,
            settings.teacher.label_gradient,
        )
        if alike:
            self._transplant(network, weights, maker, settings)
            for layer in list(network.blocks.children())[
                : settings.teacher.frozen_layers
            ]:
                layer.requires_grad_(False)
            if source.head_start is not None:
                start_heads(network, source.head_start)
        return student, source

    def end(
        self,
        network: Network,
        student: Student,
        source: BankSource,
        settings: TrainingSettings,
    ) -> None:
        """Fit the head to what the teacher gives, where the features are its own."""
        if settings.teacher.fitted_head and student.is_embedding:
            fit_head(network, source, settings.seed)

    def _classes(self, settings: TrainingSettings) -> list[tuple[int, ...]]:
        logits = self.bank.logits
        outputs = 0 if logits is None else logits.shape[1]
        return classes_of(self.labels, outputs, settings.teacher.classes)

    def _transplant(
        self,
        network: Network,
        weights: transplant.Weights,
        maker: MixtureMaker,
        settings: TrainingSettings,
    ) -> None:
        spec = settings.spec
        log_mel = LogMel(spec)
        windows = []
        for number in range(_START_WINDOWS):
            r = np.random.default_rng([settings.seed, 4, number])
            windows.append(maker.make(r, None).full_scale)
        sounds = to_log_mel(log_mel, stack(windows)).mean(axis=1)
        heard = [self.teacher.waveform(window, spec.sample_rate) for window in windows]
        transplant.start_from(network, weights, spec, sounds, np.stack(heard))


def _tensor(values: NDArray[np.float32] | None) -> torch.Tensor | None:
    return None if values is None else torch.from_numpy(values)


def learn_statistics(network: Network, source: BatchSource) -> None:
    """Set the mean and deviation of each band from the first training windows."""
    steps = min(_STATISTICS_BATCHES, source.steps_per_epoch)
    values = np.concatenate(
        [
            batch.log_mel.transpose(2, 0, 1, 3).reshape(batch.log_mel.shape[2], -1)
            for batch in source.batches(0, steps)
        ],
        axis=1,
    )
    mean = torch.from_numpy(values.mean(axis=1, keepdims=True))
    deviation = torch.from_numpy(values.std(axis=1, keepdims=True))
    network.normalise.mean.copy_(mean)
    network.normalise.deviation.copy_(deviation.clamp_min(1.0))
