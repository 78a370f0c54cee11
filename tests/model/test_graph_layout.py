"""Graphs of a model file that are none of this program's are not run."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from monitor.errors import ModelFileError
from monitor.model.classifier import Classifier
from monitor.model.engines import WindowHistory, WindowPlace
from monitor.model.graph_layout import layout_of
from monitor.model.model_file import write_model
from tests.support.model_files import open_model
from tests.support.models import WITH_BACKGROUND, seeded_windows, stored_model


def test_a_graph_reads_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX can keep weights in files beside the graph."""
    stored = stored_model()
    graph = onnx.load_from_string(stored.graphs[1])
    weight = max(graph.graph.initializer, key=lambda each: len(each.raw_data))
    (tmp_path / "weights.bin").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = onnx.TensorProto.EXTERNAL
    weight.external_data.add(key="location", value="weights.bin")
    path = tmp_path / "model.safetensors"
    write_model(path, replace(stored, graphs={1: graph.SerializeToString()}))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelFileError, match="its graph cannot be used"):
        open_model(path)


@pytest.mark.parametrize("reach", [None, "0", "16", "999"])
def test_what_a_graph_says_of_its_reach_does_not_count(
    reach: str | None, tmp_path: Path
) -> None:
    """A window that follows another would have other scores than alone."""
    stored = stored_model()
    graphs = {}
    for channels, content in stored.graphs.items():
        graph = onnx.load_from_string(content)
        lie = {} if reach is None else {"stride_frames": "8", "reach_frames": reach}
        onnx.helper.set_model_props(graph, lie)
        graphs[channels] = graph.SerializeToString()
    path = tmp_path / "model.safetensors"
    write_model(path, replace(stored, graphs=graphs))
    frames = stored.spec.window_frames
    shape = (1, stored.spec.channels, stored.spec.n_mels, frames + 64)
    sound = np.random.default_rng(0).uniform(-80, 0, shape).astype(np.float32)
    honest, lying = Classifier(stored, "cpu"), open_model(path)
    history = WindowHistory()
    for first in range(0, 65, 16):
        window = sound[..., first : first + frames]
        followed = lying.classify(window, [WindowPlace(history, first)])
        assert np.array_equal(followed.scores, honest.classify(window).scores)


def _changed(change: Callable[[onnx.ModelProto], None], path: Path) -> Path:
    """Write a model whose graph of maps for one channel is changed."""
    stored = stored_model()
    graph = onnx.load_from_string(stored.graphs[1])
    change(graph)
    graphs = {**stored.graphs, 1: graph.SerializeToString()}
    write_model(path, replace(stored, graphs=graphs))
    return path


def _before(
    model: onnx.ModelProto, *nodes: onnx.NodeProto, **weights: tuple[int, ...]
) -> None:
    """Put nodes, of which the last computes `changed`, between input and network."""
    for name, shape in weights.items():
        zeros = onnx.numpy_helper.from_array(np.zeros(shape, np.float32), name)
        model.graph.initializer.append(zeros)
    for node in model.graph.node:
        node.input[:] = ["changed" if it == "log_mel" else it for it in node.input]
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])


node = onnx.helper.make_node
WHOLE = node("ReduceMax", ["log_mel"], ["largest"], axes=[1, 2, 3])
ADD = node("Add", ["log_mel", "zero"], ["changed"])


def _of_all_frames(model: onnx.ModelProto) -> None:
    _before(model, WHOLE, node("Sub", ["log_mel", "largest"], ["changed"]))


def _of_the_position(model: onnx.ModelProto) -> None:
    frames = stored_model().spec.window_frames
    _before(model, node("Add", ["log_mel", "ramp"], ["changed"]), ramp=(frames,))


