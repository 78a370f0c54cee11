"""The light engine: the graphs in the model file, run by ONNX Runtime on the CPU.

One window at a time: batching gains nothing, and so the scores of a window do not
depend, not even in their last bit, on the other windows that are due.  The layers
before the first one that depends on the whole window run for its new frames alone.
"""

import os
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnxruntime

from monitor.errors import ModelFileError
from monitor.model.engines import Array, Classification, EngineError, WindowPlace
from monitor.model.graph_layout import Layout, layout_of
from monitor.model.model_file import Model

INPUT, MAPS, OUTPUTS = "log_mel", "maps", ["scores", "activity"]
COLUMNS = "columns"
BACKGROUND, VIEWS = ["background", "has_background"], ["embedding", "recent"]
"""Names in the graphs; the last line is of models that take a background, and graphs of
earlier versions give no columns."""


MOST_FEATURES = 2**14
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
        self._spec = spec
        labels, columns = len(card.labels), -(-spec.window_frames // card.total_stride)
        self._shapes: dict[str, Shape] = dict(
            zip(OUTPUTS, ([1, labels], [1, labels, columns]), strict=True)
        )
        self._maps = {
            channels: _WindowMaps(model, channels, threads) for channels in model.graphs
        }
        given = {MAPS: self._maps[1].shape}
        self._nothing: dict[str, Array] = {}
        if model.golden.background is not None:
            features = model.golden.background.size
            zeros = np.zeros((1, features), np.float32), np.zeros((1, 1), np.float32)
            self._nothing = dict(zip(BACKGROUND, zeros, strict=True))
            given |= {name: each.shape for name, each in self._nothing.items()}
            self._shapes |= {name: [1, features] for name in VIEWS}
        _laid_out(model, model.score_graph, given, OUTPUTS[0])
        self._scores = _session(model, model.score_graph, threads)
        self._outputs = OUTPUTS
        for output in self._scores.get_outputs():
            if output.name == COLUMNS:
                self._outputs = [*OUTPUTS, COLUMNS]
                self._shapes[COLUMNS] = [1, _features(output.shape), columns]
        _check(
            model,
            self._scores.get_inputs(),
            {name: list(shape) for name, shape in given.items()},
        )
        _check(model, self._scores.get_outputs(), self._shapes)

    def run(
        self, windows: Array, places: Sequence[WindowPlace] = (), /
    ) -> Classification:
        """Score the windows one by one."""
        parts = [
            self._score(window, place)
            for window, place in _with_places(windows, places)
        ]
        joined: list[Array] = [np.concatenate(it) for it in zip(*parts, strict=True)]
        return Classification(*joined)

    def views(
        self, windows: Array, places: Sequence[WindowPlace] = (), /
    ) -> tuple[Array, Array]:
        """Compute the views of the windows one by one."""
        parts = [
            self._compute(window, place, VIEWS, self._nothing)
            for window, place in _with_places(windows, places)
        ]
        embedding, recent = zip(*parts, strict=True)
        return np.concatenate(embedding), np.concatenate(recent)

    def _score(self, window: Array, place: WindowPlace | None) -> Sequence[Array]:
        if not self._nothing or place is None:
            return self._compute(window, place, self._outputs, self._nothing)
        background = place.background(self._spec)
        given, before = self._nothing, background.before(place.first_frame)
        if before is not None:
            values = before[None], np.ones((1, 1), np.float32)
            given = dict(zip(BACKGROUND, values, strict=True))
        names = [*self._outputs, VIEWS[0]]
        *results, embedding = self._compute(window, place, names, given)
        background.add(place.first_frame, embedding[0], results[0][0])
        return results

    def _compute(
        self,
        window: Array,
        place: WindowPlace | None,
        names: Sequence[str],
        given: Mapping[str, Array],
    ) -> Sequence[Array]:
        if len(window) not in self._maps:
            # A network that averages the channels has one graph, for their mean.
            window = window.mean(axis=0, keepdims=True)
        try:
            maps = self._maps[len(window)].of(window[None], place)
            results: list[Array] = self._scores.run(names, {MAPS: maps, **given})
        # ONNX Runtime's own exceptions have no common base but this.
        except Exception as error:
            raise EngineError(f"cannot be computed ({error!s:.200})") from error
        for name, values in zip(names, results, strict=True):
            if list(values.shape) != self._shapes[name]:
                raise EngineError("its graph gives results of other shapes")
            # Also where they are not numbers.
            if name in OUTPUTS and not _are_scores(values):
                raise EngineError("gives scores that are not between 0 and 1")
            if not np.isfinite(values).all():
                raise EngineError("gives numbers that are not finite")
        return results


def _features(shape: Shape) -> int | str:
    """Features of columns; any, if they are as many as can be."""
    return shape[1] if len(shape) == 3 and shape[1] in range(1, MOST_FEATURES) else 0


def _with_places(
    windows: Array, places: Sequence[WindowPlace]
) -> Iterable[tuple[Array, WindowPlace | None]]:
    places_of: Sequence[WindowPlace | None] = places or [None] * len(windows)
    return zip(windows, places_of, strict=True)


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
        layout = _laid_out(model, graph, {INPUT: (1, channels, *window)}, MAPS)
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
        history, first_frame, _ = place
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
    model: Model, graph: bytes, given: Mapping[str, tuple[int, ...]], result: str
) -> Layout:
    """Check a graph before anything runs it."""
    try:
        return layout_of(graph, given, result)
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
