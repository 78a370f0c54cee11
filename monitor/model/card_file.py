"""Small safetensors files that lie beside a model: tensors, and a card about them.

The card is their only metadata: safetensors writes several keys in any order, and equal
content shall be equal bytes.  Such a file may come from anybody: the sizes of file and
header are bounded before anything is parsed.
"""

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from monitor.errors import ModelFileError
from monitor.model.card import first_fault
from monitor.model.thresholds import CardPart
from monitor.text import path_text, printable

MAX_BYTES = 2**20
MAX_HEADER_BYTES = 2**17
"""Parsed, a header takes a hundred times its size in memory."""

Tensors = dict[str, NDArray[Any]]

_Card = TypeVar("_Card", bound=CardPart)


def read_card_file(path: Path, key: str, kind: type[_Card]) -> tuple[_Card, Tensors]:
    """Read a file whose card is of one kind.

    Args:
        path: The file.
        key: Its only metadata key, which names the kind of file.
        kind: Class of the card.

    Raises:
        ModelFileError: It is missing, too large, damaged, or of another kind.
    """
    origin = printable(path_text(path))
    content = _read(path, origin)
    length = int.from_bytes(content[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(content) - 8):
        raise ModelFileError(f"{origin}: is not a safetensors file")
    try:
        tensors: Tensors = from_bytes(content)
        card = _metadata(content[8 : 8 + length]).get(key)
    except (SafetensorError, ValueError, KeyError, TypeError, RecursionError) as error:
        reason = printable(str(error))
        raise ModelFileError(
            f"{origin}: is not a safetensors file or is damaged ({reason:.200})"
        ) from None
    if not isinstance(card, str):
        raise ModelFileError(f"{origin}: is a safetensors file, but no {key}")
    try:
        return kind.model_validate_json(card), tensors
    except ValidationError as error:
        raise ModelFileError(f"{origin}: {first_fault(error)}") from None


def card_file_bytes(key: str, card: CardPart, tensors: Mapping[str, Any]) -> bytes:
    """Return the content of a file: the same card and tensors give the same bytes."""
    # safetensors writes the memory of an array, whatever its strides.
    whole = {name: np.array(tensors[name], order="C") for name in sorted(tensors)}
    content: bytes = to_bytes(whole, {key: card.model_dump_json()})
    return content


def write_card_file(
    path: Path, key: str, card: CardPart, tensors: Mapping[str, Any]
) -> None:
    """Write a file, in a folder that is made if need be.

    Raises:
        ModelFileError: It cannot be written, or is too large to be read again.
    """
    content = card_file_bytes(key, card, tensors)
    if int.from_bytes(content[:8], "little") > MAX_HEADER_BYTES:
        raise ModelFileError(f"{path}: not saved: its card is too large to be read")
    if len(content) > MAX_BYTES:
        raise ModelFileError(
            f"{path}: not saved: it would have {len(content)} bytes, and at most "
            f"{MAX_BYTES} are read"
        )
    with contextlib.suppress(OSError):  # which the writing will say
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_whole(path, content)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file beside `path` and rename it, so that it is always complete.

    Raises:
        ModelFileError: It cannot be written.
    """
    beside = path.with_name(f".{token_hex(8)}.new")
    try:
        with beside.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)
        reason = error.strerror or str(error)
        raise ModelFileError(
            f"{printable(path_text(path))}: cannot be written ({reason})"
        ) from error


def tensor(
    tensors: Tensors,
    name: str,
    kind: str,
    shape: tuple[int | None, ...],
    origin: object,
) -> NDArray[Any]:
    """Return one tensor of a file.

    Args:
        tensors: Those of the file.
        name: Name of the tensor.
        kind: Its dtype, as numpy names it.
        shape: Its shape; None: any size.
        origin: Name of the file in errors.

    Raises:
        ModelFileError: It is missing, of another type or shape, or not finite.
    """
    found = tensors.get(name)
    if found is None:
        raise ModelFileError(f"{origin}: lacks the tensor {name!r}")
    fits = found.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, found.shape, strict=True)
    )
    if found.dtype != kind or not fits:
        raise ModelFileError(
            f"{origin}: {name} is {found.dtype} of shape {found.shape}, not {kind} of "
            f"{shape}".replace("None", "any")
        )
    if not np.isfinite(found).all():
        raise ModelFileError(f"{origin}: {name} holds numbers that are not finite")
    return found


def _read(path: Path, origin: str) -> bytes:
    try:
        if not path.exists():
            raise ModelFileError(f"{origin}: there is no such file")
        if not path.is_file():  # reading a pipe or a device would never end
            raise ModelFileError(f"{origin}: is not a file")
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ModelFileError(f"{origin}: cannot be read ({reason})") from None
    if len(content) > MAX_BYTES:
        raise ModelFileError(f"{origin}: has more than {MAX_BYTES} bytes")
    return content


def _metadata(header: bytes) -> dict[str, object]:
    found = json.loads(header).get("__metadata__")
    return found if isinstance(found, dict) else {}
