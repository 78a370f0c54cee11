"""The classifier: scores of log-mel windows, and the times that they come from."""

import logging
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.errors import UsageError
from monitor.model.engines import (
    CpuEngine,
    Engine,
    GpuEngine,
    best_compute_device,
    is_available,
)
from monitor.model.model_file import TrainedModel

_logger = logging.getLogger(__name__)

Activity = NDArray[np.float32]
"""Shape (batch, labels, columns), scores in [0, 1]."""

ACTIVE_SHARE = 0.5
"""A column is active if it reaches this share of the label's highest column."""

BRIDGED_COLUMNS = 2
"""Inactive columns that do not end a run (0.37 s at 16 frames each)."""


@dataclass(frozen=True, slots=True)
class Classification:
    """The scores of a batch of windows, float32 in [0, 1]."""

    scores: NDArray[np.float32]
    """(batch, labels), of whole windows."""

    activity: Activity
    """Scores of single columns; see `active_spans`."""


class Classifier:
    """A model on a compute device.  Used by one thread at a time.

    When a GPU fails, the CPU takes over for good; this is logged once.

    Args:
        model: Not modified.
        compute_device: `auto` takes a GPU where there is one.
        threads: Processor threads of torch, in the whole process.
        cpu_fallback: Start on the CPU if a GPU that was asked for does not work.

    Raises:
        UsageError: The compute device is missing or does not work.
    """

    def __init__(
        self,
        model: TrainedModel,
        compute_device: str = "auto",
        threads: int = 1,
        *,
        cpu_fallback: bool = False,
    ) -> None:
        torch.set_num_threads(threads)
        self.spec = model.spec
        self.labels = model.card.labels
        self.name = model.card.name
        self.total_stride = model.network.total_stride
        self.thresholds = model.card.threshold_pairs
        self.golden = model.golden
        self.failed_compute_device: str | None = None
        """The GPU that failed, if the CPU has taken over."""

        self._model = model
        self._engine = self._start(
            compute_device, cpu_fallback or compute_device == "auto"
        )

    @property
    def compute_device(self) -> str:
        """The device in use: `cpu`, `cuda` or `mps`."""
        return self._engine.compute_device

    def classify(self, windows: Tensor) -> Classification:
        """Score a batch of windows.

        Args:
            windows: float32 on the CPU, shape (batch, channels, n_mels, window_frames),
                dB.  One channel counts as two equal ones; a model of one channel takes
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

    def _start(self, wanted: str, cpu_fallback: bool) -> Engine:
        compute_device = best_compute_device() if wanted == "auto" else wanted
        if compute_device == "cpu":
            return self._warm(CpuEngine(self._model))
        fault = "is not there"
        if is_available(compute_device):
            try:
                return self._warm(GpuEngine(self._model, compute_device))
            # torch asserts that it was built for the device.
            except (RuntimeError, AssertionError) as error:
                fault = f"does not work ({_first_line(error)})"
        if not cpu_fallback:
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
        """Run the engine once: the first time is slow."""
        for channels in range(1, self.spec.channels + 1):
            shape = (1, channels, self.spec.n_mels, self.spec.window_frames)
            engine.run(torch.zeros(shape))
        return engine


def active_spans(activity: Activity) -> NDArray[np.int64]:
    """Find for each label the active columns around its highest one.

    They are the run of active columns that holds the highest, with short pauses
    bridged.  The run is never empty.

    Returns:
        Shape (batch, labels, 2): first and past-last column.
    """
    columns, pause = activity.shape[-1], BRIDGED_COLUMNS + 1
    peak = activity.max(axis=-1, keepdims=True)  # (batch, labels, 1)
    # Inactive columns on both sides of the window, so that a run ends at its edges.
    inactive = np.ones((*activity.shape[:-1], columns + 2 * pause), bool)
    np.less(activity, ACTIVE_SHARE * peak, out=inactive[..., pause:-pause])
    first = np.arange(-pause, columns + 1)
    ends_run = np.logical_and.reduce(  # where a pause begins that is not bridged
        [inactive[..., ahead : ahead + first.size] for ahead in range(pause)]
    )
    highest = activity.argmax(axis=-1)[..., None]
    start = np.where(ends_run & (first < highest), first + pause, 0).max(axis=-1)
    stop = np.where(ends_run & (first > highest), first, columns).min(axis=-1)
    return np.stack([start, stop], axis=-1)


def span_samples(
    spans: NDArray[np.int64], total_stride: int, hop_length: int, n_fft: int
) -> NDArray[np.int64]:
    """Convert columns to samples from the start of the window.

    Column `k` is centred on frame `k * total_stride`, whose samples are centred half a
    frame after its first one; it covers half a stride to either side.  Without that
    shift events would begin and end 0.08 s late.

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


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
