"""From log-mel windows to scores: a model on a compute device.

Where a network computes: on the CPU or on a GPU.

Where in a window its score comes from: the active columns of each label.
"""

import logging
import warnings
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.errors import UsageError
from monitor.model.folding import fold
from monitor.model.model_file import TrainedModel
from monitor.model.networks.base import Network, Output, to_scores

# A GPU chooses and compiles kernels for each shape that it has not met before.
_GPU_BATCHES = (1, 4, 16, 64)


class Engine(Protocol):
    """A model that is ready to compute.  Used by one thread at a time."""

    compute_device: str
    """`cpu`, `cuda` or `mps`."""

    def run(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and activity, on the CPU, of windows (batch, channels, bands, n)."""


class CpuEngine:
    """Computes every window by itself.

    So the scores of a window do not depend, not even in their last bit, on what else
    was due at the same time.  Batches would halve the cost of small networks, and live
    and recorded runs would differ.
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
        """See `Engine`."""
        network = self._folded[windows.shape[1]]
        if len(windows) == 1:
            return self._score(network, windows)
        parts = [self._score(network, window) for window in torch.split(windows, 1)]
        scores, activity = zip(*parts, strict=True)
        return torch.cat(scores), torch.cat(activity)

    def _score(self, network: Network, window: Tensor) -> tuple[Tensor, Tensor]:
        return to_scores(network.forward(window), self._temperatures)


class GpuEngine:
    """Computes batches of a few fixed sizes; what is missing is filled up.

    Raises:
        RuntimeError, AssertionError: The device is not there, or does not work.
    """

    def __init__(self, model: TrainedModel, compute_device: str) -> None:
        self.compute_device = compute_device
        self._temperatures = model.temperatures
        self._channels = model.spec.channels
        self._network = deepcopy(model.network).eval().to(compute_device)

    @torch.inference_mode()
    def run(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """See `Engine`."""
        parts = [self._batch(part) for part in torch.split(windows, _GPU_BATCHES[-1])]
        logits, activity = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        if not (logits.isfinite().all() and activity.isfinite().all()):
            # The front end is finite, and the weights were checked: it is the device.
            raise RuntimeError("gives numbers that are not finite")
        return to_scores(Output(logits, activity), self._temperatures)

    def _batch(self, windows: Tensor) -> Output:
        count = len(windows)
        size = next(size for size in _GPU_BATCHES if size >= count)
        batch = torch.zeros(size, self._channels, *windows.shape[2:])
        batch[:count] = windows  # a single channel fills both
        logits, activity = self._network(batch.to(self.compute_device))
        return Output(logits[:count].cpu(), activity[:count].cpu())


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


Activity = NDArray[np.float32]
"""Shape (batch, labels, columns), scores in [0, 1]."""

ACTIVE_SHARE = 0.5
"""A column is active from this share of the label's highest column upwards."""

BRIDGED_COLUMNS = 2
"""Lulls of up to so many columns do not end a stretch (0.37 s at 16 frames each)."""


def active_spans(activity: Activity) -> NDArray[np.int64]:
    """Find for each label the stretch of columns around its highest one.

    The stretch is the run of active columns that holds the highest, short lulls
    bridged.  It always holds the highest column, so it is never empty.

    Returns:
        Shape (batch, labels, 2): first and past-last column.
    """
    columns, lull = activity.shape[-1], BRIDGED_COLUMNS + 1
    peak = activity.max(axis=-1, keepdims=True)  # (batch, labels, 1)
    # Silence on both sides of the window, so that a run ends where the window ends.
    silent = np.ones((*activity.shape[:-1], columns + 2 * lull), bool)
    np.less(activity, ACTIVE_SHARE * peak, out=silent[..., lull:-lull])
    first = np.arange(-lull, columns + 1)
    ends_run = np.logical_and.reduce(  # where a lull begins that is not bridged
        [silent[..., ahead : ahead + first.size] for ahead in range(lull)]
    )
    highest = activity.argmax(axis=-1)[..., None]
    start = np.where(ends_run & (first < highest), first + lull, 0).max(axis=-1)
    stop = np.where(ends_run & (first > highest), first, columns).min(axis=-1)
    return np.stack([start, stop], axis=-1)


def span_samples(
    spans: NDArray[np.int64], total_stride: int, hop_length: int, n_fft: int
) -> NDArray[np.int64]:
    """Turn columns into samples from the start of the window.

    Column `k` is centred on frame `k * total_stride`, whose samples are centred half a
    frame after its first one; it stands for half a stride to either side.  Without
    that shift events would begin and end 0.08 s late.

    Args:
        spans: Any shape, edges between columns: `k` lies before column `k`.
        total_stride: Frames from one column to the next.
        hop_length: Samples from one frame to the next.
        n_fft: Samples a frame covers.

    Returns:
        The same shape, from 0: the first column would begin before the window.
    """
    shift = (n_fft - total_stride * hop_length) // 2
    return np.maximum(spans * total_stride * hop_length + shift, 0)
