"""The labels of a model that are evaluated: those that are chosen, or reported."""

from collections.abc import Sequence

from monitor.errors import UsageError
from monitor.model.card import ModelCard
from monitor.model.catalogue import ScoredLabels, choose_labels, known_labels
from monitor.model.classifier import Classifier
from monitor.model.model_file import Model
from monitor.model.models import Models


def chosen_labels(card: ModelCard, wanted: Sequence[str] | None) -> ScoredLabels:
    """Labels that a model scores; see `choose_labels`.

    Labels that it does not know are those of another model, and left out.
    """
    known = tuple(label for label in wanted or () if label in known_labels(card))
    (scored,) = choose_labels([card], known or None, {"": None}).scored
    return scored


def scoring_models(
    model: Model, wanted: Sequence[str] | None, compute_device: str = "cpu"
) -> Models:
    """Prepare a model to score the labels of `chosen_labels`."""
    scored = chosen_labels(model.card, wanted)
    return Models([Classifier(model, compute_device)], [scored])


def check_classes(card: ModelCard, option: str) -> None:
    """Check that the labels of a model are its classes, as labelled clips need.

    Raises:
        UsageError: It has a catalogue.
    """
    if card.catalogue:
        raise UsageError(
            f"{option}: the labels of the model {card.name} are made of its "
            f"{len(card.labels)} classes, and clips have one of these each; streams "
            "with events tell what it detects: evaluate --streams"
        )
