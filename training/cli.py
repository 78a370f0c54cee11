"""What the training subcommands do once their options are read."""

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from monitor.config.config import DetectionSettings
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from training.config import TrainingSettings
from training.job import Job, check_job
from training.material import Places
from training.progress import Display
from training.run import Run
from training.scenes import SceneSettings, write_scene
from training.stock import Folds, gather_stock
from training.streams import listen_to_files, stream_figures
from training.tables import clip_table, stream_table
from training.tester import Tester


def run_training(
    job: Job,
    settings: TrainingSettings,
    threads: int,
    stop: threading.Event,
    as_json: bool,
) -> None:
    """Train, write the model file and print its figures."""
    check_job(job)
    torch.set_num_threads(threads)
    job = replace(job, device=compute_device(job.device))
    with Display(Console(stderr=True)) as display:
        card = Run(job, settings, display, stop).train()
    if card is None:
        Console(stderr=True).print(
            "trained; run it again with --resume, without --only"
        )
        return
    show(card.report, card.labels, as_json)
    if not as_json:
        Console().print(f"wrote {job.out}")


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
