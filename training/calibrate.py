"""Calibration for a place: new thresholds, their false alarms and their recall cost.

Needs torch only for labelled clips.
"""

import json
import logging
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from monitor.config.detection import DetectionSettings
from monitor.model.classifier import Classifier
from monitor.model.model_file import Model, load_model, write_model
from training.evaluate.recalibrate import (
    LabelThreshold,
    RecallCost,
    background_scores,
    config_fragment,
    label_thresholds,
    recall_costs,
    score_streams,
    with_thresholds,
)
from training.evaluate.stored_scores import ScoreQuery, recorded_scores
from training.files import check_out
from training.mixtures.material import DataPaths
from training.progress import Display
from training.report.tables import WIDE
from training.streams.metrics import highest_rate

logger = logging.getLogger(__name__)

_SHORT_HOURS = 1.0


@dataclass(frozen=True, slots=True)
class Budget:
    """A budget of false alarms, and the sound for which it holds."""

    background: Path | ScoreQuery
    """Recordings without the labels, or scores of a place without them."""
    false_alarms_per_hour: float
    events: Path | None = None
    """Annotated streams for the recall cost."""


def run_calibration(
    path: Path | None,
    budget: Budget,
    detection: DetectionSettings,
    paths: DataPaths | None,
    folds: tuple[int, ...],
    out: Path | None,
    fragment: bool,
    as_json: bool,
) -> None:
    """Find thresholds for a budget, print them and write them where asked."""
    if out is not None:
        check_out(out)
    model = load_model(path)
    labels = model.card.labels
    with Display(Console(stderr=True)) as display:
        segments, hours = _background(budget.background, model, detection, display)
        clips = truth = None
        if paths is not None:
            clips, truth = _clips(path, paths, folds, display)
    rate = budget.false_alarms_per_hour
    if hours < _SHORT_HOURS:
        logger.warning(
            "%.1f minutes of background can show no rate below %.0f false alarms a "
            "day: thresholds for fewer are extrapolated, and may be far off; give "
            "hours, best a night",
            60 * hours,
            24 * highest_rate(0, hours),
        )
    found = label_thresholds(segments, hours, rate, labels, clips, truth)
    costs: dict[str, RecallCost] = {}
    if budget.events is not None:
        costs = _recall_costs(model, budget.events, detection, found)
    if out is not None:
        _warn_of_overrides(detection)
        write_model(out, replace(model, card=with_thresholds(model.card, found)))
        Console(stderr=True).print(f"wrote {out}")
    if as_json:
        facts = {
            "hours": hours,
            "labels": [asdict(each) for each in found],
            "events": {label: asdict(cost) for label, cost in costs.items()},
        }
        Console().print_json(json.dumps(facts))
    elif fragment:
        sys.stdout.write(config_fragment(found, costs))
    else:
        _show_thresholds(found, costs, hours, budget)


def _background(
    background: Path | ScoreQuery,
    model: Model,
    detection: DetectionSettings,
    display: Display,
) -> tuple[NDArray[np.float32], float]:
    if isinstance(background, ScoreQuery):
        return recorded_scores(background, model, detection)
    classifier = Classifier(model, "cpu")
    return background_scores(background, classifier, detection, display.advance)


def _clips(
    path: Path | None, paths: DataPaths, folds: tuple[int, ...], display: Display
) -> tuple[NDArray[np.float32], NDArray[np.intp]]:
    """Score labelled clips: (clips, labels), and the label of each."""
    from monitor.model.trained import load_model as load_network
    from training.evaluate.clips import ClipEvaluator, model_scores, per_clip

    network = load_network(path)
    evaluator = ClipEvaluator(paths, display.advance, "cpu")
    windows = evaluator.windows(network, folds)
    return per_clip(model_scores(network, windows), windows), windows.truth


def _warn_of_overrides(detection: DetectionSettings) -> None:
    for label, chosen in detection.labels.items():
        if chosen.onset_threshold is not None or chosen.offset_threshold is not None:
            logger.warning(
                "the configuration has thresholds for %s, which override those of "
                "the model file: remove them there",
                label,
            )


def _recall_costs(
    model: Model,
    folder: Path,
    detection: DetectionSettings,
    found: list[LabelThreshold],
) -> dict[str, RecallCost]:
    """Count the events of annotated streams missed with old and new thresholds."""
    classifier = Classifier(model, "cpu")
    with Display(Console(stderr=True)) as display:
        streams = score_streams(
            folder,
            classifier,
            detection,
            display.advance,
        )
    thresholds = with_thresholds(model.card, found).thresholds
    return recall_costs(streams, classifier, detection, thresholds)


def _show_thresholds(
    found: list[LabelThreshold],
    costs: dict[str, RecallCost],
    hours: float,
    budget: Budget,
) -> None:
    allowed = 24 * budget.false_alarms_per_hour
    WIDE.print(
        f"{hours:.2f} hours of background, at most {allowed:g} false alarms a day over "
        "all labels"
    )
    table = Table(
        *("label", "onset", "offset", "a day", "at most (95 %)", "recall"),
        *(("missed", "before") if costs else ()),
    )
    for each in found:
        rate = f"{24 * each.threshold.false_alarms_per_hour:.2f}"
        if each.threshold.extrapolated:
            rate += " extrapolated"
        cost = costs.get(each.label)
        table.add_row(
            each.label,
            f"{each.threshold.onset:.3f}",
            f"{each.threshold.offset:.3f}",
            rate,
            f"{24 * each.rate_at_most:.1f}",
            "" if each.recall is None else f"{100 * each.recall:.0f} %",
            *(
                (f"{cost.missed} of {cost.events}", str(cost.missed_before))
                if cost is not None
                else ()
            ),
        )
    WIDE.print(table)
    expected = 24 * sum(each.threshold.false_alarms_per_hour for each in found)
    excess = ", more than allowed: some thresholds are at their limit"
    WIDE.print(
        f"expected in total: {expected:.2f} a day"
        + (excess if expected > 1.01 * allowed else "")
    )
    if any(each.threshold.extrapolated for each in found):
        WIDE.print(
            "Extrapolated rates are lower than a background of this length can show; "
            "only the limit beside them is certain."
        )
