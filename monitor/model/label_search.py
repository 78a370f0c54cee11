"""The search among the labels that models offer, by name, sentence and class."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitor.model.card import ModelCard
from monitor.model.catalogue import CatalogueEntry, default_labels, members_of
from monitor.model.thresholds import CurvePoint, Thresholds


@dataclass(frozen=True, slots=True)
class OfferedLabel:
    """A label that can be chosen, and what its model says of it."""

    name: str
    model: str
    """As it is written in the setting `models`."""

    is_listed: bool
    """It is in a catalogue, or its model has none; else it is a class of the network
    under its own name."""

    is_default: bool
    """Reported if no label is chosen."""

    entry: CatalogueEntry | None
    """None: it is not in a catalogue."""

    members: tuple[str, ...]
    """Labels that it reports as one."""

    inside: tuple[str, ...]
    """Of a class, the labels of the catalogue that are made of it and of others."""

    thresholds: Thresholds | None

    @property
    def group(self) -> str | None:
        """Label that reports it together with others."""
        return None if self.entry is None else self.entry.group

    @property
    def text(self) -> str:
        """A sentence on what it is; empty: there is none."""
        return "" if self.entry is None else self.entry.text

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the network that it is made of."""
        return (self.name,) if self.entry is None else self.entry.classes

    @property
    def expected(self) -> CurvePoint | None:
        """Figures at sensitivity 0.5; None: none were measured."""
        found = self.thresholds
        return None if found is None else found.expected_at(found.onset)

    @property
    def is_measured(self) -> bool:
        """Whether any recordings show how much of it is detected."""
        point = self.expected
        return (self.entry is not None and self.entry.figures is not None) or (
            point is not None
            and (point.detected_near is not None or point.detected_far is not None)
        )

    def facts(self) -> dict[str, Any]:
        """Everything as values of JSON."""
        found, point, entry = self.thresholds, self.expected, self.entry
        figures = None if entry is None else entry.figures
        return {
            "label": self.name,
            "model": self.model,
            "listed": self.is_listed,
            "default": self.is_default,
            "group": self.group,
            "members": list(self.members),
            "text": self.text,
            "classes": list(self.classes),
            "inside": list(self.inside),
            "preset": None if entry is None else entry.preset,
            "onset": None if found is None else found.onset,
            "offset": None if found is None else found.offset,
            "measured": self.is_measured,
            "expected": None if point is None else point.model_dump(),
            "figures": None if figures is None else figures.model_dump(),
        }


def offered_labels(cards: Mapping[str, ModelCard]) -> list[OfferedLabel]:
    """Return all labels that can be chosen: each group with its members behind it.

    Args:
        cards: By the name of each model in the setting `models`.
    """
    return [
        OfferedLabel(
            name=label,
            model=model,
            is_listed=not card.catalogue or label in card.catalogue,
            is_default=label in default_labels(card),
            entry=card.catalogue.get(label),
            members=members_of(card, label),
            inside=_inside(card, label),
            thresholds=card.thresholds.get(label),
        )
        for model, card in cards.items()
        for label in _in_order(card)
    ]


def _in_order(card: ModelCard) -> Iterable[str]:
    for label, entry in card.catalogue.items():
        if entry.group is None:
            yield label
            yield from members_of(card, label)
    yield from (label for label in card.labels if label not in card.catalogue)


def _inside(card: ModelCard, label: str) -> tuple[str, ...]:
    entries = {} if label in card.catalogue else card.catalogue
    return tuple(name for name, entry in entries.items() if label in entry.classes)


def named(word: str, labels: Sequence[OfferedLabel]) -> list[OfferedLabel]:
    """Return the labels of this name, one for each model that has it."""
    name = re.sub(r"[\s-]+", "_", word.strip().lower())
    return [each for each in labels if each.name.lower() == name]


def search(word: str, labels: Sequence[OfferedLabel]) -> list[OfferedLabel]:
    """Return the labels in whose name, sentence or classes a word begins with `word`.

    If there is none, those in which it stands anywhere.
    """
    if not (wanted := _plain(word)):
        return []
    at_start = [each for each in labels if f" {wanted}" in f" {_words_of(each)}"]
    return at_start or [each for each in labels if wanted in _words_of(each)]


def _words_of(label: OfferedLabel) -> str:
    return _plain(" ".join((label.name, label.text, *label.classes)))


def _plain(text: str) -> str:
    return " ".join(re.split(r"\W+|_", text.lower())).strip()
