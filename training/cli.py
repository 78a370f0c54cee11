"""What the training subcommands do once their options are read.

What `calibrate` does once its options are read.
"""

import json
import logging
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
from monitor.model.model_file import TrainedModel, load_model, save_model
from training.checkpoint import InterruptedTrainingError
from training.config import TrainingSettings
from training.distributed import Ranks, joined
from training.evaluate.clips import Tester
from training.evaluate.recalibrate import (
    LabelPrice,
    background_scores,
    clip_scores,
    config_fragment,
    fits_half,
    prices,
    with_thresholds,
)
from training.evaluate.recall_cost import EventPrice, event_prices, hear
from training.evaluate.stored_scores import Extract, recorded_scores
from training.experiment import Run
from training.mixtures.material import Places
from training.network_training import Job, check_job
from training.profile import profiling
from training.progress import Display
from training.report.report import clip_table, profile_table, stream_table
from training.streams.evaluate import listen_to_files, stream_figures
from training.streams.scenes import Folds, SceneSettings, gather_stock, write_scene

logger = logging.getLogger(__name__)


def run_training(
    job: Job,
    settings: TrainingSettings,
    threads: int,
    stop: threading.Event,
    profile: bool,
    as_json: bool,
) -> None:
    """Train, write the model file and print its figures.

    Where several processes train together, the first one does that.
    """
    check_job(job)
    torch.set_num_threads(threads)
    with joined(compute_device(job.device), stop) as (ranks, device):
        job = replace(job, device=device)
        if not ranks.is_first:
            _learn_silently(job, settings, stop, ranks)
            return
        with (
            _profiled(profile, job.run, device),
            Display(Console(stderr=True)) as display,
        ):
            card = Run(job, settings, display, stop, ranks).train()
    if card is None:
        Console(stderr=True).print(
            "trained; run it again with --resume, without --only"
        )
        return
    show(card.report, card.labels, as_json)
    if not as_json:
        Console().print(f"wrote {job.out}")


def _learn_silently(
    job: Job, settings: TrainingSettings, stop: threading.Event, ranks: Ranks
) -> None:
    """Do a share of the work of the first process, which tells what there is to tell.

    Raises:
        SystemExit: Training was stopped.
    """
    logging.getLogger("training").setLevel(logging.ERROR)
    with Display(Console(quiet=True)) as display:
        try:
            Run(job, settings, display, stop, ranks).train()
        except InterruptedTrainingError as error:
            raise SystemExit(error.exit_code) from None


@contextmanager
def _profiled(wanted: bool, folder: Path, device: str) -> Iterator[None]:
    """Print where the time went, however the work ends; keep it as profile.json."""
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
    places: Places,
    model: Path | None,
    run: Path | None,
    folds: Folds,
    device: str,
    as_json: bool,
) -> None:
    """Test a model file, or the networks of a cross-validation; print the figures."""
    with Display(Console(stderr=True)) as display:
        tester = Tester(places, display.advance, compute_device(device))
        if run is not None:
            report, labels = tester.cross_validated(run, folds.clips)
        else:
            chosen = load_model(model)
            report, labels = tester.model(chosen, folds.clips, folds.negatives)
    show(report, labels, as_json)


def run_stream_evaluation(
    folder: Path,
    model: Path | None,
    detection: DetectionSettings,
    device: str,
    as_json: bool,
) -> None:
    """Test a model file on streams with the rules of detection; print the figures."""
    classifier = Classifier(load_model(model), device)
    with Display(Console(stderr=True)) as display:
        results = listen_to_files(
            folder,
            classifier,
            detection,
            lambda done, total: display.advance("listening", done, total),
        )
    figures = stream_figures(results, classifier.labels)
    if as_json:
        Console().print_json(json.dumps(figures))
    else:
        stream_table(Console(), figures)


def run_scenes(
    places: Places, out: Path, folds: Folds, settings: SceneSettings
) -> None:
    """Write streams made of labelled recordings over recordings of no class.

    Beside them `scenes.json` says what they are made of.
    """
    out.mkdir(parents=True, exist_ok=True)
    rate = TrainingSettings().spec.sample_rate
    with Display(Console(stderr=True)) as display:
        stock = gather_stock(places, folds, settings, display.advance)
        for number, scene in enumerate(stock.maker.scenes(), start=1):
            write_scene(out, scene, rate)
            display.advance("writing streams", number, stock.maker.count)
    (out / "scenes.json").write_text(json.dumps(stock.facts, indent=2) + "\n")


def compute_device(name: str) -> str:
    """What torch calls the processor `name`; auto is a GPU where there is one."""
    if name != "auto":
        return name
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def show(report: dict[str, Any], labels: tuple[str, ...], as_json: bool) -> None:
    """Print figures as JSON or as tables."""
    console = Console()
    if as_json:
        console.print_json(json.dumps(report))
    else:
        clip_table(console, report, labels)


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
