"""The engine of torch: for GPUs, and for networks in training."""

import warnings
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from monitor.model.engines import MISSING, Array, EngineError, WindowPlace
from monitor.model.networks.base import Network, Output, to_scores

# A GPU selects and compiles kernels for each new shape.
_GPU_BATCHES = (1, 4, 16, 64)


class TorchEngine:
    """Runs a network.

    On the CPU one window at a time, so that its scores do not depend on the other
    windows that are due; on a GPU in batches of a few sizes, padded with zeros.

    Raises:
        EngineError: The device is missing or does not work.
    """

    name = "torch"

    def __init__(
        self,
        network: Network,
        temperatures: Array,
        channels: int,
        compute_device: str = "cpu",
    ) -> None:
        if not is_available(compute_device):
            raise EngineError(MISSING)
        self.compute_device = compute_device
        self._temperatures = torch.from_numpy(temperatures)
        self._channels = channels
        self._batches = (1,) if compute_device == "cpu" else _GPU_BATCHES
        try:
            self._network = deepcopy(network).float().eval().to(compute_device)
        # torch asserts that it was built for the device.
        except (RuntimeError, AssertionError) as error:
            raise EngineError(_reason(error)) from error

    @torch.inference_mode()
    def run(
        self, windows: Array, _places: Sequence[WindowPlace] = (), /
    ) -> tuple[Array, Array]:
        """Score the windows in padded batches, each as a whole."""
        given = torch.from_numpy(np.ascontiguousarray(windows))
        try:
            chunks = torch.split(given, self._batches[-1])
            parts = [self._batch(part) for part in chunks]
        except (RuntimeError, AssertionError) as error:
            raise EngineError(_reason(error)) from error
        output = Output(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
        if not (output.logits.isfinite().all() and output.activity.isfinite().all()):
            # Front end and weights are finite, so the device is at fault.
            raise EngineError("gives numbers that are not finite")
        scores, activity = to_scores(output, self._temperatures)
        return scores.numpy(), activity.numpy()

    def _batch(self, windows: Tensor) -> Output:
        count = len(windows)
        size = next(size for size in self._batches if size >= count)
        batch = torch.zeros(size, self._channels, *windows.shape[2:])
        batch[:count] = windows  # a single channel fills both
        logits, activity = self._network(batch.to(self.compute_device))
        return Output(logits[:count].cpu(), activity[:count].cpu())


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


def _reason(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
