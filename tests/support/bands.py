"""The smallest thing a network can learn: which band of the log-mel is loud."""

from collections.abc import Iterator

import numpy as np
import torch

from monitor.model.networks.build import build_network
from tests.support.recordings import SMALL_SPEC
from training.config import TrainingSettings, training_settings
from training.losses import Student
from training.mixtures.dataset import Batch

LABELS, CELLS = 3, 8


class Bands:
    """Windows in which a label is a band of the log-mel that is loud."""

    steps_per_epoch = 12

    def batches(self, first_step: int, steps: int) -> Iterator[Batch]:
        """Yield the batches of some steps; the same every time."""
        for step in range(first_step, steps):
            r = np.random.default_rng([3, step])
            log_mel = r.normal(-60, 5, (16, 1, 16, 64)).astype(np.float32)
            activity = np.zeros((16, LABELS, CELLS), np.float32)
            for row, label in enumerate(r.integers(0, LABELS, 16)):
                log_mel[row, 0, 5 * label : 5 * label + 4] += 25
                activity[row, label] = 1
            yield Batch(log_mel, activity)


def settings_of(**changes: object) -> TrainingSettings:
    """Settings under which a network learns the bands in a few epochs."""
    return training_settings(
        {
            "spec": SMALL_SPEC.model_dump(),
            "optimiser": {"epochs": 4, "learning_rate": 0.01, "ema_decay": 0.9},
            "features": {"roll": True, "gain_db": 3, "mix_share": 0.2},
        },
        changes,
        origin="test",
    )


def fresh(seed: int = 0) -> Student:
    """A network with the weights of a seed."""
    torch.manual_seed(seed)
    network = build_network("article", SMALL_SPEC, LABELS)
    network.normalise.mean.fill_(-60)
    network.normalise.deviation.fill_(10)
    return Student(network)
