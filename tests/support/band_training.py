"""A minimal task for a network: to detect which band of the log-mel is loud."""

import threading
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from monitor.model.networks import Network, build_network
from tests.support.recordings import SMALL_SPEC
from training.checkpoint import RunFolder
from training.config import TrainingSettings
from training.distributed import SINGLE_PROCESS, Distributed
from training.losses import Student
from training.mixtures.dataset import Batch, Batches, BatchSource
from training.progress import Display, Validate
from training.recipes import training_settings
from training.train import train

LABELS, CELLS = ("low", "middle", "high"), 8


class BandBatches:
    """Batches of windows in which each label is a loud band of the log-mel.

    Args:
        stop: Set with the batch of the step `after`, so that training stops after it.
        after: A step, from 1.
    """

    steps_per_epoch = 12

    def __init__(self, stop: threading.Event | None = None, after: int = -1) -> None:
        self._stop = stop
        self._after = after

    def batches(self, first_step: int, steps: int) -> Batches:
        """Yield the batches of some steps; the same every time."""
        for step in range(first_step, steps):
            r = np.random.default_rng([3, step])
            log_mel = r.normal(-60, 5, (16, 1, 16, 64)).astype(np.float32)
            activity = np.zeros((16, len(LABELS), CELLS), np.float32)
            for row, label in enumerate(r.integers(0, len(LABELS), 16)):
                log_mel[row, 0, 5 * label : 5 * label + 4] += 25
                activity[row, label] = 1
            if self._stop is not None and step + 1 == self._after:
                self._stop.set()
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
    network = build_network("article", SMALL_SPEC, len(LABELS))
    network.normalise.mean.fill_(-60)
    network.normalise.deviation.fill_(10)
    return Student(network)


def train_bands(
    folder: RunFolder | Path,
    settings: TrainingSettings,
    source: BatchSource | None = None,
    *,
    after: int = -1,
    validate: Validate | None = None,
    device: str = "cpu",
    distributed: Distributed = SINGLE_PROCESS,
    stop: threading.Event | None = None,
    tensorboard: bool = False,
) -> Network:
    """Train on bands, or continue; stop after the step `after`.

    Another process begins with other weights: those of the main process must count.
    """
    stop = stop or threading.Event()
    return train(
        fresh(seed=distributed.rank),
        source or BandBatches(stop, after),
        LABELS,
        settings,
        RunFolder(folder) if isinstance(folder, Path) else folder,
        Display(Console(quiet=True)),
        stop,
        validate,
        device,
        distributed,
        tensorboard,
    )
