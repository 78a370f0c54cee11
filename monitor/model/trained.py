"""A network of torch with what a model file says of it; for training."""

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from monitor.errors import ModelFileError, UsageError
from monitor.model.card import ModelCard, ModelPath
from monitor.model.engines.torch import TorchEngine
from monitor.model.golden import golden_vector
from monitor.model.model_file import (
    Arrays,
    Model,
    check_golden,
    not_finite,
    write_model,
)
from monitor.model.model_file import load_model as load_file
from monitor.model.networks import Network, build_network
from monitor.spec import ModelSpec


@dataclass(frozen=True)
class TrainedModel:
    """A network with its weights, its input format and its card."""

    network: Network
    spec: ModelSpec
    card: ModelCard

    @property
    def temperatures(self) -> Tensor:
        """Divisors of the logits, shape (labels,)."""
        card = self.card
        return torch.tensor(
            [card.temperatures.get(label, 1.0) for label in card.labels]
        )


def save_model(
    path: str | PathLike[str], model: TrainedModel, *, half: bool = False
) -> None:
    """Write a model file: weights, graphs, card and golden vector.

    Args:
        path: Replaced if it exists.
        model: Model in training or evaluation mode, on any device; not modified.
        half: Store the weights in 16 bits, half the size.

    Raises:
        ModelFileError: It cannot be written, or a weight is not finite.
    """
    if broken := not_finite(_arrays_of(model, half)):
        raise ModelFileError(
            f"{path}: not saved, because network.{broken} holds numbers that are not "
            "finite"
        )
    write_model(Path(path), to_stored(model, half=half))


def to_stored(model: TrainedModel, *, half: bool = False) -> Model:
    """Build the content of a model file."""
    weights = _arrays_of(model, half)
    from monitor.model.networks.export import export_graphs  # needs the package onnx

    # The graph and the golden vector are those of the stored weights, rounding
    # included.
    network = build_network(model.card.preset, model.spec, len(model.card.labels))
    network.load_state_dict(_to_tensors(weights))
    temperatures = model.temperatures.numpy()
    engine = TorchEngine(network, temperatures, model.spec)
    return Model(
        model.spec,
        model.card.model_copy(
            update={
                "total_stride": network.total_stride,
                "hop_stride": network.hop_stride,
            }
        ),
        golden_vector(engine, model.spec),
        weights,
        *export_graphs(network, model.spec, temperatures),
    )


def load_model(path: ModelPath) -> TrainedModel:
    """Read a model file with the network of torch, on the CPU.

    Raises:
        ModelFileError: The file is missing, foreign or damaged, or torch computes other
            numbers from its weights than where it was saved.
    """
    model = load_file(path)
    network = network_of(model)
    check_golden(model, TorchEngine(network, model.temperatures, model.spec))
    return TrainedModel(network, model.spec, model.card)


def convert_model(path: ModelPath, out: Path) -> None:
    """Write a model file with the graphs of its network.

    Raises:
        ModelFileError: The file cannot be used, or `out` cannot be written.
    """
    dtypes = {weight.dtype for weight in load_file(path).weights.values()}
    save_model(out, load_model(path), half=np.dtype(np.float16) in dtypes)


def network_of(model: Model) -> Network:
    """Build the network of a model file, in evaluation mode.

    Raises:
        ModelFileError: The weights are not those of the network of its card.
    """
    card = model.card
    try:
        network = build_network(card.preset, model.spec, len(card.labels))
    except UsageError as error:
        raise ModelFileError(f"{model.origin}: {error}") from error
    _check_weights(model, network)
    network.load_state_dict(_to_tensors(model.weights))
    return network.eval()


def _check_weights(model: Model, network: Network) -> None:
    expected, found = network.state_dict(), model.weights
    for name in sorted(found.keys() ^ expected.keys()):
        raise ModelFileError(
            f"{model.origin}: {'has' if name in found else 'lacks'} the tensor "
            f"{name!r:.80}, unlike a network as its card describes it"
        )
    for name, weight in expected.items():
        shape = tuple(weight.shape)
        is_same_kind = (found[name].dtype.kind == "f") == weight.is_floating_point()
        if found[name].shape != shape or not is_same_kind:
            raise ModelFileError(
                f"{model.origin}: the tensor {name} is {found[name].dtype} "
                f"{found[name].shape}, unlike a network as its card describes it"
            )


def _arrays_of(model: TrainedModel, half: bool) -> Arrays:
    state = model.network.state_dict()
    return {name: _to_array(value, half) for name, value in state.items()}


def _to_array(value: Tensor, half: bool) -> NDArray[Any]:
    if value.is_floating_point():
        value = value.to(torch.float16 if half else torch.float32)
    return np.asarray(value.detach().cpu().contiguous().numpy())


def _to_tensors(arrays: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(it)) for name, it in arrays.items()}
