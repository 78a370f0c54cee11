"""Model cards with a catalogue, for tests."""

from monitor.model.card import ModelCard
from monitor.model.catalogue import CatalogueEntry, ClipFigures
from tests.support.curves import thresholds_on_curve
from tests.support.models import seeded_model

ONSETS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


def catalogue_card() -> ModelCard:
    """A card of three classes: an alarm is a siren or a shot, which it reports as one.

    The siren was measured, the shot was not; the drill is a class alone.
    """
    card = seeded_model().card
    figures = ClipFigures(clips=7, average_precision=0.75, detected=0.5)
    unmeasured = [
        point.model_copy(update={"detected_near": None, "detected_far": None})
        for point in thresholds_on_curve(ONSETS).curve
    ]
    shot = thresholds_on_curve(ONSETS).model_copy(update={"curve": tuple(unmeasured)})
    return card.model_copy(
        update={
            "catalogue": {
                "shot": CatalogueEntry(
                    text="A shot of a gun.",
                    classes=("gun_shot",),
                    preset="impulsive",
                    group="alarm",
                ),
                "alarm": CatalogueEntry(
                    text="A siren or a shot.", classes=("siren", "gun_shot")
                ),
                "siren": CatalogueEntry(
                    text="A police car.",
                    classes=("siren",),
                    group="alarm",
                    figures=figures,
                ),
            },
            "thresholds": {"siren": thresholds_on_curve(ONSETS), "shot": shot},
        }
    )
