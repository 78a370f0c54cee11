"""The card of a trained model: what it is, how it was made, how it was tested."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from monitor.model.model_file import ModelCard, Thresholds
from monitor.model.network import Network
from training.config import TrainingSettings
from training.testing.evaluate import cost_figures
from training.testing.heldout import Calibration


def make_card(
    name: str,
    network: Network,
    labels: Sequence[str],
    licence: str,
    calibration: Calibration | None,
    figures: dict[str, Any],
    settings: TrainingSettings,
) -> ModelCard:
    """Put together what a model file says.

    Args:
        name: Of the model, in records.
        network: For what it costs.
        labels: In the order of the scores.
        licence: Of the recordings and of the teacher.
        calibration: Temperatures and thresholds; None: it was not tested.
        figures: Of the test.
        settings: Of the training.
    """
    thresholds: dict[str, Thresholds] = {}
    temperatures: dict[str, float] = {}
    if calibration is not None:
        temperatures = {
            label: float(value)
            for label, value in zip(labels, calibration.temperatures, strict=True)
        }
        for label, found in zip(labels, calibration.thresholds, strict=False):
            thresholds[label] = Thresholds(
                onset=found.onset,
                offset=found.offset,
                false_alarms_per_hour=found.false_alarms_per_hour,
            )
    cost = cost_figures(network, settings.spec)
    return ModelCard(
        name=name,
        preset=settings.preset,
        labels=tuple(labels),
        thresholds=thresholds,
        temperatures=temperatures,
        report={**figures, **cost, "split": settings.split},
        licence=licence,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        training=settings.model_dump(mode="json", exclude={"spec"}),
    )
