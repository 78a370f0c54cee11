"""The models of a configuration, and the labels that it chooses."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from monitor.config.config import Config
from monitor.config.detection import ModelSettings
from monitor.errors import ConfigError
from monitor.model.card import (
    INCLUDED,
    TAUGHT_MODEL,
    Description,
    ModelCard,
    has_graph,
    model_digest,
    read_card,
)
from monitor.model.catalogue import (
    CatalogueEntry,
    LabelChoice,
    ScoredLabels,
    choose_labels,
    known_labels,
    presets_of,
    thresholds_of,
)
from monitor.model.thresholds import Thresholds

# `check` chooses labels too, and does without the engines.
if TYPE_CHECKING:
    from monitor.model.classifier import Classifier
    from monitor.model.models import Models
    from monitor.model.taught import TaughtCard, TaughtLabel


@dataclass(frozen=True, slots=True)
class ChosenModels:
    """The models that score what a configuration reports; nothing is loaded."""

    files: tuple[str | None, ...]
    """Those of which no label is reported are left out, but for the one whose
    embeddings are kept for labels to be taught."""

    descriptions: tuple[Description, ...]
    labels: LabelChoice
    taught: "Mapping[str, TaughtLabel]"
    """Those among the labels that were taught, by name."""

    known: frozenset[str]
    """Every label that could be chosen: it may have settings."""

    unused: tuple[str, ...] = ()
    """Names of the models that are left out."""

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Their cards."""
        return tuple(each.card for each in self.descriptions)

    @property
    def leader(self) -> Description:
        """The leading model: see `monitor.model.models.Models`."""
        return max(self.descriptions, key=lambda each: each.spec.precedence)

    @property
    def thresholds(self) -> dict[str, Thresholds]:
        """Those of the model files, by label that is scored."""
        return thresholds_of(self.cards, self.labels.scored, self._taught_cards)

    @property
    def presets(self) -> dict[str, str]:
        """Detection presets of the catalogues, by label that is scored."""
        return presets_of(self.cards, self.labels.scored, self._taught_cards)

    @property
    def _taught_cards(self) -> "dict[str, TaughtCard]":
        return {label: each.card for label, each in self.taught.items()}

    @property
    def entries(self) -> dict[str, CatalogueEntry]:
        """Entries of the catalogues, by label that is scored."""
        return {
            label: card.catalogue[label]
            for card, scored in zip(self.cards, self.labels.scored, strict=True)
            for label in scored.labels
            if label in card.catalogue
        }

    @property
    def names(self) -> dict[str, str]:
        """By label that is scored, the name of its model."""
        return {
            label: card.name
            for card, scored in zip(self.cards, self.labels.scored, strict=True)
            for label in scored.labels
        }

    def of_one(self, source: str) -> "ChosenModels":
        """Return the same with all labels reported, of a source of this name."""
        reported = {source: self.labels.all_reported}
        return replace(self, labels=replace(self.labels, reported=reported))

    def without_graph(self) -> list[str]:
        """Files that ONNX Runtime cannot run."""
        return [str(file) for file in self.files if not has_graph(file)]

    def model_digests(self) -> tuple[str, ...]:
        """Identify the contents of the model files."""
        return tuple(model_digest(file) for file in self.files)

    def digest(self) -> str:
        """Identify the contents of the model files, and the labels that they score."""
        digests = self.model_digests()
        if len(digests) == 1 and self.labels.scored[0].labels == self.cards[0].labels:
            return digests[0]
        heads = [each.digest for each in self.taught.values()]
        text = repr((digests, [scored.labels for scored in self.labels.scored], heads))
        return hashlib.sha256(text.encode()).hexdigest()


def choose_models(config: Config, state_dir: Path | None = None) -> ChosenModels:
    """Read the cards of the models of `config`, and choose its labels.

    Args:
        config: The configuration.
        state_dir: Folder of the monitor, with the labels that were taught; None: there
            are none.

    Raises:
        ModelFileError: A model file cannot be used.
        ConfigError: A label is unknown, or was taught on a model that does not listen.
    """
    files = config.model_files
    descriptions = [read_card(file) for file in files]
    names = _names(config)
    taught = {} if state_dir is None else _read_taught(state_dir, names)
    labels = choose_labels(
        [each.card for each in descriptions],
        config.labels,
        {source.name: source.labels for source in config.sources},
        _unused(files) if names else {},
        {label: each.card.model for label, each in taught.items()},
    )
    keeps = config.store.embeddings
    used = [
        index
        for index, (each, scored) in enumerate(
            zip(descriptions, labels.scored, strict=True)
        )
        if scored.labels or (keeps and each.card.name == TAUGHT_MODEL)
    ]
    heads = [label for scored in labels.scored for label in scored.taught]
    offered = (label for each in descriptions for label in known_labels(each.card))
    return ChosenModels(
        tuple(files[index] for index in used),
        tuple(descriptions[index] for index in used),
        LabelChoice(_at(labels.scored, used), labels.reported, labels.groups),
        {label: taught[label] for label in heads},
        frozenset((*offered, *_taught_names(config, state_dir))),
        tuple(
            each.card.name
            for index, each in enumerate(descriptions)
            if index not in used
        ),
    )


