"""What a model file says of its model, readable without torch.

The head of a model file: what a safetensors file says of itself, as JSON.

Read by hand, because `check` must not wait for torch, and because a hostile file must
not make us read or build more than we decide here.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.resources import as_file, files
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple, NoReturn, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from monitor.errors import ModelFileError
from monitor.spec import ModelSpec

SHIPPED = "urban.safetensors"
"""The model that comes with the program, in monitor/model/weights."""

MAX_FILE_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 2**20

_DEEPEST = 20
_TOO_DEEP = "is nested too deeply"

ModelPath = str | PathLike[str] | None
"""A model file; None is the one that comes with the program."""


class TensorEntry(BaseModel):
    """Type and shape of one tensor of the file."""

    dtype: str
    shape: tuple[NonNegativeInt, ...] = Field(max_length=8)


class Header(NamedTuple):
    """Everything of a model file but its numbers."""

    metadata: Mapping[str, str]
    tensors: Mapping[str, TensorEntry]


@contextmanager
def open_model_file(path: ModelPath) -> Iterator[tuple[BinaryIO, str]]:
    """Open a model file for reading; give it with the name that errors call it.

    Raises:
        ModelFileError: It does not exist, is no file, is too large or unreadable.
    """
    if path is None:
        with as_file(files("monitor.model") / "weights" / SHIPPED) as shipped:
            yield from _opened(shipped, f"the model of the program ({SHIPPED})")
    else:
        yield from _opened(Path(path), str(path))


def _opened(path: Path, origin: str) -> Iterator[tuple[BinaryIO, str]]:
    try:
        if not path.exists():
            raise ModelFileError(f"{origin}: there is no such model file")
        if not path.is_file():  # reading a pipe or a device would never end
            raise ModelFileError(f"{origin}: is not a file")
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise ModelFileError(
                f"{origin}: has {size / 2**20:.0f} MiB; a model file has at most "
                f"{MAX_FILE_BYTES // 2**20}"
            )
        with path.open("rb") as file:
            yield file, origin
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModelFileError(f"{origin}: cannot be read ({reason})") from error


def read_header(file: BinaryIO, origin: str) -> Header:
    """Read the header of a safetensors file: its length in 8 bytes, then JSON.

    Raises:
        ModelFileError: It is not a safetensors file, or its header is absurdly long.
    """
    length = int.from_bytes(file.read(8), "little")
    if length > MAX_HEADER_BYTES:
        _refuse(origin)
    content = file.read(length)
    if len(content) < max(length, 2):
        _refuse(origin)
    try:
        header = json.loads(content)
        metadata = TypeAdapter(dict[str, str]).validate_python(
            header.pop("__metadata__", {})
        )
        tensors = TypeAdapter(dict[str, TensorEntry]).validate_python(header)
    except (ValueError, RecursionError, AttributeError, TypeError) as error:
        _refuse(origin, error)
    return Header(metadata, tensors)


def parse_json(text: str) -> Any:
    """Parse JSON of the metadata strictly: no NaN, no infinity, and not too deep.

    Raises:
        ValueError: It is not JSON, or nested beyond all reason.
    """
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error
    _refuse_depth(value)
    return value


def first_fault(error: ValidationError) -> str:
    """The first thing that pydantic found wrong, as `key: rule`."""
    fault = error.errors(include_url=False)[0]
    place = ".".join(str(part) for part in fault["loc"])[:100]
    if not place.isprintable():  # a foreign key goes to the terminal
        place = ascii(place)[1:-1]
    message = fault["msg"].removeprefix("Value error, ")
    if isinstance(fault["input"], int | float | str):
        message += f", not {fault['input']!a:.60}"
    return f"{place}: {message}" if place else message


def _refuse(origin: str, error: Exception | None = None) -> NoReturn:
    raise ModelFileError(f"{origin}: is not a safetensors file") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _refuse_depth(value: Any) -> None:
    """Refuse what would exhaust the stack of whoever walks through it."""
    level = [value]
    for _ in range(_DEEPEST):
        children = (
            parent.values() if isinstance(parent, dict) else parent
            for parent in level
            if isinstance(parent, dict | list)
        )
        level = list(chain.from_iterable(children))
        if not level:
            return
    raise ValueError(_TOO_DEEP)


FORMAT = "sound-monitor model 1"
"""Value of the metadata key `format`."""

Score = Annotated[float, Field(gt=0, lt=1)]
# These are printed: they must not carry control characters to a terminal.
Word = Annotated[str, Field(pattern=r"^\w[\w .+/-]*$", max_length=63)]

_Part = TypeVar("_Part", bound=BaseModel)


class _CardPart(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        allow_inf_nan=False,
    )


class Thresholds(_CardPart):
    """Where the scores of one label begin and end events, and what that costs."""

    onset: Score
    """Score at or above which the label may begin."""

    offset: Score
    """Score below which it may end."""

    false_alarms_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Measured at these thresholds on sounds of no label; null: not measured."""

    @model_validator(mode="after")
    def _are_ordered(self) -> "Thresholds":
        if self.offset > self.onset:
            raise ValueError(f"offset {self.offset} is above onset {self.onset}")
        return self


