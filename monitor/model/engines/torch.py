"""The engine of torch: for GPUs, and for networks in training."""

import warnings
from collections.abc import Sequence
from copy import deepcopy

import numpy as np
import torch
from torch import Tensor

from monitor.model.engines import (
    MISSING,
    Array,
    Classification,
    EngineError,
    WindowPlace,
)
from monitor.model.networks.base import Network, Output, Views, to_scores
from monitor.spec import ModelSpec

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
        spec: ModelSpec,
        compute_device: str = "cpu",
    ) -> None:
        if not is_available(compute_device):
            raise EngineError(MISSING)
        self.compute_device = compute_device
        self._temperatures = torch.from_numpy(temperatures)
        self._spec = spec
        self._batches = (1,) if compute_device == "cpu" else _GPU_BATCHES
        try:
            self._network = deepcopy(network).float().eval().to(compute_device)
            if network.recent_columns:
                self._network.head.cpu()
        # torch asserts that it was built for the device.
        except (RuntimeError, AssertionError) as error:
            raise EngineError(_reason(error)) from error

    @torch.inference_mode()
    def run(
        self, windows: Array, places: Sequence[WindowPlace] = (), /
    ) -> Classification:
        """Score the windows in padded batches, each as a whole.

        A head that takes a background runs on the CPU, window by window, after all
        batches: where one fails, no background was changed.
        """
        if self._network.recent_columns:
            columns, embedding, recent, activity = self._compute(windows)
            scores, activity = self._compare(embedding, recent, activity, places)
        else:
            columns, *output = self._compute(windows)
            scores, activity = to_scores(Output(*output), self._temperatures)
        return Classification(scores.numpy(), activity.numpy(), columns.numpy())

    @torch.inference_mode()
    def views(
        self, windows: Array, _places: Sequence[WindowPlace] = (), /
    ) -> tuple[Array, Array]:
        """Compute the views of the windows in padded batches, each as a whole."""
        _, embedding, recent, _ = self._compute(windows)
        return embedding.numpy(), recent.numpy()

    def _compare(
        self,
        embeddings: Tensor,
        recent: Tensor,
        activity: Tensor,
        places: Sequence[WindowPlace],
    ) -> tuple[Tensor, Tensor]:
        """Scores and activity of windows in their order, against their backgrounds."""
        parts = []
        for number, place in enumerate(places or [None] * len(embeddings)):
            views = Views(embeddings[number, None], recent[number, None])
            background = None if place is None else place.background(self._spec)
            against = views.embedding
            if place is not None and background is not None:
                before = background.before(place.first_frame)
                if before is not None:
                    against = torch.from_numpy(before[None])
            logits = self._network.compare(views, against)
            output = Output(logits, activity[number, None])
            parts.append(to_scores(output, self._temperatures))
            if place is not None and background is not None:
                embedding, scores = embeddings[number], parts[-1][0][0]
                background.add(place.first_frame, embedding.numpy(), scores.numpy())
        scores, activity = (torch.cat(each) for each in zip(*parts, strict=True))
        return scores, activity

    def _compute(self, windows: Array) -> list[Tensor]:
        """Compute what depends on single windows.

        Columns, logits or views, and activity.
        """
        given = torch.from_numpy(np.ascontiguousarray(windows))
        try:
            chunks = torch.split(given, self._batches[-1])
            parts = [self._batch(part) for part in chunks]
        except (RuntimeError, AssertionError) as error:
            raise EngineError(_reason(error)) from error
        results = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
        if not all(each.isfinite().all() for each in results):
            # Front end and weights are finite, so the device is at fault.
            raise EngineError("gives numbers that are not finite")
        return results

    def _batch(self, windows: Tensor) -> list[Tensor]:
        count = len(windows)
        size = next(size for size in self._batches if size >= count)
        batch = torch.zeros(size, self._spec.channels, *windows.shape[2:])
        batch[:count] = windows  # a single channel fills both
        columns = self._network.columns(batch.to(self.compute_device))
        results: Sequence[Tensor]
        if self._network.recent_columns:
            activity = self._network.activity(columns)
            results = *self._network.views(columns), activity
        else:
            results = self._network.score_columns(columns)
        return [each[:count].cpu() for each in (columns, *results)]


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