def _padding(model: onnx.ModelProto) -> None:
    pads = [10**6, 0, 10**6, 0]
    wide = node("Conv", ["log_mel", "w"], ["wide"], pads=pads)
    zero = node("ReduceMax", ["wide"], ["zero"], axes=[1, 2, 3])
    _before(model, wide, zero, ADD, w=(1, 1, 1, 1))


def _outer_sum(model: onnx.ModelProto) -> None:
    row = node("Add", ["row", "largest"], ["rows"])
    square = node("Add", ["rows", "column"], ["square"])
    product = node("MatMul", ["square", "square"], ["product"])
    zero = node("ReduceMax", ["product"], ["zero"], axes=[2, 3])
    _before(
        model, WHOLE, row, square, product, zero, ADD, row=(4000, 1), column=(1, 4000)
    )


def _constant_without_a_size(model: onnx.ModelProto) -> None:
    zero = node("Constant", [], ["zero"], value_floats=[0.0] * 4)
    _before(model, zero, ADD)


def _joined(axis: int, inputs: list[str]) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        _before(model, node("Concat", inputs, ["changed"], axis=axis), rows=(9, 1))

    return change


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (_joined(3, ["log_mel", "log_mel"]), "the frames nearby alone"),
        (_joined(-1, ["log_mel"]), "has a Concat that no network of its card has"),
        (_joined(9, ["log_mel"]), "has a Concat that no network of its card has"),
        (_joined(0, ["log_mel", "rows"]), "has a Concat that no network of its card"),
        (_joined(0, 500 * ["log_mel"]), "computes too much, with a"),
        (_of_all_frames, "maps that do not depend on the frames nearby alone"),
        (_of_the_position, "maps that do not depend on the frames nearby alone"),
        (_padding, r"computes too much, with a Conv of \(1, 1, 2000"),
        (_outer_sum, "computes too much, with a MatMul of .*4000, 4000"),
        (_constant_without_a_size, "has a Constant that no network of its card has"),
    ],
)
def test_a_graph_that_looks_too_far_or_asks_for_too_much_is_not_run(
    change: Callable[[onnx.ModelProto], None], rule: str, tmp_path: Path
) -> None:
    path = _changed(change, tmp_path / "model.safetensors")
    with pytest.raises(ModelFileError, match=rule):
        open_model(path)


def _with_graph(path: Path, change: Callable[[onnx.ModelProto], None]) -> Path:
    stored = stored_model()
    graph = onnx.load_from_string(stored.score_graph)
    change(graph)
    write_model(path, replace(stored, score_graph=graph.SerializeToString()))
    return path


def _loop(model: onnx.ModelProto) -> None:
    body = onnx.GraphProto(name="body")
    node = onnx.helper.make_node("Loop", ["n", "go"], ["out"], body=body)
    model.graph.node.append(node)


def _inner(model: onnx.ModelProto) -> None:
    inner = onnx.helper.make_attribute("body", onnx.GraphProto(name="body"))
    model.graph.node[0].attribute.append(inner)


def _function(model: onnx.ModelProto) -> None:
    model.functions.add(name="mine", domain="mine")


def _domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "com.microsoft"


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (_loop, "has the operator 'Loop', which no network needs"),
        (_inner, "holds another graph"),
        (_function, "has functions of its own"),
        (_domain, "has an operator of the domain 'com.microsoft'"),
    ],
)
def test_a_graph_with_more_than_our_networks_have_is_not_run(
    change: Callable[[onnx.ModelProto], None], rule: str, tmp_path: Path
) -> None:
    path = _with_graph(tmp_path / "model.safetensors", change)
    with pytest.raises(ModelFileError, match=rule):
        open_model(path)


def _comparing(
    path: Path, features: int, change: Callable[[onnx.ModelProto], None]
) -> Path:
    """Write a model that takes a background, with a changed graph."""
    stored = stored_model("mobile", WITH_BACKGROUND)
    graph = onnx.load_from_string(stored.score_graph)
    change(graph)
    golden = stored.golden._replace(background=np.zeros(features, np.float32))
    write_model(
        path, replace(stored, score_graph=graph.SerializeToString(), golden=golden)
    )
    return path


