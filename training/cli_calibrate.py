"""What `calibrate` does once its options are read."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from monitor.config.config import DetectionSettings
from monitor.model.classifier import Classifier
from monitor.model.model_file import TrainedModel, load_model, save_model
from training.learning.progress import Display
from training.mixing.material import Places
from training.testing.price import EventPrice, event_prices, hear
from training.testing.recalibrate import (
    LabelPrice,
    background_scores,
    clip_scores,
    config_fragment,
    fits_half,
    prices,
    with_thresholds,
)
from training.testing.record import Extract, recorded_scores
from training.testing.tester import Tester

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many false alarms may come, on material like what."""

    background: Path | Extract
    """Recordings without the labels, or scores of a place without them."""
    false_alarms_per_hour: float
    events: Path | None = None
    """Annotated streams on which the price is counted."""


def run_calibration(
    path: Path | None,
    budget: Budget,
    detection: DetectionSettings,
    places: Places | None,
    folds: tuple[int, ...],
    out: Path | None,
    fragment: bool,
    as_json: bool,
) -> None:
    """Find thresholds for a budget, print them and write them where asked."""
    model = load_model(path)
    with Display(Console(stderr=True)) as display:
        segments, hours = _background(budget.background, model, detection, display)
        clips = truth = None
        if places is not None:
            tester = Tester(places, display.advance, "cpu")
            windows = tester.windows(model, folds)
            clips, truth = clip_scores(model, windows), windows.truth
    labels = model.card.labels
    rate = budget.false_alarms_per_hour
    found = prices(segments, hours, rate, labels, clips, truth)
    events = None
    if budget.events is not None:
        events = _event_prices(model, budget.events, detection, found)
    if out is not None:
        _tell_overruled(detection)
        card = with_thresholds(model.card, found)
        again = TrainedModel(model.network, model.spec, card)
        save_model(out, again, half=fits_half(model.network))
    if as_json:
        facts = {
            "hours": hours,
            "labels": [asdict(price) for price in found],
            "events": {label: asdict(event) for label, event in (events or {}).items()},
        }
        Console().print_json(json.dumps(facts))
    elif fragment:
        text = config_fragment(found, events)
        Console().print(text, end="", highlight=False, soft_wrap=True)
    else:
        _show(found, events or {}, hours, budget)


def _background(
    background: Path | Extract,
    model: TrainedModel,
    detection: DetectionSettings,
    display: Display,
) -> tuple[NDArray[np.float32], float]:
    if isinstance(background, Extract):
        return recorded_scores(background, model, detection)
    return background_scores(
        background,
        model,
        detection,
        lambda done, total: display.advance("listening", done, total),
    )


def _tell_overruled(detection: DetectionSettings) -> None:
    """Say where the configuration would go before a model file."""
    for label, chosen in detection.labels.items():
        if chosen.onset_threshold is not None or chosen.offset_threshold is not None:
            logger.warning(
                "the configuration has thresholds for %s, which go before those of "
                "the model file: take them out there",
                label,
            )


def _event_prices(
    model: TrainedModel,
    folder: Path,
    detection: DetectionSettings,
    found: list[LabelPrice],
) -> dict[str, EventPrice]:
    """Listen to annotated streams, and count events missed with both thresholds."""
    classifier = Classifier(model, "cpu")
    with Display(Console(stderr=True)) as display:
        streams = hear(
            folder,
            classifier,
            detection,
            lambda done, total: display.advance("listening to events", done, total),
        )
    pairs = {
        price.label: (price.threshold.onset, price.threshold.offset) for price in found
    }
    return event_prices(streams, classifier, detection, pairs)


def _show(
    found: list[LabelPrice],
    events: dict[str, EventPrice],
    hours: float,
    budget: Budget,
) -> None:
    console = Console()
    console.print(
        f"{hours:.2f} hours of background, at most "
        f"{24 * budget.false_alarms_per_hour:g} false alarms a day over all labels"
    )
    table = Table(
        *("label", "onset", "offset", "a day", "at most (95 %)", "heard"),
        *(("missed", "before") if events else ()),
    )
    for price in found:
        rate = f"{24 * price.threshold.false_alarms_per_hour:.2f}"
        if price.threshold.extrapolated:
            rate += " extrapolated"
        recall = "" if price.recall is None else f"{100 * price.recall:.0f} %"
        table.add_row(
            price.label,
            f"{price.threshold.onset:.3f}",
            f"{price.threshold.offset:.3f}",
            rate,
            f"{24 * price.rate_at_most:.1f}",
            recall,
            *_missed(events.get(price.label)),
        )
    console.print(table)
    expected = 24 * sum(price.threshold.false_alarms_per_hour for price in found)
    beyond = expected > 1.01 * 24 * budget.false_alarms_per_hour
    console.print(
        f"expected in all: {expected:.2f} a day"
        + (
            ", more than asked for: some thresholds are as high as they go"
            if beyond
            else ""
        )
    )
    if any(price.threshold.extrapolated for price in found):
        console.print(
            "Extrapolated rates are rarer than the background is long: that it holds "
            "none shows no more than the bound beside."
        )


def _missed(price: EventPrice | None) -> tuple[str, ...]:
    if price is None:
        return ()
    return f"{price.missed} of {price.events}", str(price.missed_before)
