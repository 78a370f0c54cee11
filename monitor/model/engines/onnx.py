"""The light engine: the graph in the model file, run by ONNX Runtime on the CPU.

One window at a time: batching gains nothing, and so the scores of a window do not
depend, not even in their last bit, on the other windows that are due.
"""

import os

import numpy as np
import onnxruntime

from monitor.errors import ModelFileError
from monitor.model.engines import Array, EngineError
from monitor.model.graph_check import graph_fault
from monitor.model.model_file import Model

INPUT, OUTPUTS = "log_mel", ["scores", "activity"]
"""Names in the graph."""


class OnnxEngine:
    """Runs the graphs of a model.

    Raises:
        ModelFileError: The file has no graph, or not one of its card.
    """

    name = "onnx"
    compute_device = "cpu"

    def __init__(self, model: Model, threads: int = 1) -> None:
        if 1 not in model.graphs:
            raise ModelFileError(
                f"{model.origin}: was saved without a graph for ONNX Runtime; add it "
                f"with: sound-monitor model {model.origin} --convert NEW_FILE"
            )
        labels = len(model.card.labels)
        self._shapes = (1, labels), (1, labels, _columns(model))
        self._sessions = {
            channels: _session(model, channels, threads) for channels in model.graphs
        }

    def run(self, windows: Array) -> tuple[Array, Array]:
        """Score the windows one by one."""
        channels = windows.shape[1]
        if channels not in self._sessions:
            # A network that averages the channels has one graph, for their mean.
            windows, channels = windows.mean(axis=1, keepdims=True), 1
        session = self._sessions[channels]
        try:
            parts = [session.run(OUTPUTS, {INPUT: window[None]}) for window in windows]
        # ONNX Runtime's own exceptions have no common base but this.
        except Exception as error:
            raise EngineError(f"cannot be computed ({error!s:.200})") from error
        for scores, activity in parts:
            if (scores.shape, activity.shape) != self._shapes:
                raise EngineError("its graph gives results of other shapes")
            # Also where they are not numbers.
            if not (_are_scores(scores) and _are_scores(activity)):
                raise EngineError("gives scores that are not between 0 and 1")
        scores, activity = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(activity)


def _are_scores(values: Array) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)


def _columns(model: Model) -> int:
    return -(-model.spec.window_frames // model.card.total_stride)


def _session(model: Model, channels: int, threads: int) -> onnxruntime.InferenceSession:
    fault = graph_fault(model.graphs[channels])
    if fault is not None:
        raise ModelFileError(f"{model.origin}: its graph {fault}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A thread that spins keeps a core from the captures.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A graph may name other files for its weights: none is read.
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", os.devnull
    )
    options.enable_cpu_mem_arena = False
    options.log_severity_level = 4  # errors are raised
    try:
        session = onnxruntime.InferenceSession(
            model.graphs[channels], options, providers=["CPUExecutionProvider"]
        )
    # ONNX Runtime's own exceptions have no common base but this.
    except Exception as error:
        raise ModelFileError(
            f"{model.origin}: its graph cannot be used ({error!s:.200})"
        ) from error
    fault = _misfit(session, model, channels)
    if fault:
        raise ModelFileError(f"{model.origin}: its graph {fault}")
    return session


def _misfit(
    session: onnxruntime.InferenceSession, model: Model, channels: int
) -> str | None:
    """Describe how the graph differs from one of its card; None: it does not."""
    spec = model.spec
    expected = {INPUT: [1, channels, spec.n_mels, spec.window_frames]}
    found = {each.name: each.shape for each in session.get_inputs()}
    if found != expected:
        return f"takes {found}, not {expected}"[:300]
    outputs = {each.name: each.shape for each in session.get_outputs()}
    labels = len(model.card.labels)
    shapes = [1, labels], [1, labels, _columns(model)]
    expected = dict(zip(OUTPUTS, shapes, strict=True))
    return None if outputs == expected else f"gives {outputs}, not {expected}"[:300]
