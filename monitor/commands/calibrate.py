"""`sound-monitor calibrate`: thresholds from a budget of false alarms."""

from pathlib import Path
from typing import Annotated

import typer

from monitor.commands.options import JsonOption, ModelOption

HELP = """Set the thresholds of a model by how many false alarms may come a day.

Give recordings of the place in which nothing sounds that the model has a label for;
hours are good, a night is better.  What they are too short to show is extrapolated, and
said.  The price is printed beside: with --events the true events that are missed in
streams, now and before; with --data the share of labelled recordings that still reach
the threshold.

\b
Examples:
  sound-monitor calibrate --background nights --false-alarms-per-day 2 --out FILE
  sound-monitor calibrate --background nights --false-alarms-per-day 2 --fragment
  sound-monitor calibrate --background nights --false-alarms-per-day 2 --events scenes
"""


def calibrate(
    background: Annotated[
        Path,
        typer.Option(
            "--background", metavar="DIR", help="Recordings without any of the labels."
        ),
    ],
    false_alarms_per_day: Annotated[
        float, typer.Option(min=0.001, help="Budget over all labels together.")
    ],
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
            help="Labelled recordings, as 'train' takes them, to tell the price.",
        ),
    ] = None,
    events: Annotated[
        Path | None,
        typer.Option(
            "--events",
            metavar="DIR",
            show_default=False,
            help="Streams with annotations, as 'scenes' makes them, to tell the price.",
        ),
    ] = None,
    folds: Annotated[
        str | None,
        typer.Option(metavar="1,2", show_default="all", help="Folds of --data."),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            show_default="in the user's cache",
            help="Folder for decoded recordings.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> int:
    """Find thresholds; print them, and write them where asked."""
    from monitor.commands.process import limit_threads, log_to_stderr
    from monitor.commands.training_options import cache_folder, fold_numbers

    log_to_stderr()
    limit_threads(1)
    from training.cli_calibrate import Budget, run_calibration
    from training.material import Places

    places = None if data is None else Places(data, cache_folder(cache))
    budget = Budget(background, false_alarms_per_day / 24, events)
    chosen = fold_numbers(folds)
    run_calibration(model, budget, places, chosen, out, fragment, as_json)
    return 0
