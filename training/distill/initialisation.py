"""Initialisation of the preset `mobile` from a teacher of the same architecture.

EfficientAT's mn04_as as an ONNX file holds its weights by name, batch normalisation
folded in.  A student of the same blocks would have to learn for weeks to reach them.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from monitor.errors import UsageError
from monitor.extras import require_extra
from monitor.model.networks import Network
from monitor.model.networks.mobile import BandMap, Gate, InvertedResidual
from monitor.spec import ModelSpec

Weights = Mapping[str, Tensor]
TEACHER_RATE = 32_000
_HOP = 320
_PRE_EMPHASIS = 0.97
_RIDGE = 30.0

NOTICE = (
    "begins with and is distilled from mn04_as of EfficientAT (trained on AudioSet), "
    "Copyright (c) 2022 Florian Schmid, MIT License, whose text comes with the program"
)


def read_weights(path: Path) -> Weights:
    """Read the named weights of an ONNX file.

    Raises:
        UsageError: The package onnx is not installed, or it is no ONNX file.
    """
    require_extra("train", "onnx", "--teacher")
    import onnx
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # noqa: BLE001 - protobuf raises classes of its own
        raise UsageError(f"{path}: is not an ONNX model ({error})") from None
    return {
        weight.name: torch.from_numpy(np.array(numpy_helper.to_array(weight)))
        for weight in graph.initializer
    }


def is_known(weights: Weights) -> bool:
    """True if these are weights of a teacher that a network can begin with."""
    return "m.features.0.0.weight" in weights


def can_start(network: Network, weights: Weights) -> bool:
    """True if the network has the architecture of the teacher of these weights."""
    mobile = any(isinstance(module, BandMap) for module in network.modules())
    return mobile and is_known(weights)


def start_from(
    network: Network,
    weights: Weights,
    spec: ModelSpec,
    log_mels: NDArray[np.float32],
    waveforms: NDArray[np.float32],
) -> None:
    """Give the trunk the teacher's weights, and fit the map between the mel bands.

    The log-mels (windows, n_mels, frames), dB, and the teacher's inputs `waveforms`
    (windows, samples) are of the same windows.
    """
    with torch.no_grad():
        copy_trunk(network.blocks, weights)
        _fit_bands(network, weights, spec, log_mels, waveforms)


def classifier(weights: Weights) -> nn.Module | None:
    """The teacher's own layers from embedding to logits, if their weights are there."""
    first, second = "m.classifier.2", "m.classifier.5"
    if f"{first}.weight" not in weights:
        return None
    layers = nn.Sequential()
    for name in (first, second):
        outputs, inputs = weights[f"{name}.weight"].shape
        linear = nn.Linear(inputs, outputs)
        linear.load_state_dict(
            {key: weights[f"{name}.{key}"] for key in ("weight", "bias")}
        )
        layers.append(linear)
    layers.insert(1, nn.Hardswish())
    return layers


def copy_trunk(blocks: nn.Module, weights: Weights) -> None:
    """Give blocks of the teacher's architecture its weights."""
    residuals = [
        each for each in blocks.modules() if isinstance(each, InvertedResidual)
    ]
    inside = {id(module) for each in residuals for module in each.modules()}
    outside = [
        module
        for module in blocks.modules()
        if isinstance(module, nn.Conv2d) and id(module) not in inside
    ]
    _copy_convolution(outside[0], weights, "m.features.0.0")
    for number, residual in enumerate(residuals, start=1):
        place = 0
        for module in residual.body:
            prefix = f"m.features.{number}.block.{place}"
            if isinstance(module, nn.Conv2d):
                _copy_convolution(module, weights, f"{prefix}.0")
                place += 1
            elif isinstance(module, Gate):
                _copy_gate(module, weights, f"{prefix}.conc_se_layers.0")
                place += 1
    _copy_convolution(outside[1], weights, f"m.features.{len(residuals) + 1}.0")


def _copy_convolution(convolution: nn.Conv2d, weights: Weights, name: str) -> None:
    assert convolution.bias is not None
    convolution.weight.copy_(weights[f"{name}.weight"])
    convolution.bias.copy_(weights[f"{name}.weight_bias"])


def _copy_gate(gate: Gate, weights: Weights, name: str) -> None:
    """Copy the most important units, where the student has fewer."""
    reduce, expand = weights[f"{name}.fc1.weight"], weights[f"{name}.fc2.weight"]
    importance = reduce.norm(dim=1) * expand.norm(dim=0)
    narrow, wide = gate.gates[0], gate.gates[2]
    assert isinstance(narrow, nn.Linear)
    assert isinstance(wide, nn.Linear)
    kept = importance.argsort(descending=True)[: narrow.out_features].sort().values
    narrow.weight.copy_(reduce[kept])
    narrow.bias.copy_(weights[f"{name}.fc1.bias"][kept])
    wide.weight.copy_(expand[:, kept])
    wide.bias.copy_(weights[f"{name}.fc2.bias"])


def _teacher_bands(weights: Weights, waveforms: Tensor) -> Tensor:
    """The teacher's front end: (windows, samples) to (windows, bands, frames)."""
    sharpened = waveforms[:, 1:] - _PRE_EMPHASIS * waveforms[:, :-1]
    transform = weights["dft"]  # (2 * bins, 1, 1024), real parts first
    padded = functional.pad(sharpened, (512, 512)).unsqueeze(1)
    parts = functional.conv1d(padded, transform, stride=_HOP)
    bins = transform.shape[0] // 2
    power = parts[:, :bins] ** 2 + parts[:, bins:] ** 2
    mel = weights["mb"].reshape(-1, bins) @ power
    return (torch.log(mel + 1e-5) + 4.5) / 5


def _fit_bands(
    network: Network,
    weights: Weights,
    spec: ModelSpec,
    log_mels: NDArray[np.float32],
    waveforms: NDArray[np.float32],
) -> None:
    """Least squares from our bands to the teacher's, at the frames nearest in time."""
    wanted = _teacher_bands(weights, torch.from_numpy(waveforms))
    centres = torch.arange(0, log_mels.shape[2], 4) * spec.hop_length + spec.n_fft // 2
    nearest = (centres / spec.sample_rate * TEACHER_RATE / _HOP).round().long()
    nearest.clamp_(max=wanted.shape[2] - 1)
    ours = network.normalise(torch.from_numpy(log_mels))[:, :, ::4]
    inputs = ours.transpose(1, 2).flatten(0, 1)  # (frames, n_mels)
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1)
    outputs = wanted[:, :, nearest].transpose(1, 2).flatten(0, 1)
    square = inputs.T @ inputs + _RIDGE * torch.eye(inputs.shape[1])
    solution = torch.linalg.solve(square, inputs.T @ outputs)
    bands = next(each for each in network.modules() if isinstance(each, BandMap))
    bands.linear.weight.copy_(solution[:-1].T)
    bands.linear.bias.copy_(solution[-1])
