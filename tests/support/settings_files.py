"""Settings and their explanations, as config.yaml and train.yaml show them."""

from collections.abc import Iterator

from pydantic import BaseModel

from monitor.config.load import KeyPath


def settings(
    kind: type[BaseModel], values: BaseModel | None, at: KeyPath
) -> Iterator[tuple[KeyPath, str, object]]:
    """Path, explanation and default of every setting in a section."""
    for name, field in kind.model_fields.items():
        default = getattr(values, name) if values is not None else None
        explanation = field.description
        if isinstance(default, BaseModel):
            explanation = explanation or (type(default).__doc__ or "").splitlines()[0]
            yield from settings(type(default), default, (*at, name))
        yield (*at, name), explanation or "", default


def explanation_above(lines: list[str], number: int) -> str:
    """The comment that ends above line `number`, from 1, as one line."""
    found: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.strip().startswith("# "):
            break
        found.insert(0, line.strip().removeprefix("# "))
    return " ".join(found)
