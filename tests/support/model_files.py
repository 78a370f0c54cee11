"""Model files that are changed byte by byte."""

import json
from collections.abc import Callable
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from monitor.model import model_file
from monitor.model.classifier import Classifier


def metadata_of(path: Path) -> dict[str, str]:
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return metadata


def rewrite(
    path: Path,
    tensors: Callable[[dict[str, Tensor]], None] = lambda tensors: None,
    metadata: Callable[[dict[str, str]], None] = lambda metadata: None,
) -> None:
    """Write `path` again with changed contents."""
    content, head = load_file(path), metadata_of(path)
    tensors(content)
    metadata(head)
    save_file(content, path, head)


def change(key: str, **fields: object) -> Callable[[dict[str, str]], None]:
    def apply(metadata: dict[str, str]) -> None:
        metadata[key] = json.dumps(json.loads(metadata[key]) | fields)

    return apply


def nested(depth: int) -> list[object]:
    """Lists in lists."""
    return [nested(depth - 1)] if depth else []


def open_model(path: Path) -> Classifier:
    return Classifier(model_file.load_model(path), "cpu")
