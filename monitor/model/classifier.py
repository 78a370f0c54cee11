"""From log-mel windows to scores: a model on a compute device."""

import logging
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.errors import UsageError
from monitor.model.base import Network, Output, to_scores
from monitor.model.folding import fold
from monitor.model.model_file import TrainedModel

_logger = logging.getLogger(__name__)

# A GPU chooses and compiles kernels for each shape that it has not met before.
_GPU_BATCHES = (1, 4, 16, 64)


@dataclass(frozen=True, slots=True)
class Classification:
    """What a model hears in a batch of windows: float32 in [0, 1]."""

    scores: NDArray[np.float32]
    """(batch, labels), of whole windows."""

    activity: NDArray[np.float32]
    """(batch, labels, columns), scores of single columns; see `active_spans`."""


class Classifier:
    """A model made ready to listen.  Used by one thread at a time.

    On the CPU every window is computed by itself, so that its scores do not depend, not
    even in their last bit, on what else was due at the same time.  Batches would
    halve the cost of small networks, and live and recorded runs would differ.

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
        self._temperatures = model.temperatures
        self._folded = {
            channels: fold(model.network, channels)
            for channels in range(1, model.spec.channels + 1)
        }
        self._is_free = compute_device == "auto"
        self._compute_device = torch.device(_choose(compute_device))
        self._networks: Mapping[int, Network] = {}
        self._begin()

    @property
    def compute_device(self) -> str:
        """Where the network runs: `cpu`, `cuda` or `mps`."""
        return self._compute_device.type

    def classify(self, windows: Tensor) -> Classification:
        """Score a batch of windows.

        Args:
            windows: float32 on the CPU, shape (batch, channels, n_mels, window_frames),
                dB.  One channel stands for two equal ones; a model of one channel takes
                no second.
        """
        try:
            return self._run(windows)
        except RuntimeError as error:
            if self.compute_device == "cpu" or not self._is_free:
                raise
            self._fall_back(error)
            return self._run(windows)

    def _begin(self) -> None:
        """Move to the compute device, and let it compute once: the first is slow."""
        shape = (self.spec.n_mels, self.spec.window_frames)
        try:
            self._move()
            for channels in self._networks:
                self._run(torch.zeros(1, channels, *shape))
        # torch asserts that it was built for the device.
        except (RuntimeError, AssertionError) as error:
            if self.compute_device == "cpu":
                raise
            if not self._is_free:
                raise UsageError(
                    f"model.compute_device: {self.compute_device} does not work "
                    f"({_first_line(error)}); choose auto or cpu"
                ) from error
            self._fall_back(error)

    def _move(self) -> None:
        self._networks = {
            # A copy, because nothing can be moved back from a GPU that broke.
            channels: deepcopy(network).to(self._compute_device)
            for channels, network in self._folded.items()
        }

    def _fall_back(self, error: Exception) -> None:
        _logger.warning(
            "the compute device %s failed (%s); going on with the cpu",
            self.compute_device,
            _first_line(error),
        )
        self._compute_device = torch.device("cpu")
        self._move()

    @torch.inference_mode()
    def _run(self, windows: Tensor) -> Classification:
        run = self._run_alone if self.compute_device == "cpu" else self._run_on_gpu
        scores, activity = run(self._networks[windows.shape[1]], windows)
        return Classification(scores.numpy(), activity.numpy())

    def _run_alone(self, network: Network, windows: Tensor) -> tuple[Tensor, Tensor]:
        parts = [
            to_scores(network(window), self._temperatures)
            for window in torch.split(windows, 1)
        ]
        scores, activity = zip(*parts, strict=True)
        return torch.cat(scores), torch.cat(activity)

    def _run_on_gpu(self, network: Network, windows: Tensor) -> tuple[Tensor, Tensor]:
        parts = []
        for part in torch.split(windows, _GPU_BATCHES[-1]):
            count = len(part)
            size = next(size for size in _GPU_BATCHES if size >= count)
            batch = torch.zeros(size, *part.shape[1:])
            batch[:count] = part
            logits, activity = network(batch.to(self._compute_device))
            parts.append(Output(logits[:count].cpu(), activity[:count].cpu()))
        logits, activity = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return to_scores(Output(logits, activity), self._temperatures)


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
