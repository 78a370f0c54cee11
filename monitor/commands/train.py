"""`sound-monitor train`: a model from recordings."""

import os
import signal
import threading
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from monitor.commands.arguments import (
    CacheOption,
    ComputeDeviceOption,
    ConfigOption,
    DataArgument,
    GroupPatternOption,
    JsonOption,
    LabelPatternOption,
    NegativesOption,
    SeedOption,
    cache_folder,
    fold_numbers,
)

HELP = """Train a model on recordings, test it on others, write it to a file.

DATA is a folder with metadata/UrbanSound8K.csv and audio/fold*/, a folder with a
sub-folder for each label, or a CSV with the columns path,label[,fold][,group].  Any
labels will do.  Slices of one recording never stand on both sides of the test: the
folds of the data are used, or made of whole recordings.  Ctrl-C stops; --resume goes
on to the same result.

\b
Examples:
  sound-monitor train UrbanSound8K --test-folds 1
  sound-monitor train genres --out genres.safetensors     a folder for each label
  sound-monitor train UrbanSound8K --negatives noises --cross-validate
  sound-monitor run --model genres.safetensors            listen with it
  tensorboard --logdir model-run                          watch it learn

Several processes, on one GPU each or on several machines, share the work of one
training; each takes its share of every batch:

\b
  torchrun --nproc-per-node 2 --no-python sound-monitor train UrbanSound8K
"""


def train(
    data: DataArgument,
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Model file to write.")
    ] = Path("model.safetensors"),
    preset: Annotated[
        str | None,
        typer.Option(help="Network and its recipe.", show_default="article"),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            metavar="DIR",
            show_default="beside the model file",
            help="Folder for checkpoints, metrics and settings.",
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in that folder.")
    ] = False,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, show_default="by preset", help="Passes over the data."),
    ] = None,
    seed: SeedOption = None,
    test_folds: Annotated[
        str | None,
        typer.Option(
            metavar="1,2",
            show_default="1",
            help="Folds that are kept for the test; 'none' trains on everything.",
        ),
    ] = None,
    validation_folds: Annotated[
        str | None,
        typer.Option(
            metavar="3",
            show_default="none",
            help="Folds that choose the best epoch; without them it is the last.",
        ),
    ] = None,
    cross_validate: Annotated[
        bool,
        typer.Option(
            "--cross-validate",
            help="Test every fold, or those of --test-folds, by a network of its own, "
            "then train on all.",
        ),
    ] = False,
    only: Annotated[
        str | None,
        typer.Option(
            metavar="FOLD|final",
            show_default=False,
            help="Train only one network of a cross-validation, so that processes can "
            "share the work; the same without it, with --resume, then finishes.",
        ),
    ] = None,
    split: Annotated[
        Literal["fold", "group", "random"] | None,
        typer.Option(
            show_default="fold",
            help="Take the folds of the data (made by group where it has none), make "
            "them by group, or clip by clip: the article's way, which tests on "
            "recordings that training has heard.",
        ),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(min=2, show_default="5", help="Folds to make."),
    ] = None,
    negatives: NegativesOption = None,
    also: Annotated[
        list[Path] | None,
        typer.Option(
            "--also",
            metavar="DATA",
            show_default=False,
            help="Further recordings, always trained on, never tested.",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(
            "--teacher",
            metavar="FILE.onnx",
            show_default=False,
            help="A model that takes a mono waveform and gives an embedding, scores or "
            "logits: the network learns from what it makes of each window.",
        ),
    ] = None,
    bank: Annotated[
        Path | None,
        typer.Option(
            "--bank",
            metavar="DIR",
            show_default="in the run folder",
            help="Folder for the mixtures that the teacher has heard; may be shared.",
        ),
    ] = None,
    label_pattern: LabelPatternOption = None,
    group_pattern: GroupPatternOption = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            show_default="the cores but one",
            help="Processes that make training windows.",
        ),
    ] = None,
    threads: Annotated[
        int,
        typer.Option(
            min=1,
            help="Processor threads of the network.  More are faster, but end in other "
            "last digits: resume with as many.",
        ),
    ] = 1,
    cache: CacheOption = None,
    profile: Annotated[
        bool,
        typer.Option("--profile", help="Show at the end where the time has gone."),
    ] = False,
    compute_device: ComputeDeviceOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Train a model; print its figures."""
    from monitor.commands.configuration import load
    from monitor.commands.process import limit_threads, log_to_stderr

    configuration = load(config)
    log_to_stderr()
    limit_threads(threads)
    from training.cli import run_training
    from training.config import training_settings
    from training.mixtures.dataset import keep_freed_memory
    from training.mixtures.material import Places
    from training.network_training import Job

    keep_freed_memory()
    layer: dict[str, Any] = {
        "preset": preset,
        "seed": seed,
        "split": split,
        "folds": folds,
        "test_folds": fold_numbers(test_folds, () if cross_validate else (1,)),
        "validation_folds": fold_numbers(validation_folds),
        "optimiser": {} if epochs is None else {"epochs": epochs},
    }
    given = {key: value for key, value in layer.items() if value is not None}
    settings = training_settings(
        configuration.config.training, given, origin="training settings"
    )
    places = Places(
        data,
        cache_folder(cache),
        tuple(negatives or ()),
        tuple(also or ()),
        label_pattern,
        group_pattern,
    )
    job = Job(
        places,
        out,
        run or out.with_name(f"{out.stem}-run"),
        resume,
        cross_validate,
        teacher,
        bank,
        workers if workers is not None else _spare_cores(),
        compute_device or "cpu",
        _one_network(only),
    )
    run_training(job, settings, threads, stop_on_signals(), profile, as_json)
    return 0


def _one_network(text: str | None) -> int | None:
    """The fold whose network is asked for; 0 for the final one."""
    if text is None:
        return None
    return 0 if text == "final" else (*fold_numbers(text), 0)[0]


def _spare_cores() -> int:
    """The cores but one for each process that torchrun has started here."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0, (os.cpu_count() or 1) // processes - 1)


def stop_on_signals() -> threading.Event:
    """An event that Ctrl-C or SIGTERM sets; a second signal ends the process."""
    stop = threading.Event()

    def answer(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, answer)
    signal.signal(signal.SIGTERM, answer)
    return stop
