"""`sound-monitor calibrate`: thresholds from a budget of false alarms."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monitor.commands.arguments import (
    CacheOption,
    ConfigOption,
    JsonOption,
    ModelOption,
    SinceOption,
    UntilOption,
    cache_folder,
    fold_numbers,
)
from monitor.errors import UsageError

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from training.evaluate.stored_scores import ScoreQuery

HELP = """Set the thresholds of a model by how many false alarms may come a day.

Give recordings of the place in which nothing sounds that the model has a label for,
or with --store the scores that the monitor of --config has stored there, without any
sound.  Hours are good, a night is better.  What they are too short to show is
extrapolated, and said.  The cost is printed beside: with --events the true events that
are missed in streams, now and before; with --data the share of labelled recordings that
still reach the threshold.  With --data the alarms are allowed where most of these are
told for them, without it every label gets an equal share.  The other rules of detection
are those of --config.

\b
Examples:
  sound-monitor calibrate --background nights --false-alarms-per-day 2 --out FILE
  sound-monitor calibrate --background nights --false-alarms-per-day 2 --events scenes
  sound-monitor calibrate --store --since 7d --false-alarms-per-day 2 --fragment
  sound-monitor calibrate --store --since 7d --false-alarms-per-day 2 --fragment \\
      --except 2026-11-20T14:00/2026-11-20T14:05       a siren was there, truly
"""


def calibrate(
    false_alarms_per_day: Annotated[
        float, typer.Option(min=0.001, help="Budget over all labels together.")
    ],
    background: Annotated[
        Path | None,
        typer.Option(
            "--background",
            metavar="DIR",
            show_default=False,
            help="Recordings without any of the labels.",
        ),
    ] = None,
    store: Annotated[
        bool,
        typer.Option("--store", help="Take the scores that the monitor has stored."),
    ] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    excepted: Annotated[
        list[str] | None,
        typer.Option(
            "--except",
            metavar="FROM/TO",
            show_default=False,
            help="A time of --store in which labels did sound; several times if need "
            "be.",
        ),
    ] = None,
    model: ModelOption = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="FILE", show_default=False, help="Model file to write."
        ),
    ] = None,
    fragment: Annotated[
        bool, typer.Option("--fragment", help="Print a section for config.yaml.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DATA",
            show_default=False,
            help="Labelled recordings, as 'train' takes them, to tell the cost and "
            "deal the budget by it.",
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            "--events",
            metavar="DIR",
            show_default=False,
            help="Streams with annotations, as 'scenes' makes them, to tell the cost.",
        ),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(metavar="1,2", show_default="all", help="Folds of --data."),
    ] = None,
    cache: CacheOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> int:
    """Find thresholds; print them, and write them where asked."""
    from monitor.commands.configuration import load
    from monitor.commands.process import limit_threads, log_to_stderr

    if store == (background is not None):
        raise UsageError("give one of --background DIR and --store")
    if not store and (since or until or excepted):
        raise UsageError("--since, --until and --except choose from --store; give that")
    configuration = load(config)
    settings = configuration.config
    file = settings.model.file
    log_to_stderr()
    limit_threads(1)
    from training.cli import Budget, run_calibration
    from training.mixtures.material import DataPaths

    chosen = background or _extract(configuration, since, until, tuple(excepted or ()))
    run_calibration(
        model or (None if file is None else Path(file)),
        Budget(chosen, false_alarms_per_day / 24, events),
        settings.detection,
        None if data is None else DataPaths(data, cache_folder(cache)),
        fold_numbers(folds),
        out,
        fragment,
        as_json,
    )
    return 0


def _extract(
    configuration: "Configuration",
    since: str | None,
    until: str | None,
    excepted: tuple[str, ...],
) -> "ScoreQuery":
    from monitor.commands.arguments import database_path, parse_time_range
    from training.evaluate.stored_scores import ScoreQuery

    first, last = parse_time_range(since, until)
    spans = tuple(_span(text) for text in excepted)
    return ScoreQuery(database_path(configuration), first, last, spans)


def _span(text: str) -> tuple[datetime, datetime]:
    """Two moments with a slash between.

    Raises:
        UsageError: They are none, or in the wrong order.
    """
    from monitor.commands.arguments import parse_time_range

    since, slash, until = text.partition("/")
    if not (since and slash and until):
        raise UsageError(
            f"--except: {text!r} is not of the form FROM/TO, such as "
            "2026-11-20T14:00/2026-11-20T14:05"
        )
    first, last = parse_time_range(since, until)
    assert first is not None
    assert last is not None
    return first, last
