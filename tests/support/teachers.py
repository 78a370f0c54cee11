"""A teacher that is quickly made: an ONNX file of a handful of nodes."""

from pathlib import Path

import numpy as np

SIZE = 4
"""Of its embedding, and of its logits."""


def write_teacher(
    path: Path, outputs: tuple[str, ...] = ("embedding", "logits")
) -> Path:
    """Mean power and peak of a waveform of any length, mixed by constants.

    Needs the package onnx.
    """
    import onnx

    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    nodes = [
        helper.make_node("Mul", ["waveform", "waveform"], ["power"]),
        helper.make_node("ReduceMean", ["power"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("ReduceMax", ["power"], ["peak"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["mean", "peak"], ["two"], axis=1),
        helper.make_node("MatMul", ["two", "weight"], ["features"]),
    ]
    nodes += [helper.make_node("Identity", ["features"], [name]) for name in outputs]
    weight = np.arange(2 * SIZE, dtype=np.float32).reshape(2, SIZE)
    graph = helper.make_graph(
        nodes,
        "teacher",
        [helper.make_tensor_value_info("waveform", kind, ["batch", "samples"])],
        [helper.make_tensor_value_info(n, kind, ["batch", SIZE]) for n in outputs],
        [onnx.numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return path
