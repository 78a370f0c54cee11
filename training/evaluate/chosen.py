"""Models with the labels that are calibrated or evaluated."""

from collections.abc import Sequence

from monitor.errors import UsageError
from monitor.model.card import ModelCard
from monitor.model.catalogue import ScoredLabels, classes_of
from monitor.model.classifier import Classifier
from monitor.model.model_file import Model
from monitor.model.models import Models


def scoring_models(
    model: Model, labels: Sequence[str], compute_device: str = "cpu"
) -> Models:
    """Prepare a model to score labels that it knows."""
    classes = tuple(classes_of(model.card, label) for label in labels)
    scored = ScoredLabels(tuple(labels), classes)
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
