"""Settings and their explanations, as config.yaml and train.yaml show them."""

from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from monitor.config.load import KeyPath


def settings(
    kind: type[BaseModel], values: BaseModel | None, at: KeyPath
) -> Iterator[tuple[KeyPath, str, object]]:
    """Path, explanation and default of every setting in a section."""
    for name, field in kind.model_fields.items():
        default = getattr(values, name) if values is not None else None
        if isinstance(default, BaseModel):
            yield from settings(type(default), default, (*at, name))
        yield (*at, name), explanation(field), default


def explanation(field: FieldInfo) -> str:
    """Explanation of a setting; a section is explained by its class."""
    if field.description:
        return field.description
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return (kind.__doc__ or "").splitlines()[0]
    return ""


def explanation_above(lines: list[str], number: int) -> str:
    """The comment that ends above line `number`, from 1, as one line."""
    found: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.strip().startswith("# "):
            break
        found.insert(0, line.strip().removeprefix("# "))
    return " ".join(found)