def _without_embedding(model: onnx.ModelProto) -> None:
    names = [each.name for each in model.graph.output]
    del model.graph.output[names.index("embedding")]


def _background_of_a_batch(model: onnx.ModelProto) -> None:
    model.graph.input[1].type.tensor_type.shape.dim[0].dim_value = 2


def _doubled_embedding(model: onnx.ModelProto) -> None:
    for each in model.graph.node:
        each.output[:] = ["half" if it == "embedding" else it for it in each.output]
        each.input[:] = ["half" if it == "embedding" else it for it in each.input]
    model.graph.node.append(node("Add", ["half", "half"], ["embedding"]))


@pytest.mark.parametrize(
    ("features", "change", "rule"),
    [
        (384, _without_embedding, "its graph has {.*}, not {"),
        (384, _background_of_a_batch, "its graph cannot be used"),
        (384, _doubled_embedding, r"other numbers .* \(background differs"),
        (383, lambda _: None, "has a Sub that no network of its card has"),
        (2**23, lambda _: None, "has a Sub that no network of its card has"),
        (1, lambda _: None, "its graph has {.*}, not {"),
        (0, lambda _: None, "has a Sub that no network of its card has"),
    ],
)
def test_a_background_is_that_of_the_card(
    features: int, change: Callable[[onnx.ModelProto], None], rule: str, tmp_path: Path
) -> None:
    path = _comparing(tmp_path / "model.safetensors", features, change)
    with pytest.raises(ModelFileError, match=rule):
        open_model(path)


def _without_columns(model: onnx.ModelProto) -> None:
    names = [each.name for each in model.graph.output]
    del model.graph.output[names.index("columns")]


def test_a_graph_of_an_earlier_version_gives_scores_without_columns(
    tmp_path: Path,
) -> None:
    stored = stored_model()
    earlier = open_model(_with_graph(tmp_path / "model.safetensors", _without_columns))
    windows = seeded_windows(2)
    found = earlier.classify(windows)
    expected = Classifier(stored, "cpu").classify(windows)
    assert found.columns is None
    assert expected.columns is not None
    assert np.array_equal(found.scores, expected.scores)
    assert np.array_equal(found.activity, expected.activity)


def _scores_as_columns(model: onnx.ModelProto) -> None:
    _without_columns(model)
    model.graph.node.append(onnx.helper.make_node("Identity", ["scores"], ["columns"]))
    shape = onnx.helper.make_tensor_value_info("columns", 1, [1, 3])
    model.graph.output.append(shape)


def test_columns_are_those_of_the_card(tmp_path: Path) -> None:
    path = _with_graph(tmp_path / "model.safetensors", _scores_as_columns)
    with pytest.raises(ModelFileError, match=r"its graph .*(columns|Identity)"):
        open_model(path)


def test_scores_that_are_none_are_an_error_at_once(tmp_path: Path) -> None:
    """Here the sigmoids at the end are left out: logits come out."""

    def shift(model: onnx.ModelProto) -> None:
        for node in model.graph.node:
            if node.op_type == "Sigmoid" and node.output[0] in ("scores", "activity"):
                node.op_type = "Relu"

    path = _with_graph(tmp_path / "model.safetensors", shift)
    with pytest.raises(ModelFileError, match=r"not between 0 and 1|other numbers"):
        open_model(path)


@pytest.mark.parametrize("stop", [1, 10, 1000, -1])
def test_a_graph_that_was_cut_short_is_not_run(stop: int) -> None:
    stored = stored_model()
    shape = (1, 1, stored.spec.n_mels, stored.spec.window_frames)
    with pytest.raises(ValueError, match=r"cannot be read|does not compute"):
        layout_of(stored.graphs[1][:stop], {"log_mel": shape}, "maps")
