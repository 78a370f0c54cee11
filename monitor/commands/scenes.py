"""`sound-monitor scenes`: test streams with events at known times."""

from pathlib import Path
from typing import Annotated

import typer

from monitor.commands.arguments import (
    CacheOption,
    FoldsOption,
    NegativesFoldsOption,
    cache_folder,
    fold_numbers,
)
from monitor.errors import UsageError

HELP = """Make streams to test the monitor on.

Recordings with a label are laid over recordings of no label at known times and levels.
Each stream is a pair NAME.wav and NAME.tsv (onset, offset, event_label: tab-separated
seconds), which 'evaluate --streams' takes.  Choose folds that the model was not
trained on.  The material of the streams is listed in scenes.json.

\b
Examples:
  sound-monitor scenes UrbanSound8K --folds 1 --negatives noises --out scenes
  sound-monitor scenes --negatives noises --negatives-folds 3 \\
      --events-per-minute 0 --hours 6 --out ambience       false alarms only
  sound-monitor evaluate scenes --streams
"""


def scenes(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Folder for the streams.")
    ],
    data: Annotated[
        Path | None,
        typer.Argument(
            metavar="[DATA]",
            show_default=False,
            help="In the form of 'train'; not needed for streams without events.",
        ),
    ] = None,
    negatives: Annotated[
        list[Path] | None,
        typer.Option(
            "--negatives",
            "--background",
            metavar="DIR",
            show_default=False,
            help="Recordings of no label, for the backgrounds.",
        ),
    ] = None,
    folds: FoldsOption = None,
    negatives_folds: NegativesFoldsOption = None,
    hours: Annotated[float, typer.Option(min=0.01, help="Hours of streams.")] = 1.0,
    stream_minutes: Annotated[
        float, typer.Option(min=1.0, help="Minutes of one stream.")
    ] = 10.0,
    events_per_minute: Annotated[
        float, typer.Option(min=0.0, max=20.0, help="Events a minute; 0: none.")
    ] = 3.0,
    snr_db: Annotated[
        tuple[float, float],
        typer.Option(help="Lowest and highest level of events over the background."),
    ] = (6.0, 20.0),
    overlap: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of overlapping events.")
    ] = 0.2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = 0,
    cache: CacheOption = None,
) -> int:
    """Write the streams."""
    if data is None and events_per_minute > 0:
        raise UsageError("DATA is missing: events need labelled recordings")
    from monitor.commands.process import limit_threads, log_to_stderr

    log_to_stderr()
    limit_threads(1)
    from training.cli import run_scenes
    from training.mixtures.material import DataPaths
    from training.streams.scenes import Folds, SceneSettings

    settings = SceneSettings(
        hours=hours,
        stream_minutes=stream_minutes,
        events_per_minute=events_per_minute,
        snr_db=snr_db,
        overlap_share=overlap,
        seed=seed,
    )
    paths = DataPaths(data or Path(), cache_folder(cache), tuple(negatives or ()))
    chosen = Folds(fold_numbers(folds), fold_numbers(negatives_folds))
    run_scenes(paths, out, chosen, settings)
    return 0
