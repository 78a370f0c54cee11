"""The training subcommands after their options are read."""

import json
import logging
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from monitor.config.detection import DetectionSettings
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model as load_file
from monitor.model.trained import TrainedModel, load_model, save_model, to_stored
from training.checkpoint import InterruptedTrainingError
from training.config import TrainingSettings
from training.distributed import Distributed, process_group
from training.evaluate.clips import ClipEvaluator, model_scores, per_clip
from training.evaluate.recalibrate import (
    LabelThreshold,
    RecallCost,
    background_scores,
    config_fragment,
    fits_half,
    label_thresholds,
    recall_costs,
    score_streams,
    with_thresholds,
)
from training.evaluate.stored_scores import ScoreQuery, recorded_scores
from training.experiment import Experiment, Job
from training.files import make_folder
from training.mixtures.material import DataPaths
from training.preflight import check_out
from training.profile import profiling
from training.progress import Display
from training.report.tables import clip_table, profile_table, stream_table
from training.streams.evaluate import evaluate_streams
from training.streams.metrics import highest_rate, stream_figures
from training.streams.scenes import (
    Folds,
    SceneSettings,
    gather_scenes,
    write_scene,
)

logger = logging.getLogger(__name__)

_SHORT_HOURS = 1.0

_WIDE = Console(width=10_000, markup=False, emoji=False)
"""Prints tables without cropping them to the terminal, and labels as they are."""


def run_training(
    job: Job,
    settings: TrainingSettings,
    threads: int,
    stop: threading.Event,
    profile: bool,
    as_json: bool,
) -> None:
    """Train, write the model file and print its figures.

    Of several processes the main one writes and prints.
    """
    check_out(job.out)
    torch.set_num_threads(threads)
    with process_group(compute_device(job.device), stop) as (distributed, device):
        job = replace(job, device=device)
        if not distributed.is_main:
            _train_silently(job, settings, stop, distributed)
            return
        with (
            _profiled(profile, job.run, device),
            Display(Console(stderr=True)) as display,
        ):
            card = Experiment(job, settings, display, stop, distributed).run()
    assert card is not None, "the main process writes"
    show(card.report, card.labels, as_json)
    if not as_json:
        Console().print(f"wrote {job.out}")


def _train_silently(
    job: Job,
    settings: TrainingSettings,
    stop: threading.Event,
    distributed: Distributed,
) -> None:
    """Do this process's share of the work; only the main process prints.

    Raises:
        SystemExit: Training was stopped.
    """
    logging.getLogger("training").setLevel(logging.ERROR)
    with Display(Console(quiet=True)) as display:
        try:
            Experiment(job, settings, display, stop, distributed).run()
        except InterruptedTrainingError as error:
            raise SystemExit(error.exit_code) from None


@contextmanager
def _profiled(wanted: bool, folder: Path, device: str) -> Iterator[None]:
    """Print a profile, however the work ends, and write it to profile.json."""
    if not wanted:
        yield
        return
    settle = torch.cuda.synchronize if device.startswith("cuda") else None
    with profiling(settle) as profile:
        try:
            yield
        finally:
            facts = profile.facts()
            profile_table(Console(stderr=True), facts)
            if folder.is_dir():
                text = json.dumps(facts, indent=2)
                (folder / "profile.json").write_text(text + "\n")


def run_evaluation(
    paths: DataPaths,
    model: Path | None,
    run: Path | None,
    folds: Folds,
    device: str,
    as_json: bool,
) -> None:
    """Evaluate a model file, or the networks of a cross-validation; print figures."""
    with Display(Console(stderr=True)) as display:
        evaluator = ClipEvaluator(paths, display.advance, compute_device(device))
        if run is not None:
            report, labels = evaluator.cross_validated(run, folds.clips)
        else:
            chosen = load_model(model)
            report, labels = evaluator.model(chosen, folds.clips, folds.negatives)
    show(report, labels, as_json)


