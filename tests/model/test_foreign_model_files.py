"""Any file that is not a model of this program is rejected in one sentence."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from monitor.errors import ModelFileError
from monitor.model.card import read_card
from monitor.model.classifier import Classifier
from monitor.model.engines import WindowHistory, WindowPlace
from monitor.model.graph_layout import layout_of
from monitor.model.model_file import write_model
from monitor.model.trained import load_model, save_model
from tests.support.model_files import change, nested, open_model, rewrite
from tests.support.models import seeded_model, stored_model


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_model(path, seeded_model())
    return path


class TestForeignFiles:
    """Each is rejected in one sentence that names the file."""

    def reject(
        self, path: Path, rule: str, load: Callable[[Path], object] = open_model
    ) -> None:
        with pytest.raises(ModelFileError, match=rule) as caught:
            load(path)
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"\x02",
            b"a text file that is called a model",
            bytes(1000),
            (2**63).to_bytes(8, "little") + b"{}",  # a header without end
            (2**19).to_bytes(8, "little") + b"{}",  # longer than the file
            (4).to_bytes(8, "little") + b"null",
            (2).to_bytes(8, "little") + b"[]",
            (4).to_bytes(8, "little") + b'"no"',
            (2**20).to_bytes(8, "little") + b"[" * 2**20,
            (2).to_bytes(8, "little") + b"\xff\xfe",
            (20).to_bytes(8, "little") + b'{"__metadata__":  2}',
            (10).to_bytes(8, "little") + b'{"a": {} }',
        ],
    )
    def test_a_file_that_is_not_safetensors(self, content: bytes, tmp_path: Path):
        path = tmp_path / "foreign"
        path.write_bytes(content)
        self.reject(path, "is not a safetensors file")

    def test_a_missing_file_a_folder_and_a_device(self, tmp_path: Path):
        self.reject(tmp_path / "missing", "there is no such model file")
        self.reject(tmp_path, "is not a file")
        self.reject(Path("/dev/zero"), "is not a file")

    def test_a_file_that_is_too_large(self, tmp_path: Path):
        path = tmp_path / "large"
        with path.open("wb") as file:
            file.truncate(2**40)
        self.reject(path, "has 1048576 MiB; a model file has at most 64")

    def test_a_header_that_is_too_large(self, tmp_path: Path):
        path = tmp_path / "large"
        save_file({"weight": torch.zeros(3)}, path, {"x": "x" * 2**20})
        self.reject(path, "is not a safetensors file$")

    def test_the_weights_of_another_program(self, tmp_path: Path):
        path = tmp_path / "other"
        save_file({"weight": torch.zeros(3)}, path)
        self.reject(path, r"not a model of this program .*'not given'")

    def test_a_file_that_was_cut_short(self, saved: Path):
        saved.write_bytes(saved.read_bytes()[:-100])
        self.reject(saved, "is damaged")

    @pytest.mark.parametrize(
        ("fields", "rule"),
        [
            ({"labels": []}, "card: labels"),
            ({"labels": ["siren", "siren"]}, "labels: two of them are the same"),
            ({"labels": ["one", "two"]}, "card: thresholds: 'siren' is not one"),
            ({"labels": [" a", "c"]}, "labels.0: cannot be a name: it begins with a"),
            ({"labels": ["a", "=1"]}, "labels.1: cannot be a name: it begins with '='"),
            ({"labels": ["a", "\u202eb"]}, "labels.1: cannot be a name: it holds"),
            ({"labels": ["a", ""]}, "labels.1: cannot be a name: it is empty"),
            ({"name": "x" * 64}, "card: name: cannot be a name: it has 64"),
            ({"labels": ["a\x1b[31mb", "c"]}, "card: labels.0"),
            ({"temperatures": {"siren": 0}}, "card: temperatures.siren"),
            ({"temperatures": {"siren": 1e-300}}, "card: temperatures.siren"),
            ({"total_stride": 10**9}, "card: total_stride"),
            ({"total_stride": 32}, "its graph has .* not .*11"),
            ({"created": "x" * 10_000}, "card: created"),
            ({"report": [[[]]]}, "card: report"),
            ({"report": {"x": nested(500)}}, "card: Invalid JSON: recursion limit"),
            ({"a\x1b[31m": 1}, r"card: a\\x1b\[31m: Extra inputs"),
            (
                {"thresholds": {"siren": {"onset": 0.2, "offset": 0.5}}},
                "thresholds.siren: offset 0.5 is above onset 0.2",
            ),
        ],
    )
    def test_a_card_that_breaks_a_rule(
        self, fields: dict[str, object], rule: str, saved: Path
    ):
        rewrite(saved, metadata=change("card", **fields))
        self.reject(saved, rule)

    @pytest.mark.parametrize(
        ("fields", "rule"),
        [
            ({"f_max": 30_000}, "spec: f_max: 30000.0 Hz must lie above"),
            (
                {"n_mels": 10**9},
                "spec: n_mels: .* less than or equal to 512, not 1000000000",
            ),
            ({"n_fft": 2**30}, "spec: n_fft"),
            ({"window_frames": 10**12}, "spec: window_frames"),
            ({"hop_length": 10**12}, "spec: hop_length"),
            ({"window_frames": 8000}, "8000 frames of 1024 samples.* are too many"),
            ({"sample_rate": 1}, "spec: sample_rate"),
            ({"floor_db": 10.0**308}, "spec: floor_db"),
            ({"sample_rate": 10**400}, "spec: sample_rate"),
            ({"f_max": 10**400}, "spec: "),
            ({"n_mels": 500}, "its graph has a Sub that no network of its card has"),
            ({"f_max": 60.0}, "hold no FFT bin"),
            ({"window_frames": 343}, "log_mel has shape"),
            ({"floor_db": -60.0}, "log_mel differs"),
        ],
    )
    def test_a_spec_that_breaks_a_rule(
        self, fields: dict[str, object], rule: str, saved: Path
    ):
        rewrite(saved, metadata=change("spec", **fields))
        self.reject(saved, rule)

    @pytest.mark.parametrize(
        "text", ["", "{", '{"n_mels": NaN}', "[" * 100_000, "null", "1" * 5000]
    )
    def test_a_spec_that_is_not_json(self, text: str, saved: Path):
        rewrite(saved, metadata=lambda metadata: metadata.update(spec=text))
        self.reject(saved, "spec: ")

    @pytest.mark.parametrize(
        ("tensors", "rule"),
        [
            (lambda t: t.pop("golden.scores"), "lacks the tensor 'golden.scores'"),
            (lambda t: t.update(more=torch.zeros(1)), "has the tensor 'more'"),
            (
                lambda t: t.update({"golden.scores": torch.zeros(3).half()}),
                "has the tensor 'golden.scores' of type F16",
            ),
            (
                lambda t: t["network.head.bias"].fill_(torch.inf),
                "network.head.bias holds numbers that are not finite",
            ),
            (lambda t: t["golden.scores"].fill_(torch.nan), "golden.scores holds"),
            (lambda t: t.pop("graph.mono"), "add it with"),
            (lambda t: t.pop("graph.scores"), "add it with"),
            (
                lambda t: t.update({"graph.mono": t["graph.mono"][:-1000]}),
                "its graph cannot be read",
            ),
            (
                lambda t: t.update({"graph.mono": t["graph.stereo"].clone()}),
                "its graph has .* not",
            ),
        ],
    )
    def test_tensors_that_do_not_fit(
        self, tensors: Callable[[dict[str, Tensor]], None], rule: str, saved: Path
    ):
        rewrite(saved, tensors=tensors)
        self.reject(saved, rule)

    @pytest.mark.parametrize(
        ("tensors", "rule"),
        [
            (lambda t: t.pop("network.head.bias"), "lacks the tensor 'head.bias'"),
            (
                lambda t: t.update({"network.head.bias": torch.zeros(4)}),
                r"head.bias is float32 \(4,\), unlike",
            ),
            (
                lambda t: t.update({"network.head.bias": torch.zeros(3).long()}),
                r"head.bias is int64",
            ),
        ],
    )
    def test_weights_that_do_not_fit_the_network(
        self, tensors: Callable[[dict[str, Tensor]], None], rule: str, saved: Path
    ):
        rewrite(saved, tensors=tensors)
        self.reject(saved, rule, load_model)

    def test_a_network_that_there_is_not(self, saved: Path):
        rewrite(saved, metadata=change("card", preset="arcticle"))
        self.reject(saved, "preset: 'arcticle' is not a network", load_model)

    def test_reading_the_card_rejects_what_the_metadata_shows(self, tmp_path: Path):
        with pytest.raises(ModelFileError, match="there is no such model file"):
            read_card(tmp_path / "missing")


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


@pytest.mark.parametrize(
    ("change", "rule"),
    [
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
        layout_of(stored.graphs[1][:stop], "log_mel", shape, "maps")
