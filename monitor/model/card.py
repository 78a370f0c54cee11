"""The metadata of a model file: input format, labels, thresholds, test report.

Readable without torch, so that `check` and `model` start quickly.  A model file may
come from anybody: the sizes of file and header are bounded before anything is parsed.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike, fspath
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    model_validator,
)
from safetensors import SafetensorError, safe_open

from monitor.errors import ModelFileError
from monitor.model.catalogue import CatalogueEntry
from monitor.model.thresholds import CardPart, Thresholds
from monitor.spec import ModelSpec
from monitor.text import name_problem, printable

INCLUDED = ("urban", "world")
"""Models that come with the program, in monitor/model/weights, the default first."""

FORMAT = "sound-monitor model 1"
"""Value of the metadata key `format`."""

MAX_FILE_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 2**20
"""Parsed, a header takes a hundred times its size in memory."""

TAUGHT_MODEL = "world"
"""The included model that labels are taught on: it knows most sounds."""

ModelPath = str | PathLike[str] | None
"""A model file, or the name of an included model; None is the default one."""


def _checked_name(text: str) -> str:
    if (problem := name_problem(text)) is not None:
        raise ValueError(f"cannot be a name: {problem}")
    return text


Name = Annotated[str, AfterValidator(_checked_name)]

_Part = TypeVar("_Part", bound=BaseModel)


class ModelCard(CardPart):
    """The identity of a model, its training and its test results."""

    name: Name
    """Name in records."""

    preset: Name
    """The network, a key of `monitor.model.networks.PRESETS`."""

    labels: Annotated[tuple[Name, ...], Field(min_length=1, max_length=1000)]
    """Label of each class, in the order of the scores."""

    total_stride: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Frames from one column of the activity to the next.  Set from the network when
    the model is saved."""

    hop_stride: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Hops are multiples of so many frames; None: of `total_stride`."""

    catalogue: Annotated[dict[Name, CatalogueEntry], Field(max_length=1000)] = Field(
        default_factory=dict
    )
    """Labels that people ask for, made of the classes; empty: they are the labels."""

    thresholds: dict[str, Thresholds] = Field(default_factory=dict)
    """Thresholds by label; others take those of their detection preset."""

    temperatures: dict[str, Annotated[float, Field(ge=0.01, le=100)]] = Field(
        default_factory=dict
    )
    """Divisor of the logits before the sigmoid, by label; default 1."""

    report: dict[str, Any] = Field(default_factory=dict)
    """Results of the model's test."""

    licence: Annotated[str, Field(max_length=10_000)] = ""
    """Terms of use that follow from the licence of the training data."""

    created: Annotated[str, Field(max_length=100)] = ""
    """Time of training, ISO 8601 in UTC."""

    training: dict[str, Any] = Field(default_factory=dict)
    """Training settings."""

    @model_validator(mode="after")
    def _labels_are_consistent(self) -> "ModelCard":
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: two of them are the same")
        named = {"thresholds": {*self.labels, *self.catalogue}}
        for key in ("thresholds", "temperatures"):
            unknown = sorted(set(getattr(self, key)) - named.get(key, {*self.labels}))
            if unknown:
                raise ValueError(f"{key}: {unknown[0]!r} is not one of the labels")
        return self

    @model_validator(mode="after")
    def _catalogue_is_consistent(self) -> "ModelCard":
        for label, entry in self.catalogue.items():
            unknown = sorted({*entry.classes} - {*self.labels})
            if unknown:
                raise ValueError(
                    f"catalogue.{label}: {unknown[0]!r:.80} is not one of the labels"
                )
            group = self.catalogue.get(entry.group) if entry.group else None
            if entry.group and (group is None or group.group is not None):
                raise ValueError(
                    f"catalogue.{label}.group: {entry.group!r} is not a label of its "
                    "own"
                )
        return self

    @property
    def presets(self) -> dict[str, str]:
        """Detection presets of the catalogue, by label."""
        return {label: entry.preset for label, entry in self.catalogue.items()}

    @property
    def hop_frames_step(self) -> int:
        """Hops are multiples of so many frames."""
        return self.hop_stride or self.total_stride


