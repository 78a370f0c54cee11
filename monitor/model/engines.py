"""Inference engines: a network on the CPU or on a GPU, with torch."""

import warnings
from copy import deepcopy
from typing import Protocol

import torch
from torch import Tensor

from monitor.model.folding import fold
from monitor.model.model_file import TrainedModel
from monitor.model.networks.base import Network, Output, to_scores

# A GPU selects and compiles kernels for each new shape.
_GPU_BATCHES = (1, 4, 16, 64)


class Engine(Protocol):
    """A model that is ready to compute.  Used by one thread at a time."""

    compute_device: str
    """`cpu`, `cuda` or `mps`."""

    def run(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Compute scores and activity of windows (batch, channels, n_mels, frames).

        All tensors are on the CPU.
        """


class CpuEngine:
    """Computes one window at a time.

    The scores of a window then do not depend, not even in their last bit, on the other
    windows that are due.  Batches would halve the cost of small networks, but live and
    recorded runs would differ.
    """

    compute_device = "cpu"

    def __init__(self, model: TrainedModel) -> None:
        self._temperatures = model.temperatures
        self._folded = {
            channels: fold(model.network, channels)
            for channels in range(1, model.spec.channels + 1)
        }

    @torch.inference_mode()
    def run(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Score the windows one by one."""
        network = self._folded[windows.shape[1]]
        if len(windows) == 1:
            return self._score(network, windows)
        parts = [self._score(network, window) for window in torch.split(windows, 1)]
        scores, activity = zip(*parts, strict=True)
        return torch.cat(scores), torch.cat(activity)

    def _score(self, network: Network, window: Tensor) -> tuple[Tensor, Tensor]:
        return to_scores(network.forward(window), self._temperatures)


class GpuEngine:
    """Computes batches of a few fixed sizes, padded with zeros.

    Raises:
        RuntimeError, AssertionError: The device is missing or does not work.
    """

    def __init__(self, model: TrainedModel, compute_device: str) -> None:
        self.compute_device = compute_device
        self._temperatures = model.temperatures
        self._channels = model.spec.channels
        self._network = deepcopy(model.network).eval().to(compute_device)

    @torch.inference_mode()
    def run(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Score the windows in padded batches."""
        parts = [self._batch(part) for part in torch.split(windows, _GPU_BATCHES[-1])]
        logits, activity = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        if not (logits.isfinite().all() and activity.isfinite().all()):
            # Front end and weights are finite, so the device is at fault.
            raise RuntimeError("gives numbers that are not finite")
        return to_scores(Output(logits, activity), self._temperatures)

    def _batch(self, windows: Tensor) -> Output:
        count = len(windows)
        size = next(size for size in _GPU_BATCHES if size >= count)
        batch = torch.zeros(size, self._channels, *windows.shape[2:])
        batch[:count] = windows  # a single channel fills both
        logits, activity = self._network(batch.to(self.compute_device))
        return Output(logits[:count].cpu(), activity[:count].cpu())


def best_compute_device() -> str:
    """The first of `cuda`, `mps` and `cpu` that is available."""
    return next(name for name in ("cuda", "mps", "cpu") if is_available(name))


def is_available(compute_device: str) -> bool:
    """Ask torch for a compute device, which may still fail when it is used."""
    with warnings.catch_warnings():  # torch warns of a missing driver
        warnings.simplefilter("ignore")
        match compute_device:
            case "cuda":
                return torch.cuda.is_available()
            case "mps":
                return torch.backends.mps.is_available()
    return compute_device == "cpu"
