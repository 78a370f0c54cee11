"""Calibration for a place: new thresholds, their false alarms and their recall cost.

Needs torch only for labelled clips.
"""

import json
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import ceil
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from monitor.config.detection import DEFAULT_SENSITIVITY, DetectionSettings
from monitor.model.model_file import Model, load_model, write_model
from monitor.model.models import Models
from monitor.model.thresholds import highest_rate
from monitor.text import duration
from training.evaluate.chosen import check_classes, scoring_models
from training.evaluate.recalibrate import (
    LabelThreshold,
    RecallCost,
    background_scores,
    hardly_detected,
    label_thresholds,
    lost_curves,
    recall_costs,
    shortest_hours,
    with_thresholds,
)
from training.evaluate.stored_scores import (
    ScoreQuery,
    StoredBackground,
    recorded_scores,
)
from training.evaluate.verdict_effects import (
    confirmed_costs,
    verdict_effects,
    verdict_lines,
)
from training.files import check_out
from training.mixtures.material import DataPaths
from training.progress import Display
from training.report.tables import WIDE, print_table
from training.streams.scored import score_streams

logger = logging.getLogger(__name__)

_SHORT_HOURS = 1.0
_ROUNDING = 1.01


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
    labels: Sequence[str],
    paths: DataPaths | None,
    folds: tuple[int, ...],
    out: Path | None,
    fragment: bool,
    as_json: bool,
) -> None:
    """Find thresholds for a budget, print them and write them where asked.

    Args:
        path: The model file.
        budget: Budget, and the sound for which it holds.
        detection: Rules of detection.
        labels: Those of the model that get thresholds.
        paths: Labelled recordings, for the recall; None: none.
        folds: Folds of these.
        out: Model file to write; None: none.
        fragment: Print a section of config.yaml.
        as_json: Print JSON.
    """
    if out is not None:
        check_out(out)
    model = load_model(path)
    if paths is not None:
        check_classes(model.card, "--data")
    models = scoring_models(model, labels)
    with Display(Console(stderr=True)) as display:
        background = _background(
            budget.background, model.card.name, models, detection, display
        )
        if paths is None:
            own = background.events(labels)
        else:
            own = _clips(path, paths, folds, display)
    rate, hours = budget.false_alarms_per_hour, background.hours
    _warn_of_short(hours)
    found = label_thresholds(
        background.segments,
        hours,
        rate,
        labels,
        own,
        model.card.thresholds,
        background.label_hours,
    )
    effects = verdict_effects(background.verdicts, found, models, detection)
    costs = confirmed_costs(effects)
    if budget.events is not None:
        costs |= _recall_costs(model, models, budget.events, detection, found)
    if lost := hardly_detected(found, costs):
        logger.warning(
            "few events of %s, or none, may be detected with the new thresholds, which "
            "rest on %s of background: give more of it, or allow more false alarms",
            ", ".join(lost),
            duration(3600 * hours),
        )
    if out is not None:
        _warn_of_overrides(detection)
        _write(out, model, found)
    if as_json:
        facts = {
            "hours": hours,
            "labels": [asdict(each) for each in found],
            "events": {label: asdict(cost) for label, cost in costs.items()},
            "verdicts": [asdict(each) for each in effects],
            "unreviewed": background.unreviewed,
        }
        Console().print_json(json.dumps(facts))
    elif fragment:
        sys.stdout.write(config_fragment(found, rate, costs))
    else:
        _show_thresholds(found, costs, hours, budget)
        for line in verdict_lines(effects):
            WIDE.print(line)


def _warn_of_short(hours: float) -> None:
    if hours < _SHORT_HOURS:
        logger.warning(
            "%.1f minutes of background can show no rate below %.0f false alarms a "
            "day: thresholds for fewer are extrapolated, and may be far off; give "
            "hours, best a night",
            60 * hours,
            24 * highest_rate(0, hours),
        )


def _background(
    background: Path | ScoreQuery,
    name: str,
    models: Models,
    detection: DetectionSettings,
    display: Display,
) -> StoredBackground:
    if isinstance(background, ScoreQuery):
        return recorded_scores(background, name, models, detection)
    segments, hours = background_scores(background, models, detection, display.advance)
    every = np.full(len(models.labels), hours)
    return StoredBackground(segments, hours, every, {}, 0)


def _clips(
    path: Path | None, paths: DataPaths, folds: tuple[int, ...], display: Display
) -> list[NDArray[np.float32]]:
    """Score labelled clips: for each label the scores of its own."""
    from monitor.model.trained import load_model as load_network
    from training.evaluate.clips import ClipEvaluator, model_scores, per_clip

    network = load_network(path)
    evaluator = ClipEvaluator(paths, display.advance, "cpu")
    windows = evaluator.windows(network, folds)
    clips = per_clip(model_scores(network, windows), windows)
    return [
        clips[windows.truth == index, index]
        for index in range(len(network.card.labels))
    ]


def _write(out: Path, model: Model, found: list[LabelThreshold]) -> None:
    card = with_thresholds(model.card, found)
    if lost := lost_curves(model.card, card):
        logger.warning(
            "the new thresholds of %s lie beyond their curves, which are left out of "
            "the model file: detection.sensitivity cannot move these labels",
            ", ".join(lost),
        )
    write_model(out, replace(model, card=card))
    Console(stderr=True).print(f"wrote {out}")


