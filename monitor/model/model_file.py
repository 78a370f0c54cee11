"""The model file: one safetensors file with everything that monitoring needs."""

import os
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as to_bytes
from torch import Tensor

from monitor.errors import ModelFileError, UsageError
from monitor.model.card import (
    FORMAT,
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    ModelCard,
    ModelPath,
    OpenModelFile,
    Thresholds,
    open_model_file,
    read_card,
)
from monitor.model.golden import Golden, difference, golden_vector
from monitor.model.networks import Network, build_network
from monitor.spec import ModelSpec

__all__ = [
    "ModelCard",
    "Thresholds",
    "TrainedModel",
    "load_model",
    "read_card",
    "save_model",
]

_Arrays = dict[str, NDArray[Any]]

_WEIGHTS = "network."
_GOLDEN = "golden."


@dataclass(frozen=True)
class TrainedModel:
    """A network with its weights, its input format and its card."""

    network: Network
    spec: ModelSpec
    card: ModelCard
    golden: Golden | None = None
    """Vector stored in the model file; None: not loaded from a file."""

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
    """Write a model file beside `path` and rename it, so that it is always complete.

    Args:
        path: Replaced if it exists.
        model: Model in training or evaluation mode, on any device; not modified.
        half: Store the weights in 16 bits, half the size.

    Raises:
        ModelFileError: It cannot be written, is too large to be read again, or a
            weight is not finite.
    """
    weights = {
        name: _to_array(value, half)
        for name, value in model.network.state_dict().items()
    }
    broken = _not_finite(weights)
    if broken:
        raise ModelFileError(
            f"{path}: not saved, because {_WEIGHTS}{broken} holds numbers that are not "
            "finite"
        )
    # The golden vector is that of the stored weights, rounding included.
    network = build_network(model.card.preset, model.spec, len(model.card.labels))
    network.load_state_dict(_to_tensors(weights))
    golden = golden_vector(network, model.spec, model.temperatures)
    card = model.card.model_copy(update={"total_stride": network.total_stride})
    stored = {_WEIGHTS + name: value for name, value in weights.items()}
    for name, value in golden._asdict().items():
        # safetensors writes the memory of an array, whatever its strides.
        stored[_GOLDEN + name] = np.ascontiguousarray(value)
    metadata = {
        "format": FORMAT,
        "spec": model.spec.model_dump_json(),
        "card": card.model_dump_json(),
    }
    content = to_bytes(stored, metadata)
    header = int.from_bytes(content[:8], "little")
    if header > MAX_HEADER_BYTES or len(content) > MAX_FILE_BYTES:
        raise ModelFileError(
            f"{path}: not saved, because it could not be read: labels, figures and "
            f"settings take {header} bytes, of at most {MAX_HEADER_BYTES}, and the "
            f"file {len(content)}, of at most {MAX_FILE_BYTES}"
        )
    _write(Path(path), content)


def load_model(path: ModelPath) -> TrainedModel:
    """Read a model file, None: the shipped one, and verify its golden vector.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        ModelFileError: The file is missing, foreign or damaged, or front end or network
            compute other numbers than where it was saved.
    """
    with open_model_file(path) as file:
        origin, card = file.origin, file.description.card
        try:
            model = _read_model(file)
            computed = golden_vector(model.network, model.spec, model.temperatures)
        except UsageError as error:
            raise ModelFileError(f"{origin}: {error}") from error
        except RuntimeError as error:  # of torch: a window too short for the network
            reason = str(error).partition("\n")[0]
            raise ModelFileError(
                f"{origin}: cannot be computed ({reason:.200})"
            ) from error
    if card.total_stride != model.network.total_stride:
        raise ModelFileError(
            f"{origin}: card: total_stride: {card.total_stride} is not that of the "
            f"network {card.preset}, {model.network.total_stride}"
        )
    assert model.golden is not None
    fault = difference(computed, model.golden)
    if fault:
        raise ModelFileError(
            f"{origin}: gives other numbers here than where it was saved ({fault}); "
            "use the versions of torch, torchaudio and this program it was saved with"
        )
    return model


def _read_model(file: OpenModelFile) -> TrainedModel:
    spec, card = file.description
    network = build_network(card.preset, spec, len(card.labels))
    arrays = {name: file.tensors.get_tensor(name) for name in _checked(file, network)}
    broken = _not_finite(arrays)
    if broken:
        raise ModelFileError(
            f"{file.origin}: {broken} holds numbers that are not finite"
        )
    network.load_state_dict(_to_tensors(_without_prefix(arrays, _WEIGHTS)))
    golden = Golden(**_without_prefix(arrays, _GOLDEN))
    return TrainedModel(network.eval(), spec, card, golden)


def _checked(file: OpenModelFile, network: Network) -> list[str]:
    """Names of the tensors, which are those of the network, with its types and shapes.

    The shapes of the golden vector are compared with its values.
    """
    weights = {_WEIGHTS + name: each for name, each in network.state_dict().items()}
    expected = weights.keys() | {_GOLDEN + name for name in Golden._fields}
    found = set(file.tensors.keys())
    for name in sorted(found ^ expected):
        raise ModelFileError(
            f"{file.origin}: {'has' if name in found else 'lacks'} the tensor "
            f"{name!r:.80}, unlike a network as its card describes it"
        )
    for name in sorted(found):
        tensor, weight = file.tensors.get_slice(name), weights.get(name)
        dtype, shape = tensor.get_dtype(), tuple(tensor.get_shape())
        dtypes, size = ["F32"], shape
        if weight is not None:
            dtypes = ["F32", "F16"] if weight.is_floating_point() else ["I64"]
            size = tuple(weight.shape)
        if dtype not in dtypes or shape != size:
            raise ModelFileError(
                f"{file.origin}: the tensor {name} is {dtype} {shape}; by its card "
                f"{' or '.join(dtypes)} {size}"
            )
    return sorted(found)


def _to_array(value: Tensor, half: bool) -> NDArray[Any]:
    if value.is_floating_point():
        value = value.to(torch.float16 if half else torch.float32)
    return value.detach().cpu().contiguous().numpy()


def _to_tensors(arrays: _Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(value) for name, value in arrays.items()}


def _not_finite(arrays: _Arrays) -> str | None:
    """Name of the first array with a number that is not finite."""
    broken = (name for name, value in arrays.items() if not np.isfinite(value).all())
    return next(broken, None)


def _without_prefix(arrays: _Arrays, prefix: str) -> _Arrays:
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        beside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise ModelFileError(f"{path}: cannot be written ({reason})") from error
