"""What the training subcommands do once their options are read."""

import json
import threading
from pathlib import Path
from typing import Any

from rich.console import Console

from monitor.model.model_file import load_model
from training.config import TrainingSettings
from training.material import Places
from training.progress import Display
from training.run import Job, Run, check_job
from training.tables import clip_table
from training.tester import Tester


def run_training(
    job: Job, settings: TrainingSettings, stop: threading.Event, as_json: bool
) -> None:
    """Train, write the model file and print its figures."""
    check_job(job, settings)
    with Display(Console(stderr=True)) as display:
        card = Run(job, settings, display, stop).train()
    show(card.report, card.labels, as_json)
    if not as_json:
        Console().print(f"wrote {job.out}")


def run_evaluation(
    places: Places,
    model: Path | None,
    run: Path | None,
    folds: tuple[int, ...],
    negatives_folds: tuple[int, ...],
    device: str,
    as_json: bool,
) -> None:
    """Test a model file, or the networks of a cross-validation; print the figures."""
    with Display(Console(stderr=True)) as display:
        tester = Tester(places, display.advance, device)
        if run is not None:
            report, labels = tester.cross_validated(run, folds)
        else:
            report, labels = tester.model(load_model(model), folds, negatives_folds)
    show(report, labels, as_json)


def show(report: dict[str, Any], labels: tuple[str, ...], as_json: bool) -> None:
    """Print figures as JSON or as tables."""
    console = Console()
    if as_json:
        console.print_json(json.dumps(report))
    else:
        clip_table(console, report, labels)
