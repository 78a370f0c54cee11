"""The labels that can be chosen, as the models name them, and their colours.

`labels.json` has those of the included models: to read their files takes more memory
than the whole page may.
"""

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import NamedTuple

from monitor.web.rendering import FOLDER, LANGUAGES, strings

RANKS = 10
"""Number of the colours of labels; style.css has them."""


class KnownLabel(NamedTuple):
    """A label of a model."""

    label: str
    group: str | None
    """Label that reports it together with others."""

    text: str
    """A sentence on what it is, in English; empty: none."""


@cache
def known_labels() -> Sequence[KnownLabel]:
    """Return the labels of the included models."""
    text = (FOLDER / "labels.json").read_text(encoding="utf-8")
    return tuple(KnownLabel(*each) for each in json.loads(text))


def label_rank(label: str) -> int:
    """Return which of the ten colours a label has, on every page and for good.

    It is the place among the labels that have a name; strings.js says the same.
    """
    place = _named_labels().get(label, sum(label.encode()))
    return place % RANKS


@cache
def _named_labels() -> Mapping[str, int]:
    """Return the labels that have a name, in the order of the models."""
    keys = (key.partition(".") for key in strings(LANGUAGES[0]))
    names = [label for section, _, label in keys if section == "labels"]
    return {label: place for place, label in enumerate(names)}
