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

    A GPU that fails is given up for the CPU: once, and it is said.

    Args:
        model: Stays as it is.
        compute_device: `auto` takes a GPU where there is one.
        threads: Processor threads of torch, in this whole process.
        spares_gpu: Whether the CPU will do, too, if a GPU that is asked for by its name
            does not work at the start.

    Raises:
        UsageError: The compute device is not there, or does not work.
    """

    def __init__(
        self,
        model: TrainedModel,
        compute_device: str = "auto",
        threads: int = 1,
        *,
        spares_gpu: bool = False,
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
        self._engine = self._start(
            compute_device, spares_gpu or compute_device == "auto"
        )

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
            if self.compute_device == "cpu":
                raise
            self._engine = self._fall_back(
                self.compute_device, f"failed ({_first_line(error)})"
            )
            scores, activity = self._engine.run(windows)
        return Classification(scores.numpy(), activity.numpy())

    def _start(self, wanted: str, spares_gpu: bool) -> Engine:
        compute_device = _best() if wanted == "auto" else wanted
        if compute_device == "cpu":
            return self._warm(CpuEngine(self._model))
        if not _is_there(compute_device):
            fault = "is not there"
        else:
            try:
                return self._warm(GpuEngine(self._model, compute_device))
            # torch asserts that it was built for the device.
            except (RuntimeError, AssertionError) as error:
                fault = f"does not work ({_first_line(error)})"
        if not spares_gpu:
            raise UsageError(
                f"model.compute_device: {compute_device} {fault}; choose auto or cpu"
            )
        return self._fall_back(compute_device, fault)

    def _fall_back(self, compute_device: str, fault: str) -> Engine:
        engine = self._warm(CpuEngine(self._model))
        _logger.error(
            "the compute device %s %s; going on with the cpu", compute_device, fault
        )
        self.failed_compute_device = compute_device
        return engine

    def _warm(self, engine: Engine) -> Engine:
        """Let the engine compute once: the first time is slow."""
        for channels in range(1, self.spec.channels + 1):
            shape = (1, channels, self.spec.n_mels, self.spec.window_frames)
            engine.run(torch.zeros(shape))
        return engine


def _best() -> str:
    """The first compute device that torch finds; all machines have the last."""
    return next(name for name in ("cuda", "mps", "cpu") if _is_there(name))


def _is_there(compute_device: str) -> bool:
    with warnings.catch_warnings():  # a missing driver is no news
        warnings.simplefilter("ignore")
        match compute_device:
            case "cuda":
                return torch.cuda.is_available()
            case "mps":
                return torch.backends.mps.is_available()
    return compute_device == "cpu"


def _pairs(model: TrainedModel) -> Mapping[str, tuple[float, float]]:
    thresholds = model.card.thresholds
    return {label: (pair.onset, pair.offset) for label, pair in thresholds.items()}


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
