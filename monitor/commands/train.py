"""`sound-monitor train`: a model from recordings."""

import os
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from monitor.commands.arguments import (
    CacheOption,
    ConfigOption,
    DataArgument,
    GroupPatternOption,
    JsonOption,
    LabelPatternOption,
    NegativesOption,
    SeedOption,
    SinceOption,
    TrainingDeviceOption,
    UntilOption,
    cache_folder,
    flag,
    fold_numbers,
    option,
)
from monitor.errors import UsageError
from monitor.extras import require_extra

HELP = """Train a model on recordings, test it on others, and write a model file.

DATA is one of
  a folder with a sub-folder for each label,
  the same below fold1 to fold5, or below train, val, test: folds 3, 2, 1,
  a CSV with the columns path,label[,fold][,group], paths relative to it,
  UrbanSound8K: a folder with metadata/UrbanSound8K.csv and audio/fold*/.
Any labels will do.  What is left out, and why, is printed before training.
Slices of one recording are never in training and in the test: the folds of
the data are used, or made of whole recordings.  Ctrl-C stops; --resume
continues to the same result.

Presets:
  mobile    a MobileNetV3 that begins as that of the included model urban,
            and of which fewer than 1,000 recordings change the heads alone
  mn04      the same of the included model world, with its front end
  article   four strided convolutions, 26,000 parameters, trained from scratch

With --from-reviews nothing is trained: DATA is a new folder, into which the
clips of reviewed events are written as such a data set, with folds of whole
days.  Wrong events become negatives.  The command that trains on them is
printed.

Examples:
  sound-monitor train genres --out genres.safetensors  a folder for each label
  sound-monitor train genres --from world              under the MIT licence
  sound-monitor train genres --from none               from scratch
  sound-monitor train UrbanSound8K --preset article --test-folds 1
  sound-monitor train mine --preset mobile --teacher mn04_as.onnx \\
      --negatives noises --places streets
  sound-monitor train genres --settings mine.yaml      see --print-settings
  sound-monitor run --model genres.safetensors         use the model
  sound-monitor train reviewed --from-reviews          from your own monitor
  sound-monitor train genres --tensorboard             then
  tensorboard --logdir model-run                       watch the training

Several processes, on one GPU each or on several machines, share the work of
one training; each takes its share of every batch:

  torchrun --nproc-per-node 2 --no-python sound-monitor train genres

The included model urban was trained with
  DATA           UrbanSound8K: folds 1 and 2, and a part of fold 3
  NEGATIVES      1,100 clips of 46 other classes of ESC-50, in any folders;
                 their names, fold-recording-take-class, give the folds: 3 is
                 the test
  PLACES         123 recordings of 110 places, as a CSV with path and group
  ESC50_TARGETS  65 clips of ESC-50 and of others for five of the labels, a
                 sub-folder for each
  TEACHER        mn04_as of EfficientAT as ONNX: takes `waveform` at 32 kHz,
                 gives `embedding` and `logits`
by the command in docs/accuracy.md.
"""


_OF_REVIEWS = ("data", "from_reviews", "since", "until", "config", "as_json")


def _print_settings(wanted: bool) -> None:
    if wanted:
        from training.config import SETTINGS_FILE

        typer.echo(SETTINGS_FILE.read_text(encoding="utf-8"), nl=False)
        raise typer.Exit