def run_stream_evaluation(
    folder: Path,
    model: Path | None,
    detection: DetectionSettings,
    device: str,
    as_json: bool,
) -> None:
    """Evaluate a model file on streams with the rules of detection; print figures."""
    classifier = Classifier(load_file(model), device)
    with Display(Console(stderr=True)) as display:
        results = evaluate_streams(
            folder,
            classifier,
            detection,
            display.advance,
        )
    figures = stream_figures(results, classifier.labels)
    if as_json:
        Console().print_json(json.dumps(figures))
    else:
        stream_table(_WIDE, figures)


def run_scenes(
    paths: DataPaths, out: Path, folds: Folds, settings: SceneSettings
) -> None:
    """Write streams made of labelled recordings over recordings of no class.

    The file `scenes.json` beside them lists their material.
    """
    make_folder(out, "--out")
    rate = TrainingSettings().spec.sample_rate
    with Display(Console(stderr=True)) as display:
        maker = gather_scenes(paths, folds, settings, display.advance)
        for number, scene in enumerate(maker.scenes(), start=1):
            write_scene(out, scene, rate)
            display.advance("writing streams", number, maker.count)
    (out / "scenes.json").write_text(json.dumps(maker.facts(), indent=2) + "\n")


def compute_device(name: str) -> str:
    """Return torch's name of a compute device; auto is a GPU where there is one."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def show(report: dict[str, Any], labels: tuple[str, ...], as_json: bool) -> None:
    """Print figures as JSON or as tables."""
    if as_json:
        Console().print_json(json.dumps(report))
    else:
        clip_table(_WIDE, report, labels)


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
            evaluator = ClipEvaluator(paths, display.advance, "cpu")
            windows = evaluator.windows(model, folds)
            clips = per_clip(model_scores(model, windows), windows)
            truth = windows.truth
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
        card = with_thresholds(model.card, found)
        again = TrainedModel(model.network, model.spec, card)
        save_model(out, again, half=fits_half(model.network))
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
    model: TrainedModel,
    detection: DetectionSettings,
    display: Display,
) -> tuple[NDArray[np.float32], float]:
    if isinstance(background, ScoreQuery):
        return recorded_scores(background, model, detection)
    return background_scores(
        background,
        model,
        detection,
        display.advance,
    )


def _warn_of_overrides(detection: DetectionSettings) -> None:
    for label, chosen in detection.labels.items():
        if chosen.onset_threshold is not None or chosen.offset_threshold is not None:
            logger.warning(
                "the configuration has thresholds for %s, which override those of "
                "the model file: remove them there",
                label,
            )


def _recall_costs(
    model: TrainedModel,
    folder: Path,
    detection: DetectionSettings,
    found: list[LabelThreshold],
) -> dict[str, RecallCost]:
    """Count the events of annotated streams missed with old and new thresholds."""
    classifier = Classifier(to_stored(model), "cpu")
    with Display(Console(stderr=True)) as display:
        streams = score_streams(
            folder,
            classifier,
            detection,
            display.advance,
        )
    pairs = {
        each.label: (each.threshold.onset, each.threshold.offset) for each in found
    }
    return recall_costs(streams, classifier, detection, pairs)


def _show_thresholds(
    found: list[LabelThreshold],
    costs: dict[str, RecallCost],
    hours: float,
    budget: Budget,
) -> None:
    console = _WIDE
    allowed = 24 * budget.false_alarms_per_hour
    console.print(
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
    console.print(table)
    expected = 24 * sum(each.threshold.false_alarms_per_hour for each in found)
    excess = ", more than allowed: some thresholds are at their limit"
    console.print(
        f"expected in total: {expected:.2f} a day"
        + (excess if expected > 1.01 * allowed else "")
    )
    if any(each.threshold.extrapolated for each in found):
        console.print(
            "Extrapolated rates are lower than a background of this length can show; "
            "only the limit beside them is certain."
        )
