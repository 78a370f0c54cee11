"""The labels that models offer, and those that are chosen.

A model of many classes, such as AudioSet's 527, has a catalogue: labels that people ask
for, each of one or several classes, with what they mean.  Its other classes can be
chosen by their own names.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Annotated, Literal, Protocol

from pydantic import Field

from monitor.errors import ConfigError
from monitor.model.thresholds import CardPart, Share, Thresholds

if TYPE_CHECKING:
    from monitor.model.card import ModelCard

MOST_CLASSES = 64
"""Of one label."""

_NEAREST = 3
_SHOWN = 12


class ClipFigures(CardPart):
    """Figures of a label, measured on recordings that nothing was fitted to."""

    clips: Annotated[int, Field(ge=1)]
    """Clips with the label."""

    average_precision: Share
    """In clips, against clips without it; those that may have it are left out."""

    detected: Share
    """Share of the clips that reach the onset threshold."""


class CatalogueEntry(CardPart):
    """A label of a catalogue."""

    text: Annotated[str, Field(max_length=300)]
    """A sentence on what it is."""

    classes: Annotated[tuple[str, ...], Field(min_length=1, max_length=MOST_CLASSES)]
    """Classes of the network that it is made of; their odds are added."""

    preset: Literal["impulsive", "lasting"] = "lasting"
    """Rules of detection for its kind of sound."""

    group: Annotated[str, Field(max_length=63)] | None = None
    """Label under which it is reported together with others; None: it is one of those
    that are reported if none is chosen."""

    figures: ClipFigures | None = None
    """None: unmeasured."""


def known_labels(card: "ModelCard") -> tuple[str, ...]:
    """Names that can be chosen of a model: those of its catalogue first."""
    further = (label for label in card.labels if label not in card.catalogue)
    return (*card.catalogue, *further)


def default_labels(card: "ModelCard") -> tuple[str, ...]:
    """Names that a model reports if none is chosen."""
    entries = card.catalogue.items()
    return tuple(it for it, entry in entries if entry.group is None) or card.labels


def members_of(card: "ModelCard", group: str) -> tuple[str, ...]:
    """Labels that a label of the catalogue reports as one."""
    entries = card.catalogue.items()
    return tuple(label for label, entry in entries if entry.group == group)


@dataclass(frozen=True, slots=True)
class ScoredLabels:
    """Labels that one model scores."""

    labels: tuple[str, ...]
    """Those that were taught on it are the last."""

    classes: tuple[tuple[int, ...], ...]
    """For each of the others, the indices of its classes in the scores of the
    network."""

    @property
    def taught(self) -> tuple[str, ...]:
        """Labels that were taught on the model."""
        return self.labels[len(self.classes) :]

    def rivals(self) -> dict[str, tuple[str, ...]]:
        """By label, those that share no class with it: no group and no member of it.

        What was taught may be another name of a class: it has no rivals, and is none.
        """
        classes = {
            label: frozenset(own)
            for label, own in zip(self.labels, self.classes, strict=False)
        }
        found = {
            label: tuple(it for it, others in classes.items() if not own & others)
            for label, own in classes.items()
        }
        return found | dict.fromkeys(self.taught, ())


@dataclass(frozen=True, slots=True)
class LabelChoice:
    """The labels of a configuration."""

    scored: tuple[ScoredLabels, ...]
    """Of each model.  A label that several models know is scored by the first one."""

    reported: Mapping[str, tuple[str, ...]]
    """By source, the labels whose events are reported; the others are silent."""

    groups: Mapping[str, tuple[str, ...]]
    """By label of a catalogue, those that it reports as one."""

    @property
    def all_reported(self) -> tuple[str, ...]:
        """Labels that any source reports, in the order of the scores."""
        chosen = {label for labels in self.reported.values() for label in labels}
        return tuple(
            label
            for scored in self.scored
            for label in scored.labels
            if label in chosen
        )

    def expand(self, names: Iterable[str], key: str) -> tuple[str, ...]:
        """Replace groups by themselves and their labels, where these are reported.

        Args:
            names: Labels or groups.
            key: Of the setting, for errors.

        Raises:
            ConfigError: Some are not reported: a sentence in a line for each.
        """
        reported, found = self.all_reported, dict[str, None]()
        faults = []
        for name in names:
            members = (name, *self.groups.get(name, ()))
            labels = [it for it in members if it in reported]
            if not labels:
                faults.append(self._fault(name, key))
            found |= dict.fromkeys(labels)
        if faults:
            raise ConfigError("\n".join(faults))
        return tuple(found)

    def _fault(self, name: str, key: str) -> str:
        reported = self.all_reported
        for group in reported:
            if name in self.groups.get(group, ()):
                return (
                    f"{key}: {name!r} is reported as {group}; take {group}, or choose "
                    f"{name} in labels"
                )
        hint = nearest(name, reported)
        return f"{key}: {name!r} is not a label that is reported; {hint}"


def choose_labels(
    cards: Sequence["ModelCard"],
    wanted: Sequence[str] | None,
    wanted_by_source: Mapping[str, Sequence[str] | None],
    others: Mapping[str, "ModelCard"] | None = None,
    taught: Mapping[str, str] | None = None,
) -> LabelChoice:
    """Decide which labels the models score, and which of them are reported.

    A model without a catalogue scores all of its classes, which may be rivals of those
    that are reported; one with a catalogue scores what is reported.

    Args:
        cards: Cards of the models, in the order of the configuration.
        wanted: Chosen for all sources; None: the default ones of each model.
        wanted_by_source: By source, what it reports instead; None: nothing else.
        others: Cards of models that are not used, by the name to write in `models`.
        taught: By label that was taught, the name of its model.

    Raises:
        ConfigError: No model knows a label: a sentence in a line for each.
    """
    by_name = taught or {}
    faults: dict[str, None] = {}
    by_default = tuple(
        dict.fromkeys(it for card in cards for it in default_labels(card))
    )
    reported: dict[str, tuple[str, ...]] = {}
    for index, (source, of_source) in enumerate(wanted_by_source.items()):
        names = wanted if of_source is None else of_source
        key = "labels" if of_source is None else f"sources[{index}].labels"
        for label in names or ():
            fault = _fault_of(label, key, cards, others or {}, by_name)
            faults |= dict.fromkeys([fault] if fault else [])
        reported[source] = by_default if names is None else tuple(dict.fromkeys(names))
    if faults:
        raise ConfigError("\n".join(faults))
    union = dict.fromkeys(it for labels in reported.values() for it in labels)
    scored: list[ScoredLabels] = []
    owned: set[str] = set()
    for card in cards:
        free = [label for label in union if label not in owned]
        scored.append(_scored_by(card, free, owned, by_name))
        owned.update(scored[-1].labels)
    groups = {
        label: inside
        for card in cards
        for label in card.catalogue
        if (inside := members_of(card, label))
    }
    return LabelChoice(tuple(scored), reported, groups)


def _scored_by(
    card: "ModelCard",
    wanted: Sequence[str],
    owned: Collection[str],
    taught: Mapping[str, str],
) -> ScoredLabels:
    """Labels that a model scores, none of which is `owned` by one before it."""
    known = frozenset(known_labels(card))
    own = [label for label in wanted if label in known]
    heads = [
        label
        for label in wanted
        if label not in known and taught.get(label) == card.name
    ]
    if not own and not heads:
        return ScoredLabels((), ())  # it need not listen
    if not card.catalogue:
        own = [label for label in card.labels if label not in owned]
    ordered = sorted(own, key=known_labels(card).index)
    classes = tuple(classes_of(card, label) for label in ordered)
    return ScoredLabels((*ordered, *heads), classes)


def _fault_of(
    label: str,
    key: str,
    cards: Sequence["ModelCard"],
    others: Mapping[str, "ModelCard"],
    taught: Mapping[str, str],
) -> str | None:
    """Say why a label cannot be reported; None: it can."""
    if any(label in known_labels(card) for card in cards):
        return None
    names = [card.name for card in cards]
    if label not in taught:
        return _unknown(label, key, cards, others, taught)
    if taught[label] in names:
        return None
    return (
        f"{key}: {label!r} was taught on the model {taught[label]}, which does not "
        f"listen: add it to models, beside {', '.join(names)}"
    )


class LabelFacts(Protocol):
    """What a card and a classifier know of their labels."""

    @property
    def thresholds(self) -> Mapping[str, Thresholds]:
        """Thresholds by label; a label may be missing."""

    @property
    def presets(self) -> Mapping[str, str]:
        """Detection presets by label; a label may be missing."""


class TaughtFacts(Protocol):
    """What the card of a taught label says of it."""

    @property
    def thresholds(self) -> Thresholds:
        """Thresholds."""

    @property
    def preset(self) -> str:
        """Detection preset."""


def thresholds_of(
    models: Sequence[LabelFacts],
    scored: Sequence[ScoredLabels],
    taught: Mapping[str, TaughtFacts],
) -> dict[str, Thresholds]:
    """Thresholds of the labels that models score, by label; some have none."""
    return {
        label: model.thresholds[label]
        for model, own in zip(models, scored, strict=True)
        for label in own.labels
        if label in model.thresholds
    } | {label: each.thresholds for label, each in taught.items()}


def presets_of(
    models: Sequence[LabelFacts],
    scored: Sequence[ScoredLabels],
    taught: Mapping[str, TaughtFacts],
) -> dict[str, str]:
    """Detection presets of the labels that models score, by label; some have none."""
    return {
        label: model.presets[label]
        for model, own in zip(models, scored, strict=True)
        for label in own.labels
        if label in model.presets
    } | {label: each.preset for label, each in taught.items()}


def all_classes(labels: Sequence[str]) -> ScoredLabels:
    """Every class of a network, under its own name."""
    return ScoredLabels(tuple(labels), tuple((index,) for index in range(len(labels))))


def classes_of(card: "ModelCard", label: str) -> tuple[int, ...]:
    """Indices of the classes that a label is made of, in the scores of the network."""
    entry = card.catalogue.get(label)
    names = (label,) if entry is None else entry.classes
    return tuple(card.labels.index(name) for name in names)


def _unknown(
    label: str,
    key: str,
    cards: Sequence["ModelCard"],
    others: Mapping[str, "ModelCard"],
    taught: Iterable[str],
) -> str:
    names = " or ".join(card.name for card in cards)
    for other, card in others.items():
        if label in known_labels(card):
            return (
                f"{key}: {label!r} is not a label of {names}, but the included model "
                f"{other} has it; write models: "
                f"[{', '.join((*(it.name for it in cards), other))}]"
            )
    offered = (*cards, *others.values())
    known = [*taught, *(it for card in offered for it in known_labels(card))]
    return (
        f"{key}: {label!r} is not a label of {names}; {nearest(label, known)}; "
        "'sound-monitor model --labels' lists them all"
    )


def nearest(name: str, known: Sequence[str]) -> str:
    """Say which of the known names are meant by a wrong one."""
    known = list(dict.fromkeys(known))
    parts = set(name.lower().replace("-", "_").split("_"))
    close = get_close_matches(name, known, n=_NEAREST, cutoff=0.6)
    close += [it for it in known if parts & set(it.split("_")) and it not in close]
    if close:
        return f"did you mean {', '.join(close[:_NEAREST])}?"
    more = f" and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
    return f"choose from {', '.join(known[:_SHOWN])}{more}"
