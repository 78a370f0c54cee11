"""From log-mel windows to scores: a model on a compute device."""

import logging
import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.errors import UsageError
from monitor.model.engines import CpuEngine, Engine, GpuEngine
from monitor.model.model_file import TrainedModel

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Classification:
    """What a model hears in a batch of windows: float32 in [0, 1]."""

    scores: NDArray[np.float32]
    """(batch, labels), of whole windows."""

    activity: NDArray[np.float32]
    """(batch, labels, columns), scores of single columns; see `active_spans`."""


class Classifier:
    """A model made ready to listen.  Used by one thread at a time.

    Args:
        model: Stays as it is.
        compute_device: `auto` takes a GPU where there is one; if it fails, the CPU.
        threads: Processor threads of torch, in this whole process.

    Raises:
        UsageError: The compute device is not there, or does not work.
    """

    def __init__(
        self, model: TrainedModel, compute_device: str = "auto", threads: int = 1
    ) -> None:
        torch.set_num_threads(threads)
        self.spec = model.spec
        self.labels = model.card.labels
        self.name = model.card.name
        self.total_stride = model.network.total_stride
        self.thresholds = _pairs(model)
        self.failed_compute_device: str | None = None
        """The one that failed and was given up for the CPU."""

        self.golden = model.golden
        self._model = model
        self._is_free = compute_device == "auto"
        self._engine = self._start(_choose(compute_device))

    @property
    def compute_device(self) -> str:
        """Where the network runs: `cpu`, `cuda` or `mps`."""
        return self._engine.compute_device

    def classify(self, windows: Tensor) -> Classification:
        """Score a batch of windows.

        Args:
            windows: float32 on the CPU, shape (batch, channels, n_mels, window_frames),
                dB.  One channel stands for two equal ones; a model of one channel takes
                no second.
        """
        try:
            scores, activity = self._engine.run(windows)
        except RuntimeError as error:
            if self.compute_device == "cpu" or not self._is_free:
                raise
            self._engine = self._fall_back(self.compute_device, error)
            scores, activity = self._engine.run(windows)
        return Classification(scores.numpy(), activity.numpy())

    def _start(self, compute_device: str) -> Engine:
        """Build the engine, and let it compute once: the first time is slow."""
        if compute_device == "cpu":
            return self._warm(CpuEngine(self._model))
        try:
            return self._warm(GpuEngine(self._model, compute_device))
        # torch asserts that it was built for the device.
        except (RuntimeError, AssertionError) as error:
            if not self._is_free:
                raise UsageError(
                    f"model.compute_device: {compute_device} does not work "
                    f"({_first_line(error)}); choose auto or cpu"
                ) from error
            return self._fall_back(compute_device, error)

    def _fall_back(self, compute_device: str, error: Exception) -> Engine:
        _logger.warning(
            "the compute device %s failed (%s); going on with the cpu",
            compute_device,
            _first_line(error),
        )
        self.failed_compute_device = compute_device
        return self._start("cpu")

    def _warm(self, engine: Engine) -> Engine:
        for channels in range(1, self.spec.channels + 1):
            shape = (1, channels, self.spec.n_mels, self.spec.window_frames)
            engine.run(torch.zeros(shape))
        return engine


def _choose(compute_device: str) -> str:
    with warnings.catch_warnings():  # a missing driver is no news
        warnings.simplefilter("ignore")
        present = {
            "cuda": torch.cuda.is_available(),
            "mps": torch.backends.mps.is_available(),
            "cpu": True,
        }
    if compute_device == "auto":
        return next(name for name, is_there in present.items() if is_there)
    if not present.get(compute_device, False):
        there = [name for name, is_there in present.items() if is_there]
        raise UsageError(
            f"model.compute_device: {compute_device} is not there; torch finds "
            f"{', '.join(there)}"
        )
    return compute_device


def _pairs(model: TrainedModel) -> Mapping[str, tuple[float, float]]:
    thresholds = model.card.thresholds
    return {label: (pair.onset, pair.offset) for label, pair in thresholds.items()}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
