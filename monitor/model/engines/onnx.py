"""The light engine: the graphs in the model file, run by ONNX Runtime on the CPU.

One window at a time: batching gains nothing, and so the scores of a window do not
depend, not even in their last bit, on the other windows that are due.  The layers
before the first one that depends on the whole window run for its new frames alone.
"""

import os
from collections.abc import Sequence

import numpy as np
import onnxruntime

from monitor.errors import ModelFileError
from monitor.model.engines import Array, EngineError, WindowPlace
from monitor.model.graph_layout import Layout, layout_of
from monitor.model.model_file import Model

INPUT, MAPS, OUTPUTS = "log_mel", "maps", ["scores", "activity"]
"""Names in the graphs."""


Shape = list[int | str]


class OnnxEngine:
    """Runs the graphs of a model.

    Raises:
        ModelFileError: The file has no graph, or not one of its card.
    """

    name = "onnx"
    compute_device = "cpu"

    def __init__(self, model: Model, threads: int = 1) -> None:
        if 1 not in model.graphs or not model.score_graph:
            raise ModelFileError(
                f"{model.origin}: was saved without a graph for ONNX Runtime; add it "
                f"with: sound-monitor model {model.origin} --convert NEW_FILE"
            )
        spec, card = model.spec, model.card
        labels, columns = len(card.labels), -(-spec.window_frames // card.total_stride)
        self._shapes: tuple[Shape, ...] = [1, labels], [1, labels, columns]
        self._maps = {
            channels: _WindowMaps(model, channels, threads) for channels in model.graphs
        }
        _laid_out(model, model.score_graph, MAPS, self._maps[1].shape, OUTPUTS[0])
        self._scores = _session(model, model.score_graph, threads)
        _check(
            model,
            self._scores.get_outputs(),
            dict(zip(OUTPUTS, self._shapes, strict=True)),
        )

    def run(
        self, windows: Array, places: Sequence[WindowPlace] = (), /
    ) -> tuple[Array, Array]:
        """Score the windows one by one."""
        channels = windows.shape[1]
        if channels not in self._maps:
            # A network that averages the channels has one graph, for their mean.
            windows, channels = windows.mean(axis=1, keepdims=True), 1
        maps = self._maps[channels]
        places_of: Sequence[WindowPlace | None] = places or [None] * len(windows)
        try:
            parts = [
                self._scores.run(OUTPUTS, {MAPS: maps.of(window[None], place)})
                for window, place in zip(windows, places_of, strict=True)
            ]
        # ONNX Runtime's own exceptions have no common base but this.
        except Exception as error:
            raise EngineError(f"cannot be computed ({error!s:.200})") from error
        for part in parts:
            if tuple(list(each.shape) for each in part) != self._shapes:
                raise EngineError("its graph gives results of other shapes")
            # Also where they are not numbers.
            if not all(map(_are_scores, part)):
                raise EngineError("gives scores that are not between 0 and 1")
        scores, activity = zip(*parts, strict=True)
        return np.concatenate(scores), np.concatenate(activity)


class _WindowMaps:
    """Runs the layers whose maps depend on the frames nearby alone.

    Column `k` depends on the frames from `k * stride - reach` to `k * stride + reach`.
    A window has the columns of the one before, but for those at its edges, which its
    padding reaches.

    Raises:
        ModelFileError: The graph cannot be used, or is not one of the card.
    """

    def __init__(self, model: Model, channels: int, threads: int) -> None:
        spec = model.spec
        graph, window = model.graphs[channels], (spec.n_mels, spec.window_frames)
        layout = _laid_out(model, graph, INPUT, (1, channels, *window), MAPS)
        self._session = _session(model, graph, threads)
        shape: Shape = [1, channels, spec.n_mels, "frames"]
        _check(model, self._session.get_inputs(), {INPUT: shape})
        span = layout.span
        if span is None or max(span.stride, span.reach) > spec.window_frames:
            raise ModelFileError(
                f"{model.origin}: its graph gives maps that do not depend on the "
                "frames nearby alone"
            )
        stride, reach = span.stride, int(span.reach)
        self.shape = layout.shape
        """That of the maps of a window."""

        self._stride = stride
        self._edge = -(-reach // stride)
        self._right_edge = (spec.window_frames - 1 - reach) // stride + 1
        self._columns = -(-spec.window_frames // stride)
        # The frames on which the columns at the left edge depend, as whole columns.
        self._left_frames = -(-(self._edge * stride - stride + reach + 1) // stride)
        self._left_frames *= stride

    def of(self, window: Array, place: WindowPlace | None) -> Array:
        """Compute the maps of a window, (1, features, bands, columns)."""
        if place is None:
            return self._compute(window)
        history, first_frame = place
        before, shift = history.maps, first_frame - history.first_frame
        history.first_frame, history.maps = first_frame, None
        moved, rest = divmod(shift, self._stride)
        right = (self._right_edge - moved - self._edge) * self._stride
        if before is None or moved <= 0 or rest or right <= self._left_frames:
            maps = self._compute(window)
        else:
            maps = self._follow(before, window, moved, right)
        history.maps = maps
        return maps

    def _follow(self, before: Array, window: Array, moved: int, right: int) -> Array:
        # Both ends of the window, one run: each has its own padding at its outer side,
        # and columns at its inner side that are not used.
        ends = [window[..., : self._left_frames], window[..., right:]]
        maps = self._compute(np.concatenate(ends, axis=-1))
        known = before[..., self._edge + moved : self._right_edge]
        new = self._columns - self._right_edge + moved
        return np.concatenate(
            [maps[..., : self._edge], known, maps[..., -new:]], axis=-1
        )

    def _compute(self, log_mel: Array) -> Array:
        maps: Array = self._session.run([MAPS], {INPUT: log_mel})[0]
        return maps


def _are_scores(values: Array) -> bool:
    return bool(values.min() >= 0 and values.max() <= 1)


def _laid_out(
    model: Model, graph: bytes, given: str, shape: tuple[int, ...], result: str
) -> Layout:
    """Check a graph before anything runs it."""
    try:
        return layout_of(graph, given, shape, result)
    except ValueError as error:
        raise ModelFileError(f"{model.origin}: its graph {error}") from None


def _session(model: Model, graph: bytes, threads: int) -> onnxruntime.InferenceSession:
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
        return onnxruntime.InferenceSession(
            graph, options, providers=["CPUExecutionProvider"]
        )
    # ONNX Runtime's own exceptions have no common base but this.
    except Exception as error:
        raise ModelFileError(
            f"{model.origin}: its graph cannot be used ({error!s:.200})"
        ) from error


def _check(
    model: Model,
    values: Sequence[onnxruntime.NodeArg],
    expected: dict[str, Shape],
) -> None:
    """Reject a graph that takes or gives other values than one of its card.

    Raises:
        ModelFileError: It does.
    """
    found = {each.name: each.shape for each in values}
    if found != expected:
        raise ModelFileError(
            f"{model.origin}: its graph has {found}, not {expected}"[:300]
        )