def train(
    context: typer.Context,
    data: DataArgument,
    out: Annotated[Path, option("FILE", "Model file to write.")] = Path(
        "model.safetensors"
    ),
    preset: Annotated[
        str | None,
        option(
            "article|mobile|mn04",
            "Network and its recipe.",
            show_default="that of --from; article without one",
        ),
    ] = None,
    begin_from: Annotated[
        str | None,
        option(
            "urban|world|none|FILE",
            "Model whose network training begins with: an included one, none, or a "
            "model file.  Of few recordings, only heads are learned.",
            "--from",
            show_default="urban; none with a teacher",
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        option("FILE", "YAML file with training settings, which override the recipe."),
    ] = None,
    _: Annotated[
        bool,
        typer.Option(
            "--print-settings",
            callback=_print_settings,
            is_eager=True,
            help="Print a settings file with every setting and its default, and exit.",
        ),
    ] = False,
    run: Annotated[
        Path | None,
        option(
            "DIR",
            "Folder for checkpoints, metrics and settings.",
            show_default="beside the model file",
        ),
    ] = None,
    resume: Annotated[
        bool, flag("--resume", "Continue the run in that folder.")
    ] = False,
    epochs: Annotated[
        int | None,
        option("N", "Passes over the data.", min=1, show_default="by preset"),
    ] = None,
    seed: SeedOption = None,
    test_folds: Annotated[
        str | None,
        option(
            "1,2",
            "Folds that are kept for the test; 'none' trains on everything.",
            show_default="1",
        ),
    ] = None,
    validation_folds: Annotated[
        str | None,
        option(
            "3",
            "Folds that choose the best epoch; without them it is the last.",
            show_default="none",
        ),
    ] = None,
    cross_validate: Annotated[
        bool,
        flag(
            "--cross-validate",
            "Test every fold, or those of --test-folds, by a network of its own, then"
            " train on all.",
        ),
    ] = False,
    split: Annotated[
        Literal["fold", "group", "random"] | None,
        option(
            None,
            "Take the folds of the data (made by group where it has none), make them "
            "by group, or clip by clip: the article's way, which tests on recordings "
            "that training contains.",
            show_default="fold",
        ),
    ] = None,
    folds: Annotated[
        int | None, option("N", "Folds to make.", min=2, show_default="5")
    ] = None,
    negatives: NegativesOption = None,
    also: Annotated[
        list[Path] | None,
        option(
            "DATA",
            "Further recordings of the same labels, always trained on, never tested.",
        ),
    ] = None,
    places: Annotated[
        list[Path] | None,
        option(
            "DATA",
            "Recordings of places without a label: a folder, or a CSV of path[,group]; "
            "may be repeated.  A network that knows them tells a sound from the place "
            "it is in.  Needs --negatives.",
        ),
    ] = None,
    place_pattern: Annotated[
        str | None,
        option(
            "REGEX",
            "Part of a file name that names its place; without it the group of the "
            "CSV, else each file is one.",
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        option(
            "FILE.onnx",
            "A model that takes a mono waveform and gives an embedding, scores or "
            "logits; the network learns from its outputs as well.",
        ),
    ] = None,
    target_cache: Annotated[
        Path | None,
        option(
            "DIR",
            "Folder for mixtures and the teacher's outputs; may be shared.",
            "--target-cache",
            "--bank",
            show_default="in the run folder",
        ),
    ] = None,
    label_pattern: LabelPatternOption = None,
    group_pattern: GroupPatternOption = None,
    workers: Annotated[
        int | None,
        option(
            "N",
            "Threads that make training windows.",
            min=0,
            show_default="the cores but one",
        ),
    ] = None,
    threads: Annotated[
        int,
        option(
            "N",
            "Processor threads of the network.  More are faster, but change the last "
            "digits of the result: resume with as many.",
            min=1,
        ),
    ] = 1,
    cache: CacheOption = None,
    tensorboard: Annotated[
        bool,
        flag("--tensorboard", "Write figures and pictures for TensorBoard."),
    ] = False,
    profile: Annotated[
        bool, flag("--profile", "Print the time of each part at the end.")
    ] = False,
    compute_device: TrainingDeviceOption = "cpu",
    from_reviews: Annotated[
        bool,
        flag(
            "--from-reviews",
            "Write the reviewed clips of the monitor of --config to DATA, and stop.",
        ),
    ] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Train a model; print its figures."""
    if from_reviews:
        _refuse_other_options(context)
        return _write_reviews(data, since, until, config, as_json)
    if since or until or config:
        raise UsageError("--since, --until and --config need --from-reviews")
    require_extra("train", "torch", "train")
    from monitor.commands.process import limit_threads, log_to_stderr

    log_to_stderr()
    limit_threads(threads)
    from training.data.discovery import reject_unusable

    reject_unusable(data, negatives or (), places or ())
    from training.cli import run_training
    from training.job import Job
    from training.mixtures.dataset import keep_freed_memory
    from training.mixtures.material import DataPaths
    from training.recipes import beginning, read_settings, training_settings

    keep_freed_memory()
    options: dict[str, Any] = {
        "preset": preset,
        "seed": seed,
        "split": split,
        "folds": folds,
        "test_folds": fold_numbers(test_folds, () if cross_validate else (1,)),
        "validation_folds": fold_numbers(validation_folds),
        "optimiser": {} if epochs is None else {"epochs": epochs},
    }
    job = Job(
        DataPaths(
            data,
            cache_folder(cache),
            tuple(negatives or ()),
            tuple(also or ()),
            label_pattern,
            group_pattern,
            tuple(places or ()),
            place_pattern,
        ),
        out,
        run or out.parent / f"{out.stem}-run",
        resume,
        cross_validate,
        teacher,
        target_cache,
        workers if workers is not None else _spare_cores(),
        compute_device,
        tensorboard,
    )
    chosen = training_settings(
        own := {} if settings is None else read_settings(settings),
        beginning(own, preset, begin_from, has_teacher=teacher is not None),
        {key: value for key, value in options.items() if value is not None},
        origin="training settings" if settings is None else str(settings),
    )
    run_training(job, chosen, threads, stop_on_signals(), profile, as_json)
    return 0


def _refuse_other_options(context: typer.Context) -> None:
    """Refuse options of a training where none takes place."""
    given = [
        parameter.opts[0]
        for parameter in context.command.params
        if parameter.name not in _OF_REVIEWS
        and (source := context.get_parameter_source(str(parameter.name))) is not None
        and source.name == "COMMANDLINE"
    ]
    if given:
        raise UsageError(
            f"--from-reviews trains nothing and takes no {', '.join(given)}: give "
            "them to the training on its data set"
        )


def _write_reviews(
    folder: Path,
    since: str | None,
    until: str | None,
    config: Path | None,
    as_json: bool,
) -> int:
    from monitor.commands.arguments import database_path, parse_time_range
    from monitor.commands.configuration import load
    from monitor.commands.process import log_to_stderr, print_json, print_line
    from training.data.reviewed_clips import write_reviewed

    log_to_stderr()
    configuration = load(config)
    clips = configuration.state_dir / configuration.config.clips.path
    times = parse_time_range(since, until)
    written = write_reviewed(folder, database_path(configuration), clips, *times)
    if as_json:
        print_json(asdict(written) | {"folder": str(folder)})
        return 0
    for line in written.lines():
        print_line(line)
    return 0


def _spare_cores() -> int:
    """Count the cores but one for each process that torchrun has started here."""
    processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return max(0, (os.cpu_count() or 1) // processes - 1)


def stop_on_signals() -> threading.Event:
    """Return an event that Ctrl-C or SIGTERM sets; a second signal ends the process."""
    stop = threading.Event()

    def answer(number: int, _: object) -> None:
        stop.set()
        signal.signal(number, signal.SIG_DFL)

    signal.signal(signal.SIGINT, answer)
    signal.signal(signal.SIGTERM, answer)
    return stop
