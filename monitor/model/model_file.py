"""The model file: one safetensors file with everything that monitoring needs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save as to_bytes

from monitor.errors import ModelFileError, UsageError
from monitor.model.card import (
    FORMAT,
    MAX_FILE_BYTES,
    MAX_HEADER_BYTES,
    ModelCard,
    ModelPath,
    OpenModelFile,
    open_model_file,
    read_card,
)
from monitor.model.card_file import write_whole
from monitor.model.engines import Engine, EngineError, WindowHistory, WindowPlace
from monitor.model.golden import Golden, difference, golden_vector
from monitor.spec import ModelSpec

__all__ = [
    "Model",
    "ModelCard",
    "load_model",
    "read_card",
    "write_model",
]

Arrays = Mapping[str, NDArray[Any]]

_WEIGHTS = "network."
_GOLDEN = "golden."
_GRAPH = "graph."
_GRAPHS = {1: "mono", 2: "stereo"}
_SCORES = "scores"


@dataclass(frozen=True)
class Model:
    """The content of a model file."""

    spec: ModelSpec
    card: ModelCard
    golden: Golden
    """Features and scores of the golden signal where the model was saved."""

    weights: Arrays = field(repr=False)
    """Weights of the network by name, for torch."""

    graphs: Mapping[int, bytes] = field(repr=False)
    """ONNX graphs from log-mel to maps, by their number of channels.

    A network that begins with the mean of the channels has one, for one channel.
    """

    score_graph: bytes = field(default=b"", repr=False)
    """The ONNX graph from maps to scores."""

    origin: str = "the model"
    """Name of the file in errors."""

    @property
    def temperatures(self) -> NDArray[np.float32]:
        """Divisors of the logits, shape (labels,)."""
        card = self.card
        divisors = [card.temperatures.get(label, 1.0) for label in card.labels]
        return np.array(divisors, np.float32)

    @cached_property
    def network_digest(self) -> str:
        """SHA-256 of what the embedding depends on: the spec and the graphs.

        Other thresholds, as of `calibrate`, leave it as it is.
        """
        spec = self.spec.model_dump_json(exclude_none=True)
        digest = hashlib.sha256(spec.encode())
        for _, graph in sorted(self.graphs.items()):
            digest.update(hashlib.sha256(graph).digest())
        digest.update(hashlib.sha256(self.score_graph).digest())
        return digest.hexdigest()


def write_model(path: Path, model: Model) -> None:
    """Write a model file beside `path` and rename it, so that it is always complete.

    Raises:
        ModelFileError: It cannot be written, or is too large to be read again.
    """
    arrays = {_WEIGHTS + name: value for name, value in model.weights.items()}
    for name, array in model.golden._asdict().items():
        if array is not None:
            arrays[_GOLDEN + name] = array
    for channels, graph in model.graphs.items():
        arrays[_GRAPH + _GRAPHS[channels]] = np.frombuffer(graph, np.uint8)
    if model.score_graph:
        arrays[_GRAPH + _SCORES] = np.frombuffer(model.score_graph, np.uint8)
    metadata = {
        "format": FORMAT,
        "spec": model.spec.model_dump_json(exclude_none=True),
        "card": model.card.model_dump_json(),
    }
    # safetensors writes the memory of an array, whatever its strides.
    whole = {name: np.array(value, order="C") for name, value in arrays.items()}
    content = to_bytes(whole, metadata)
    header = int.from_bytes(content[:8], "little")
    if header > MAX_HEADER_BYTES or len(content) > MAX_FILE_BYTES:
        raise ModelFileError(
            f"{path}: not saved, because it could not be read: labels, figures and "
            f"settings take {header} bytes, of at most {MAX_HEADER_BYTES}, and the "
            f"file {len(content)}, of at most {MAX_FILE_BYTES}"
        )
    write_whole(path, content)


def load_model(path: ModelPath) -> Model:
    """Read a model file; None: the shipped one.

    An engine that uses it verifies its golden vector; see `Classifier`.

    Raises:
        ModelFileError: The file is missing, foreign or damaged.
    """
    with open_model_file(path) as file:
        spec, card = file.description
        arrays = {name: _tensor(file, name) for name in sorted(file.tensors.keys())}
        if broken := not_finite(arrays):
            raise ModelFileError(
                f"{file.origin}: {broken} holds numbers that are not finite"
            )
        golden = _without_prefix(arrays, _GOLDEN)
        expected = set(Golden._fields)
        if spec.background is None:
            expected -= Golden._field_defaults.keys()
        for name in sorted(golden.keys() ^ expected):
            raise ModelFileError(
                f"{file.origin}: {'has' if name in golden else 'lacks'} the tensor "
                f"{_GOLDEN + name!r:.80}"
            )
        graphs = _without_prefix(arrays, _GRAPH)
        return Model(
            spec,
            card,
            Golden(**golden),
            _without_prefix(arrays, _WEIGHTS),
            {
                channels: graphs[name].tobytes()
                for channels, name in _GRAPHS.items()
                if name in graphs
            },
            graphs[_SCORES].tobytes() if _SCORES in graphs else b"",
            file.origin,
        )


def check_golden(model: Model, engine: Engine) -> None:
    """Compare the golden vector of an engine with that of the file.

    Raises:
        ModelFileError: Front end or network compute other numbers than where the model
            was saved.
    """
    try:
        computed = golden_vector(engine, model.spec)
        fault = (
            difference(computed, model.golden)
            or _mono_fault(engine, computed)
            or _stream_fault(engine, computed, model.card.total_stride)
        )
    except (UsageError, EngineError) as error:
        raise ModelFileError(f"{model.origin}: {error}") from error
    if fault:
        raise ModelFileError(
            f"{model.origin}: gives other numbers here than where it was saved "
            f"({fault}); use the version of this program that it was saved with"
        )


def _mono_fault(engine: Engine, computed: Golden) -> str | None:
    """Compare one channel with two equal ones; their graphs may be apart."""
    mono = computed.log_mel[None, :1]
    one, two = (
        Golden(computed.log_mel, *(each[0] for each in engine.run(windows)[:2]))
        for windows in (mono, np.repeat(mono, len(computed.log_mel), axis=1))
    )
    fault = difference(one, two)
    return None if fault is None else f"one channel: {fault}"


def _stream_fault(engine: Engine, computed: Golden, shift: int) -> str | None:
    """Compare a window that follows another one with the same window alone."""
    window, history = computed.log_mel[None], WindowHistory()
    engine.run(np.roll(window, shift, axis=-1), [WindowPlace(history, 0)])
    following = engine.run(window, [WindowPlace(history, shift)])
    here = Golden(computed.log_mel, *(each[0] for each in following[:2]))
    fault = difference(here, computed)
    return None if fault is None else f"a window after another: {fault}"


_DTYPES = {_WEIGHTS: ("F32", "F16", "I64"), _GOLDEN: ("F32",), _GRAPH: ("U8",)}


def _tensor(file: OpenModelFile, name: str) -> NDArray[Any]:
    dtype = file.tensors.get_slice(name).get_dtype()
    prefix = next((each for each in _DTYPES if name.startswith(each)), None)
    if prefix is None or dtype not in _DTYPES[prefix]:
        raise ModelFileError(
            f"{file.origin}: has the tensor {name!r:.80} of type {dtype}, which no "
            "model of this program has"
        )
    array: NDArray[Any] = file.tensors.get_tensor(name)
    return array


def not_finite(arrays: Arrays) -> str | None:
    """Name of the first array with a number that is not finite."""
    broken = (name for name, value in arrays.items() if not np.isfinite(value).all())
    return next(broken, None)


def _without_prefix(arrays: Arrays, prefix: str) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): value
        for name, value in arrays.items()
        if name.startswith(prefix)
    }