class ModelCard(_CardPart):
    """What a model is, how it was made and what it was measured to do."""

    name: Word
    """Name in records."""

    preset: Word
    """The network, by its name in `monitor.model.network.PRESETS`."""

    labels: Annotated[tuple[Word, ...], Field(min_length=1, max_length=1000)]
    """What the scores stand for, in their order."""

    total_stride: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Frames from one column of the activity to the next; hops are multiples of it.
    Written from the network when the model is saved."""

    thresholds: dict[str, Thresholds] = {}
    """By label; a label without them takes those of its detection preset."""

    temperatures: dict[str, Annotated[float, Field(ge=0.01, le=100)]] = {}
    """By label, 1 where there is none: logits are divided by it before the sigmoid."""

    report: dict[str, Any] = {}
    """What the test of the model measured."""

    licence: Annotated[str, Field(max_length=10_000)] = ""
    """Terms under which the training data lets the model be used."""

    created: Annotated[str, Field(max_length=100)] = ""
    """When it was made, ISO 8601 in UTC."""

    training: dict[str, Any] = {}
    """The settings of the training."""

    @model_validator(mode="after")
    def _labels_are_consistent(self) -> "ModelCard":
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: two of them are the same")
        for key in ("thresholds", "temperatures"):
            foreign = sorted(set(getattr(self, key)) - set(self.labels))
            if foreign:
                raise ValueError(f"{key}: {foreign[0]!r} is not one of the labels")
        return self


class Description(NamedTuple):
    """The two documents in the metadata of a model file."""

    spec: ModelSpec
    card: ModelCard


def read_card(path: ModelPath) -> Description:
    """Read spec and card of a model file; None is the one of the program.

    Imports no torch, and reads no weights: `load_model` may still refuse the file.

    Raises:
        ModelFileError: The file is missing, foreign or damaged.
    """
    with open_model_file(path) as (file, origin):
        return describe(read_header(file, origin), origin)


def describe(header: Header, origin: str) -> Description:
    """Spec and card of a model file's header.

    Raises:
        ModelFileError: It is not the header of a model file, or breaks a rule.
    """
    if header.metadata.get("format") != FORMAT:
        raise ModelFileError(
            f"{origin}: is a safetensors file, but not a model of this program "
            f"(its format is {header.metadata.get('format', 'not given')!r:.40}, "
            f"not {FORMAT!r})"
        )
    spec = _parse(header, "spec", ModelSpec, origin)
    return Description(spec, _parse(header, "card", ModelCard, origin))


def _parse(header: Header, key: str, kind: type[_Part], origin: str) -> _Part:
    try:
        return kind.model_validate(parse_json(header.metadata.get(key, "")))
    except ValidationError as error:
        fault = first_fault(error)
    except OverflowError:
        fault = "holds a number beyond all reason"
    except ValueError as error:
        fault = f"is not JSON ({error})"
    raise ModelFileError(f"{origin}: {key}: {fault}")