def labels_of(
    config: Config, model: str | Path | None, state_dir: Path | None = None
) -> tuple[str, ...]:
    """Labels that one model scores, as a configuration chooses them; none is taught.

    Args:
        config: The configuration; the model may be another one than those of it.
        model: Model file, or name of an included model; None: the default one.
        state_dir: See `choose_models`.

    Raises:
        ModelFileError: A model file cannot be used.
        ConfigError: A label is unknown, or none of the model is chosen.
    """
    name = INCLUDED[0] if model is None else str(model)
    used = [INCLUDED[0] if file is None else file for file in config.model_files]
    if name in used:
        chosen = choose_models(config, state_dir)
        files = [INCLUDED[0] if file is None else file for file in chosen.files]
        labels: tuple[str, ...] = ()
        if name in files:
            # None if it listens for what was taught, or for its embeddings, alone.
            scored = chosen.labels.scored[files.index(name)]
            labels = scored.labels[: len(scored.classes)]
    else:
        card, names = read_card(name).card, _names(config)
        wanted = tuple(it for it in names if it in known_labels(card)) or None
        chosen_here = choose_labels([card], wanted, {"": None}).scored[0].labels
        labels = () if names and wanted is None and card.catalogue else chosen_here
    if not labels:
        raise ConfigError(f"labels: none of them is a label that {name} scores")
    return labels


def _at(
    scored: Sequence[ScoredLabels], indices: Sequence[int]
) -> tuple[ScoredLabels, ...]:
    return tuple(scored[index] for index in indices)


def _names(config: Config) -> list[str]:
    """Names of labels and groups that a configuration chooses."""
    chosen = (config.labels, *(source.labels for source in config.sources))
    return [name for names in chosen for name in names or ()]


def _read_taught(state_dir: Path, names: Sequence[str]) -> "dict[str, TaughtLabel]":
    """Read the labels among `names` that were taught.

    Raises:
        ModelFileError: The file of one cannot be used.
    """
    if not names:
        return {}
    from monitor.model.taught import read_taught, taught_files

    files = {path.stem: path for path in taught_files(state_dir)}
    return {name: read_taught(files[name]) for name in names if name in files}


def _taught_names(config: Config, state_dir: Path | None) -> list[str]:
    """Labels that were taught, switched on or not, if any label has settings."""
    if state_dir is None or not config.detection.labels:
        return []
    from monitor.model.taught import taught_files

    return [path.stem for path in taught_files(state_dir)]


def _unused(files: Sequence[str | None]) -> dict[str, ModelCard]:
    """Cards of the included models that are not used."""
    used = {INCLUDED[0] if file is None else file for file in files}
    return {name: read_card(name).card for name in INCLUDED if name not in used}


def load_models(
    settings: ModelSettings, chosen: ChosenModels, *, cpu_fallback: bool = False
) -> "Models":
    """Load models, with the labels that they score.

    Args:
        settings: Compute device, engine and threads.
        chosen: The models.
        cpu_fallback: See `Classifier`.

    Raises:
        SoundMonitorError: A model or the compute device is unusable.
    """
    from monitor.model.classifier import Classifier
    from monitor.model.model_file import load_model
    from monitor.model.models import Models

    classifiers = [
        Classifier(
            load_model(file),
            settings.compute_device,
            settings.threads,
            engine=settings.engine,
            cpu_fallback=cpu_fallback,
        )
        for file in chosen.files
    ]
    for taught in chosen.taught.values():
        _check_taught(taught, classifiers)
    return Models(classifiers, chosen.labels.scored, chosen.taught)


def _check_taught(taught: "TaughtLabel", classifiers: "Sequence[Classifier]") -> None:
    """Check that a label was taught on the network that listens.

    Raises:
        ModelFileError: It was taught on another one.
    """
    from monitor.model.taught import check_network

    for each in classifiers:
        if each.name == taught.card.model:
            features = each.count_features()
            check_network(taught, each.name, each.network_digest, features)


def with_labels(config: Config, labels: LabelChoice) -> Config:
    """Replace groups in the rules and in `clips.labels` by the labels in them.

    Raises:
        ConfigError: One of them is not reported: a sentence in a line for each.
    """
    faults: list[str] = []

    def expand(names: Iterable[str], key: str) -> tuple[str, ...]:
        try:
            return labels.expand(names, key)
        except ConfigError as error:
            faults.append(str(error))
            return ()

    alerts = []
    for index, rule in enumerate(config.alerts):
        key = f"alerts[{index}].labels"
        names = expand(rule.labels, key)
        alerts.append(rule.model_copy(update={"labels": names}))
        heard = {it for source in rule.sources for it in labels.reported[source]}
        if names and rule.sources and not heard & {*names}:
            faults.append(
                f"{key}: {', '.join(rule.labels)} cannot be reported: its sources "
                f"report {', '.join(sorted(heard))}"
            )
    kept = expand(config.clips.labels, "clips.labels")
    if faults:
        raise ConfigError("\n".join(faults))
    clips = config.clips.model_copy(update={"labels": kept})
    return config.model_copy(update={"alerts": tuple(alerts), "clips": clips})