class Description(NamedTuple):
    """The two documents in the metadata of a model file."""

    spec: ModelSpec
    card: ModelCard


class OpenModelFile(NamedTuple):
    """A model file whose header has been parsed; tensors are read on request."""

    tensors: Any
    """A `safe_open`, which has no types."""

    description: Description
    origin: str
    """Name of the file in errors."""


def read_card(path: ModelPath) -> Description:
    """Read spec and card of a model file.

    Reads no weights: `load_model` may still reject the file.

    Raises:
        ModelFileError: The file is missing, foreign or damaged.
    """
    with open_model_file(path) as file:
        return file.description


def has_graph(path: ModelPath) -> bool:
    """Return True if the file has a graph for ONNX Runtime, whatever is in it.

    Raises:
        ModelFileError: As `read_card`.
    """
    with open_model_file(path) as file:
        names: list[str] = file.tensors.keys()
    return {"graph.mono", "graph.scores"} <= set(names)


def model_digest(path: ModelPath) -> str:
    """SHA-256 of a model file, which identifies its content.

    Raises:
        ModelFileError: The file cannot be read.
    """
    with _readable(path) as (found, _), found.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def open_model_file(path: ModelPath) -> Iterator[OpenModelFile]:
    """Open a model file for reading and parse its metadata.

    Raises:
        ModelFileError: The file is missing, unreadable, too large, not a model file, or
            its metadata breaks a rule.
    """
    with _readable(path) as (found, origin):
        with found.open("rb") as file:
            if int.from_bytes(file.read(8), "little") > MAX_HEADER_BYTES:
                raise ModelFileError(f"{origin}: is not a safetensors file")
        try:
            # A memory map would crash the process if the file shrank meanwhile.
            with safe_open(found, framework="numpy", backend="pread") as tensors:
                yield OpenModelFile(tensors, _describe(tensors, origin), origin)
        except SafetensorError as error:
            reason = printable(str(error))
            raise ModelFileError(
                f"{origin}: is not a safetensors file or is damaged ({reason:.200})"
            ) from error


@contextmanager
def _readable(path: ModelPath) -> Iterator[tuple[Path, str]]:
    """Locate a model file of acceptable size; yield its path and name in errors."""
    name = INCLUDED[0] if path is None else fspath(path)
    if name in INCLUDED:
        found = Path(__file__).parent / "weights" / f"{name}.safetensors"
        origin = f"the included model {name}"
    else:
        found, origin = Path(name), name
    try:
        if not found.exists():
            hint = "" if found.suffix else f"; {' and '.join(INCLUDED)} are included"
            raise ModelFileError(f"{origin}: there is no such model file{hint}")
        if not found.is_file():  # reading a pipe or a device would never end
            raise ModelFileError(f"{origin}: is not a file")
        size = found.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelFileError(
                f"{origin}: has {size / 2**20:.0f} MiB; a model file has at most "
                f"{MAX_FILE_BYTES // 2**20}"
            )
        yield found, origin
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(f"{origin}: cannot be read ({reason})") from error


def _describe(tensors: Any, origin: str) -> Description:
    metadata = tensors.metadata() or {}
    if metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{origin}: is a safetensors file, but not a model of this program "
            f"(its format is {metadata.get('format', 'not given')!r:.40}, "
            f"not {FORMAT!r})"
        )
    spec = _parse(metadata, "spec", ModelSpec, origin)
    return Description(spec, _parse(metadata, "card", ModelCard, origin))


def _parse(metadata: dict[str, str], key: str, kind: type[_Part], origin: str) -> _Part:
    try:
        return kind.model_validate_json(metadata.get(key, ""))
    except ValidationError as error:
        raise ModelFileError(f"{origin}: {key}: {first_fault(error)}") from error


def first_fault(error: ValidationError) -> str:
    """The first broken rule, as `key: rule, not value`."""
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"])[:100]
    if not place.isprintable():  # a foreign key goes to the terminal
        place = ascii(place)[1:-1]
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] != "json_invalid" and isinstance(
        fault["input"], int | float | str
    ):
        message += f", not {fault['input']!a:.60}"
    return f"{place}: {message}" if place else message
