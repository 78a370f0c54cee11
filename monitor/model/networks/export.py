"""Export of a network as ONNX graphs, with torch's exporter."""

import io
import warnings
from collections.abc import Iterator
from copy import deepcopy
from typing import Any, cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from monitor.model.networks.base import Network, Output, mean_of_bands, to_scores
from monitor.model.networks.mobile import Gate, InvertedResidual
from monitor.spec import ModelSpec

OPSET = 17
"""Version of the operators; ONNX Runtime has known it since 1.13."""


class _Maps(nn.Sequential):
    """The normalisation and the layers before the first gate.

    Their maps depend on the frames nearby alone: of two windows that overlap they are
    the same, but for the columns that the padding of the windows reaches.
    """

    def stride_and_reach(self) -> dict[str, int]:
        """Frames from a column to the next, and to the farthest that it depends on."""
        stride, reach = 1, 0
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                reach += layer.dilation[1] * (layer.kernel_size[1] // 2) * stride
                stride *= layer.stride[1]
        return {"stride_frames": stride, "reach_frames": reach}


class _Scores(nn.Module):
    """The other layers, and the sigmoid of the logits."""

    def __init__(
        self, layers: nn.Sequential, network: Network, temperatures: Tensor
    ) -> None:
        super().__init__()
        self.layers = layers
        self.network = network
        self.temperatures = temperatures

    def forward(self, maps: Tensor, *before: Tensor) -> tuple[Tensor, ...]:
        columns = mean_of_bands(self.layers(maps))
        if not before:
            output = self.network.score_columns(columns)
            return *to_scores(output, self.temperatures), columns
        background, has_background = before
        views = self.network.views(columns)
        change = has_background * (background - views.embedding)
        logits = self.network.compare(views, views.embedding + change)
        output = Output(logits, self.network.activity(columns))
        return *to_scores(output, self.temperatures), columns, *views


def export_graphs(
    network: Network, spec: ModelSpec, temperatures: NDArray[np.float32]
) -> tuple[dict[int, bytes], bytes]:
    """Export a network for one window at a time, in two parts.

    Returns:
        The graphs from log-mel of any number of frames to maps, by number of channels;
        and the graph from the maps of a window, and its background where the network
        takes one, to its scores.  The graph for one
        channel computes the maps of two equal ones.  A network that begins with the
        mean of its channels has no other.
    """
    network = deepcopy(network).float().cpu().eval().requires_grad_(False)
    layers = list(_layers(network.blocks))
    gates = (number for number, layer in enumerate(layers) if _has_gate(layer))
    split = next(gates, len(layers))
    to_maps = _Maps(network.normalise, *layers[:split])
    graphs: dict[int, bytes] = {}
    first = _first_convolution(to_maps)
    if spec.channels == 2 and first.in_channels == 2:
        graphs[2] = _export_maps(to_maps, spec, 2)
        _merge_channels(first)
    graphs[1] = _export_maps(to_maps, spec, 1)
    maps = to_maps(torch.zeros(1, 1, spec.n_mels, spec.window_frames))
    rest = nn.Sequential(*layers[split:])
    scores = _Scores(rest, network, torch.from_numpy(temperatures))
    given, results = {"maps": maps}, ["scores", "activity", "columns"]
    if network.recent_columns:
        features = rest(maps).shape[1]
        given["background"] = torch.zeros(1, features)
        given["has_background"] = torch.zeros(1, 1)
        results += ["embedding", "recent"]
    model = _export(scores, given, results)
    return graphs, bytes(model.SerializeToString())


def _layers(blocks: nn.Module) -> Iterator[nn.Module]:
    """The layers one after another; a residual block is one of them."""
    for block in blocks.children():
        if isinstance(block, InvertedResidual) and not block.adds_input:
            yield from block.body
        else:
            yield block


def _has_gate(layer: nn.Module) -> bool:
    return any(isinstance(each, Gate) for each in layer.modules())


def _export_maps(to_maps: _Maps, spec: ModelSpec, channels: int) -> bytes:
    example = torch.zeros(1, channels, spec.n_mels, spec.window_frames)
    frames = {"log_mel": {3: "frames"}}
    model = _export(to_maps, {"log_mel": example}, ["maps"], frames)
    for name, value in to_maps.stride_and_reach().items():
        model.metadata_props.add(key=name, value=str(value))
    return bytes(model.SerializeToString())


def _export(
    module: nn.Module,
    examples: dict[str, Tensor],
    results: list[str],
    dynamic: dict[str, dict[int, str]] | None = None,
) -> onnx.ModelProto:
    graph = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter traces: it notes decisions on shapes, and that it has a
        # successor, which needs one more library and takes twenty times as long.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            tuple(examples.values()),
            cast("Any", graph),  # its type knows only paths
            dynamo=False,
            input_names=list(examples),
            output_names=results,
            dynamic_axes=dynamic,
            opset_version=OPSET,
        )
    return _halved(onnx.load_from_string(graph.getvalue()))


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


def _first_convolution(layers: nn.Module) -> nn.Conv2d:
    return next(each for each in layers.modules() if isinstance(each, nn.Conv2d))


def _merge_channels(convolution: nn.Conv2d) -> None:
    """Sum the weights over the two input channels."""
    weight = convolution.weight.sum(dim=1, keepdim=True)
    convolution.weight = nn.Parameter(weight, requires_grad=False)
    convolution.in_channels = 1
