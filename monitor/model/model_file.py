"""The model file: one safetensors file that holds all a monitor needs to listen."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from secrets import token_hex
from typing import BinaryIO

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as to_bytes
from torch import Tensor

from monitor.errors import ModelFileError, UsageError
from monitor.model.card import (
    FORMAT,
    Header,
    ModelCard,
    ModelPath,
    Thresholds,
    describe,
    open_model_file,
    read_card,
    read_header,
)
from monitor.model.golden import Golden, difference, golden_vector
from monitor.model.networks.build import Network, build_network
from monitor.spec import ModelSpec

__all__ = [
    "ModelCard",
    "Thresholds",
    "TrainedModel",
    "load_model",
    "read_card",
    "save_model",
]

_WEIGHTS = "network."
_GOLDEN = "golden."


@dataclass(frozen=True)
class TrainedModel:
    """A network with its weights, what it expects and what is known of it."""

    network: Network
    spec: ModelSpec
    card: ModelCard
    golden: Golden | None = None
    """As the model file has it; None: it comes from no file."""

    @property
    def temperatures(self) -> Tensor:
        """(labels,): what the logits of each label are divided by."""
        card = self.card
        return torch.tensor(
            [card.temperatures.get(label, 1.0) for label in card.labels]
        )


def save_model(
    path: str | PathLike[str], model: TrainedModel, *, half: bool = False
) -> None:
    """Write a model file: beside it first, then renamed, so that it is always whole.

    Args:
        path: Written over if it exists.
        model: In training or not, on any compute device; stays as it is.
        half: Store the weights in 16 bits, half the size.

    Raises:
        ModelFileError: It cannot be written, or a weight is not finite.
    """
    stored = {
        _WEIGHTS + name: _storable(value, half)
        for name, value in model.network.state_dict().items()
    }
    broken = _not_finite(stored)
    if broken:
        raise ModelFileError(
            f"{path}: not saved, because {broken} holds numbers that are not finite"
        )
    # What is loaded is what was stored, rounding included.
    rounded = build_network(model.card.preset, model.spec, len(model.card.labels))
    rounded.load_state_dict(_without_prefix(stored, _WEIGHTS))
    golden = golden_vector(rounded, model.spec, model.temperatures)
    card = model.card.model_copy(update={"total_stride": rounded.total_stride})
    for name, value in golden._asdict().items():
        stored[_GOLDEN + name] = value.contiguous()
    metadata = {
        "format": FORMAT,
        "spec": model.spec.model_dump_json(),
        "card": card.model_dump_json(),
    }
    _write(Path(path), to_bytes(stored, metadata))


def load_model(path: ModelPath) -> TrainedModel:
    """Read a model file and check that it computes here what it did where it was saved.

    Args:
        path: The file; None is the model that comes with the program.

    Returns:
        The model on the CPU, in evaluation mode.

    Raises:
        ModelFileError: The file is missing, foreign or damaged, or front end or network
            give other numbers here.
    """
    with open_model_file(path) as (file, origin):
        header = read_header(file, origin)
        spec, card = describe(header, origin)
        try:
            network = build_network(card.preset, spec, len(card.labels))
            _compare_shapes(header, network, origin)
            tensors = _read_tensors(file, origin)
            network.load_state_dict(_without_prefix(tensors, _WEIGHTS))
            stored = Golden(**_without_prefix(tensors, _GOLDEN))
            model = TrainedModel(network.eval(), spec, card, stored)
            golden = golden_vector(network, spec, model.temperatures)
        except UsageError as error:
            raise ModelFileError(f"{origin}: {error}") from error
        except RuntimeError as error:
            # Of torch: a header that says two things of a tensor, or too little memory.
            reason = str(error).partition("\n")[0]
            raise ModelFileError(
                f"{origin}: cannot be computed ({reason:.200})"
            ) from error
    if card.total_stride != network.total_stride:
        raise ModelFileError(
            f"{origin}: card: total_stride: {card.total_stride} is not that of the "
            f"network {card.preset}, {network.total_stride}"
        )
    fault = difference(golden, stored._asdict())
    if fault:
        raise ModelFileError(
            f"{origin}: gives other numbers here than where it was saved ({fault}); "
            "use the versions of torch, torchaudio and this program it was saved with"
        )
    return model


def _storable(value: Tensor, half: bool) -> Tensor:
    if value.is_floating_point():
        value = value.to(torch.float16 if half else torch.float32)
    return value.detach().cpu().contiguous().clone()


def _compare_shapes(header: Header, network: Network, origin: str) -> None:
    """Refuse tensors that are missing, foreign or not as the network has them."""
    expected: dict[str, tuple[tuple[int, ...] | None, tuple[str, ...]]]
    expected = {_GOLDEN + name: (None, ("F32",)) for name in Golden._fields}
    for name, value in network.state_dict().items():
        types = ("F32", "F16") if value.is_floating_point() else ("I64",)
        expected[_WEIGHTS + name] = (tuple(value.shape), types)
    missing = sorted(expected.keys() - header.tensors.keys())
    foreign = sorted(header.tensors.keys() - expected.keys())
    if missing or foreign:
        what, name = ("lacks", missing[0]) if missing else ("has", foreign[0])
        raise ModelFileError(
            f"{origin}: {what} the tensor {name!r:.80}, unlike a network as its card "
            "describes it"
        )
    for name, (shape, allowed) in expected.items():
        entry = header.tensors[name]
        if entry.dtype not in allowed or shape not in (None, entry.shape):
            raise ModelFileError(
                f"{origin}: the tensor {name} is {entry.dtype!r:.20} {entry.shape}; by "
                f"its card {' or '.join(allowed)} {'' if shape is None else shape}"
            )


def _read_tensors(file: BinaryIO, origin: str) -> dict[str, Tensor]:
    file.seek(0)
    try:
        tensors = tensors_of(file.read())
    except SafetensorError as error:
        raise ModelFileError(f"{origin}: is damaged ({error!s:.200})") from error
    broken = _not_finite(tensors)
    if broken:
        raise ModelFileError(f"{origin}: {broken} holds numbers that are not finite")
    return tensors


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with a number that is not finite."""
    broken = (name for name, value in tensors.items() if not value.isfinite().all())
    return next(broken, None)


def _without_prefix(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _write(path: Path, content: bytes) -> None:
    beside = path.with_name(f".{path.name}.{token_hex(4)}")
    try:
        try:
            with beside.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(f"{path}: cannot be written ({reason})") from error


def _sync_folder(folder: Path) -> None:
    """Make a rename outlive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
