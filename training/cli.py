"""What the training subcommands do once their options are read."""

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from monitor.config.config import DetectionSettings
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from training.checkpoint import InterruptedTrainingError
from training.config import TrainingSettings
from training.job import Job, check_job
from training.learning.progress import Display
from training.mixing.material import Places
from training.profile import profiling
from training.ranks import Ranks, joined
from training.report.tables import clip_table, profile_table, stream_table
from training.run import Run
from training.streams.scenes import SceneSettings, write_scene
from training.streams.stock import Folds, gather_stock
from training.streams.streams import listen_to_files, stream_figures
from training.testing.tester import Tester


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
