"""The training subcommands after their options are read.

Only those that train or test a network import torch.
"""

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from monitor.config.detection import DetectionSettings
from monitor.model.model_file import load_model as load_file
from training.config import TrainingSettings
from training.evaluate.chosen import check_classes, scoring_models
from training.files import check_out, make_folder
from training.mixtures.material import DataPaths
from training.profile import profiling
from training.progress import Display
from training.report.tables import WIDE, clip_table, profile_table, stream_table
from training.streams.evaluate import evaluate_streams
from training.streams.metrics import stream_figures
from training.streams.scenes import (
    Folds,
    SceneSettings,
    gather_scenes,
    write_scene,
)

if TYPE_CHECKING:
    from monitor.model.card import ModelCard
    from training.distributed import Distributed
    from training.experiment import Experiment
    from training.job import Job


def run_training(
    job: "Job",
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
    import torch

    from training.distributed import process_group
    from training.experiment import Experiment

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
            card = _run(Experiment(job, settings, display, stop, distributed))
    assert card is not None, "the main process writes"
    show(card.report, card.labels, as_json)
    if not as_json:
        Console().print(f"wrote {job.out}")


def _run(experiment: "Experiment") -> "ModelCard | None":
    """Train; None if another process tests and writes."""
    if experiment.material.places is None:
        return experiment.run()
    from training.place_experiment import train_in_places

    return train_in_places(experiment)


def _train_silently(
    job: "Job",
    settings: TrainingSettings,
    stop: threading.Event,
    distributed: "Distributed",
) -> None:
    """Do this process's share of the work; only the main process prints.

    Raises:
        SystemExit: Training was stopped.
    """
    from training.checkpoint import InterruptedTrainingError
    from training.experiment import Experiment

    logging.getLogger("training").setLevel(logging.ERROR)
    with Display(Console(quiet=True)) as display:
        try:
            _run(Experiment(job, settings, display, stop, distributed))
        except InterruptedTrainingError as error:
            raise SystemExit(error.exit_code) from None


@contextmanager
def _profiled(wanted: bool, folder: Path, device: str) -> Iterator[None]:
    """Print a profile, however the work ends, and write it to profile.json."""
    if not wanted:
        yield
        return
    import torch

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
    from monitor.model.trained import load_model
    from training.evaluate.clips import ClipEvaluator

    with Display(Console(stderr=True)) as display:
        evaluator = ClipEvaluator(paths, display.advance, compute_device(device))
        if run is not None:
            report, labels = evaluator.cross_validated(run, folds.clips)
        else:
            chosen = load_model(model)
            check_classes(chosen.card, "--model")
            report, labels = evaluator.model(chosen, folds.clips, folds.negatives)
    show(report, labels, as_json)


def run_stream_evaluation(
    folder: Path,
    model: Path | None,
    detection: DetectionSettings,
    labels: Sequence[str],
    device: str,
    as_json: bool,
) -> None:
    """Evaluate a model file on streams with the rules of detection; print figures."""
    models = scoring_models(load_file(model), labels, device)
    with Display(Console(stderr=True)) as display:
        results = evaluate_streams(
            folder,
            models,
            detection,
            display.advance,
        )
    figures = stream_figures(results, models.labels)
    if as_json:
        Console().print_json(json.dumps(figures))
    else:
        stream_table(WIDE, figures)


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
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def show(report: dict[str, Any], labels: tuple[str, ...], as_json: bool) -> None:
    """Print figures as JSON or as tables."""
    if as_json:
        Console().print_json(json.dumps(report))
    else:
        clip_table(WIDE, report, labels)
