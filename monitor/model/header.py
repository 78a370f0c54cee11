"""The head of a model file: what a safetensors file says of itself, as JSON.

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
from typing import Any, BinaryIO, NamedTuple, NoReturn

from pydantic import BaseModel, Field, NonNegativeInt, TypeAdapter, ValidationError

from monitor.errors import ModelFileError

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