def _warn_of_overrides(detection: DetectionSettings) -> None:
    sensitivities = {detection.sensitivity_of(label) for label in detection.labels}
    if {detection.sensitivity, *sensitivities} - {DEFAULT_SENSITIVITY}:
        logger.warning(
            "the configuration has another sensitivity than %g, which moves the "
            "thresholds away from the new ones: remove it there",
            DEFAULT_SENSITIVITY,
        )
    for label, chosen in detection.labels.items():
        if chosen.onset_threshold is not None or chosen.offset_threshold is not None:
            logger.warning(
                "the configuration has thresholds for %s, which override those of "
                "the model file: remove them there",
                label,
            )


def _recall_costs(
    model: Model,
    models: Models,
    folder: Path,
    detection: DetectionSettings,
    found: list[LabelThreshold],
) -> dict[str, RecallCost]:
    """Count the events of annotated streams missed with old and new thresholds."""
    with Display(Console(stderr=True)) as display:
        streams = score_streams(folder, models, detection, display.advance)
    thresholds = with_thresholds(model.card, found).thresholds
    return recall_costs(streams, models, detection, thresholds)


def expected_total(
    found: Sequence[LabelThreshold], false_alarms_per_hour: float
) -> str:
    """Describe the false alarms of all labels together, and an excess over a budget."""
    expected = sum(each.threshold.false_alarms_per_hour for each in found)
    excess = ", more than allowed: some thresholds are at their limit"
    is_more = expected > _ROUNDING * false_alarms_per_hour
    return f"expected in total: {rate_text(expected)}" + (excess if is_more else "")


def rate_text(per_hour: float) -> str:
    """Format a rate of false alarms by the day: 0.20, 3.1 or 629 a day."""
    per_day = 24 * per_hour
    digits = 2 if per_day < 1 else 1 if per_day < 10 else 0
    return f"{per_day:.{digits}f} a day"


def config_fragment(
    found: Sequence[LabelThreshold],
    false_alarms_per_hour: float,
    costs: Mapping[str, RecallCost] | None = None,
) -> str:
    """Format the thresholds as a section of config.yaml, their costs as comments."""
    total = expected_total(found, false_alarms_per_hour)
    lines = [f"# False alarms {total}.", "detection:", "  labels:"]
    for each in found:
        threshold = each.threshold
        comment = f"false alarms: {rate_text(threshold.false_alarms_per_hour)}"
        if threshold.extrapolated:
            comment += ", extrapolated"
        if each.is_kept:
            comment += "; that of the model file"
        if costs is not None and (cost := costs.get(each.label)) is not None:
            comment += (
                f"; misses {cost.missed} of {cost.events} events, before "
                f"{cost.missed_before}"
            )
        lines.append(f"    # {comment}")
        # A label may need quotes, as "no" and "a: b" do.
        key = yaml.safe_dump({each.label: 0}, allow_unicode=True, width=1000)[:-4]
        lines.append(
            f"    {key}: {{onset_threshold: {round(threshold.onset, 4)}, "
            f"offset_threshold: {round(threshold.offset, 4)}}}"
        )
    return "\n".join(lines) + "\n"


def _show_thresholds(
    found: list[LabelThreshold],
    costs: dict[str, RecallCost],
    hours: float,
    budget: Budget,
) -> None:
    rate = budget.false_alarms_per_hour
    scope = f"of {found[0].label}" if len(found) == 1 else "over these labels"
    WIDE.print(
        f"{hours:.2f} hours of background, at most {24 * rate:g} false alarms a day "
        f"{scope}"
    )
    table = Table(
        *("label", "onset", "offset", "false alarms", "at most (95 %)", "recall"),
        *(("missed", "before") if costs else ()),
    )
    for each in found:
        expected = rate_text(each.threshold.false_alarms_per_hour)
        if each.threshold.extrapolated:
            expected += ", extrapolated"
        cost = costs.get(each.label)
        table.add_row(
            each.label,
            f"{each.threshold.onset:.3f}" + (" kept" if each.is_kept else ""),
            f"{each.threshold.offset:.3f}",
            expected,
            rate_text(each.rate_at_most),
            recall_text(each),
            *(
                (f"{cost.missed} of {cost.events}", str(cost.missed_before))
                if cost is not None
                else ()
            ),
        )
    print_table(WIDE, table)
    WIDE.print(expected_total(found, rate))
    for note in _notes(found, costs, rate):
        WIDE.print(note)


def recall_text(each: LabelThreshold) -> str:
    """Format the recall that was measured, else that of the report; empty: none."""
    if each.recall is not None:
        return f"{100 * each.recall:.0f} %"
    if each.reported_recall is None:
        return ""
    percent = round(100 * each.reported_recall)
    is_beyond = (each.beyond_curve, percent) not in {("above", 0), ("below", 100)}
    sign = {None: "", "above": "< ", "below": "> "}[each.beyond_curve]
    return f"{sign if is_beyond else ''}{percent} %"


def _notes(
    found: list[LabelThreshold],
    costs: Mapping[str, RecallCost],
    false_alarms_per_hour: float,
) -> Iterator[str]:
    if any(each.threshold.extrapolated for each in found):
        yield (
            "Extrapolated rates are lower than a background of this length can show; "
            "only the limit beside them is certain."
        )
    if any(each.is_kept for each in found):
        hours = ceil(shortest_hours(false_alarms_per_hour))
        yield (
            "Thresholds that are kept are those of the model file: only a background "
            f"of {hours} hours or more can justify lower ones."
        )
    if any(each.recall is None and each.reported_recall is not None for each in found):
        yield (
            "The recall is that of the model's report, of events 12 to 20 dB above the "
            "background" + ("." if costs else "; --data and --events measure it.")
        )
