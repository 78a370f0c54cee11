"""Settings and their explanations, as config.yaml and train.yaml show them."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from textwrap import dedent
from typing import get_args

from pydantic import BaseModel

from monitor.config.strict_yaml import KeyPath


def settings(
    kind: type[BaseModel], values: BaseModel | None, at: KeyPath
) -> Iterator[tuple[KeyPath, str, object]]:
    """Path, explanation and default of every setting in a section."""
    for name in kind.model_fields:
        default = getattr(values, name) if values is not None else None
        if isinstance(default, BaseModel):
            yield from settings(type(default), default, (*at, name))
        yield (*at, name), explanation(kind, name), default


def explanation(section: type[BaseModel], name: str) -> str:
    """Explanation of a setting; a section is explained by its class."""
    for kind in section.__mro__:
        if text := _docstrings(kind).get(name):
            return text
    annotation = section.model_fields[name].annotation
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return (kind.__doc__ or "").splitlines()[0]
    return ""


@cache
def _docstrings(kind: type) -> dict[str, str]:
    """Read the docstrings of attributes; the program itself does without them."""
    if not kind.__module__.startswith(("monitor.", "training.")):
        return {}
    tree = ast.parse(dedent(inspect.getsource(kind)))
    assert isinstance(tree.body[0], ast.ClassDef)
    return {
        attribute.target.id: inspect.cleandoc(text.value.value)
        for attribute, text in pairwise(tree.body[0].body)
        if isinstance(attribute, ast.AnnAssign)
        and isinstance(attribute.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def explanation_above(lines: list[str], number: int) -> str:
    """The comment that ends above line `number`, from 1, as one line."""
    found: list[str] = []
    for line in reversed(lines[: number - 1]):
        if not line.strip().startswith("# "):
            break
        found.insert(0, line.strip().removeprefix("# "))
    return " ".join(found)
