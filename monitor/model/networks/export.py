"""Export of a network as ONNX graphs, with torch's exporter."""

import io
import warnings
from copy import deepcopy
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monitor.model.networks.base import Network, to_scores
from monitor.spec import ModelSpec

OPSET = 17
"""Version of the operators; ONNX Runtime has known it since 1.13."""


class _Scores(nn.Module):
    """The network and the sigmoid of its logits."""

    def __init__(self, network: Network, temperatures: Tensor) -> None:
        super().__init__()
        self.network = network
        self.temperatures = temperatures

    def forward(self, log_mel: Tensor) -> tuple[Tensor, Tensor]:
        return to_scores(self.network(log_mel), self.temperatures)


def export_graphs(
    network: Network, spec: ModelSpec, temperatures: NDArray[np.float32]
) -> dict[int, bytes]:
    """Export a network for one window at a time, by number of channels.

    The graph for one channel computes the scores of two equal ones.  A network that
    begins with the mean of its channels has no other.
    """
    network = deepcopy(network).float().cpu().eval().requires_grad_(False)
    divisors = torch.from_numpy(temperatures)
    graphs: dict[int, bytes] = {}
    first = _first_convolution(network)
    if spec.channels == 2 and first.in_channels == 2:
        graphs[2] = _export(_Scores(network, divisors), spec, 2)
        _merge_channels(first)
    graphs[1] = _export(_Scores(network, divisors), spec, 1)
    return graphs


def _export(module: nn.Module, spec: ModelSpec, channels: int) -> bytes:
    example = torch.zeros(1, channels, spec.n_mels, spec.window_frames)
    graph = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter traces: it notes decisions on shapes, and that it has a
        # successor, which needs one more library and takes twenty times as long.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            (example,),
            cast("Any", graph),  # its type knows only paths
            dynamo=False,
            input_names=["log_mel"],
            output_names=["scores", "activity"],
            opset_version=OPSET,
        )
    model = _halved(onnx.load_from_string(graph.getvalue()))
    return bytes(model.SerializeToString())


def _halved(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights that are exact in 16 bits in 16 bits, and widen them when loaded.

    A model file has its weights rounded to 16 bits; ONNX Runtime widens them once.
    """
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        with np.errstate(over="ignore"):
            halved = values.astype(np.float16)
        if values.dtype == np.float32 and np.array_equal(halved, values):
            name = weight.name
            weight.CopyFrom(onnx.numpy_helper.from_array(halved, f"{name}.half"))
            cast = onnx.helper.make_node(
                "Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT
            )
            casts.append(cast)
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _first_convolution(network: Network) -> nn.Conv2d:
    layers = network.blocks.modules()
    return next(layer for layer in layers if isinstance(layer, nn.Conv2d))


def _merge_channels(convolution: nn.Conv2d) -> None:
    """Sum the weights over the two input channels."""
    weight = convolution.weight.sum(dim=1, keepdim=True)
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.in_channels = 1
