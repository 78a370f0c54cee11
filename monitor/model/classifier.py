"""The classifier: scores of log-mel windows, and the times that they come from."""

import importlib.util
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitor.errors import UsageError
from monitor.extras import missing_extra, require_extra
from monitor.model.engines import (
    MISSING,
    Array,
    Classification,
    Engine,
    EngineError,
    WindowPlace,
)
from monitor.model.golden import golden_vector
from monitor.model.model_file import Model, check_golden

_logger = logging.getLogger(__name__)

Activity = NDArray[np.float32]
"""Shape (batch, labels, columns), scores in [0, 1]."""

ACTIVE_SHARE = 0.5
"""A column is active if it reaches this share of the label's highest column."""

BRIDGED_COLUMNS = 2
"""Inactive columns that do not end a run (0.37 s at 16 frames each)."""


class Classifier:
    """A model on a compute device.  Used by one thread at a time.

    The CPU runs ONNX Runtime, or torch where it is asked for; a GPU runs torch.  When a
    GPU fails, the CPU takes over for good; this is logged once.

    Args:
        model: The content of a model file.
        compute_device: `auto` takes a GPU where there is one.
        threads: Processor threads of the network.
        engine: `onnx` or `torch`, on the CPU.
        cpu_fallback: Start on the CPU if a GPU that was asked for does not work.

    Raises:
        UsageError: The compute device is missing or does not work.
        ModelFileError: The file has no graph for ONNX Runtime, or the engine computes
            other numbers than where it was saved.
    """

    def __init__(
        self,
        model: Model,
        compute_device: str = "auto",
        threads: int = 1,
        *,
        engine: str = "onnx",
        cpu_fallback: bool = False,
    ) -> None:
        self.spec = model.spec
        self.labels = model.card.labels
        self.name = model.card.name
        self.total_stride = model.card.total_stride
        self.hop_frames_step = model.card.hop_frames_step
        self.thresholds = model.card.thresholds
        self.presets = model.card.presets
        self.golden = model.golden
        self.network_digest = model.network_digest
        self.failed_compute_device: str | None = None
        """The GPU that failed, if the CPU has taken over."""

        self._threads = threads
        self._cpu_engine = engine
        self._engine = self._start(
            model, compute_device, cpu_fallback or compute_device == "auto"
        )
        # For the CPU, if a GPU fails; the CPU's engine has what it needs.
        self._model = None if self.compute_device == "cpu" else model

    @property
    def compute_device(self) -> str:
        """The device in use: `cpu`, `cuda` or `mps`."""
        return self._engine.compute_device

    @property
    def engine(self) -> str:
        """The engine in use: `onnx` or `torch`."""
        return self._engine.name

    def classify(
        self, windows: Array, places: Sequence[WindowPlace] = ()
    ) -> Classification:
        """Score a batch of windows.

        Args:
            windows: float32, shape (batch, channels, n_mels, window_frames), dB.  One
                channel counts as two equal ones; a model of one channel takes no
                second.
            places: See `Engine.run`.
        """
        try:
            return self._engine.run(windows, places)
        except EngineError as error:
            self._replace(error)
        return self._engine.run(windows, places)

    def views(
        self, windows: Array, places: Sequence[WindowPlace] = ()
    ) -> tuple[Array, Array]:
        """Compute embedding and recent view of windows, float32, (batch, features).

        For a model with a background; see `Engine.views`.
        """
        try:
            return self._engine.views(windows, places)
        except EngineError as error:
            self._replace(error)
        return self._engine.views(windows, places)

    def count_features(self) -> int:
        """Return the features of an embedding; 0: the graph gives no columns."""
        spec = self.spec
        silence = np.zeros((1, 1, spec.n_mels, spec.window_frames), np.float32)
        columns = self.classify(silence).columns
        return 0 if columns is None else columns.shape[1]

    def _replace(self, error: EngineError) -> None:
        """Let the CPU take over from an engine that failed."""
        if self._model is None:
            raise error
        fault = f"failed ({error})"
        self._engine = self._fall_back(self._model, self.compute_device, fault)
        self._model = None

    def _start(self, model: Model, wanted: str, cpu_fallback: bool) -> Engine:
        compute_device = likely_gpu() if wanted == "auto" else wanted
        if compute_device == "cpu":
            return self._on_cpu(model)
        try:
            engine = _torch_engine(model, compute_device, self._threads)
            # It selects and compiles its kernels now.  Their numbers may be rounder
            # than the golden vector allows.
            golden_vector(engine, self.spec)
        except EngineError as error:
            is_missing = str(error) == MISSING
            if wanted == "auto" and is_missing:
                return self._on_cpu(model)
            fault = MISSING if is_missing else f"does not work ({error})"
            if not cpu_fallback:
                raise UsageError(
                    f"model.compute_device: {compute_device} {fault}; choose auto or "
                    "cpu"
                ) from error
            return self._fall_back(model, compute_device, fault)
        return engine

    def _on_cpu(self, model: Model, *, takes_over: bool = False) -> Engine:
        is_torch = self._cpu_engine == "torch"
        if is_torch or (takes_over and not model.graphs):
            require_extra("train", "torch", "model.engine")
            engine = _torch_engine(model, "cpu", self._threads)
        else:
            from monitor.model.engines.onnx import OnnxEngine

            engine = OnnxEngine(model, self._threads)
        check_golden(model, engine)
        return engine

    def _fall_back(self, model: Model, compute_device: str, fault: str) -> Engine:
        engine = self._on_cpu(model, takes_over=True)
        _logger.error(
            "the compute device %s %s; going on with the cpu", compute_device, fault
        )
        self.failed_compute_device = compute_device
        return engine


def likely_gpu() -> str:
    """Name a GPU that torch may find, without importing torch: that takes seconds."""
    if importlib.util.find_spec("torch") is None:
        return "cpu"
    if sys.platform == "darwin":
        return "mps"
    return "cuda" if Path("/dev/nvidiactl").exists() else "cpu"


def _torch_engine(model: Model, compute_device: str, threads: int) -> Engine:
    if lack := missing_extra("train", "torch"):
        raise EngineError(lack)
    import torch

    from monitor.model.engines.torch import TorchEngine
    from monitor.model.trained import network_of

    torch.set_num_threads(threads)
    return TorchEngine(
        network_of(model), model.temperatures, model.spec, compute_device
    )


def active_spans(activity: Activity) -> NDArray[np.int64]:
    """Find for each label the active columns around its highest one.

    They are the run of active columns that holds the highest, with short pauses
    bridged.  The run is never empty.

    Returns:
        Shape (batch, labels, 2): first and past-last column.
    """
    *shape, columns = activity.shape
    peaks = activity.max(axis=-1, keepdims=True)
    inactive = (activity < ACTIVE_SHARE * peaks).tobytes()
    # Inactive columns on both sides of the window, so that a run ends at its edges.
    pause = (BRIDGED_COLUMNS + 1) * b"\1"
    spans = []
    for number, highest in enumerate(activity.argmax(axis=-1).ravel().tolist()):
        row = pause + inactive[number * columns : (number + 1) * columns] + pause
        # A search in bytes is one call; numpy would need several for each row.
        inside = highest + len(pause)
        start = row.rfind(pause, 0, inside)
        spans.append((start, row.find(pause, inside) - len(pause)))
    return np.array(spans, np.int64).reshape(*shape, 2)


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
