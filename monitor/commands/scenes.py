"""`sound-monitor scenes`: test streams with events at known times."""

from pathlib import Path
from typing import Annotated

from monitor.commands.arguments import (
    CacheOption,
    FoldsOption,
    NegativesFoldsOption,
    argument,
    cache_folder,
    fold_numbers,
    option,
)
from monitor.errors import UsageError

HELP = """Make streams to test the monitor on.

Recordings with a label are laid over recordings of no label at known times
and levels.  Each stream is a pair NAME.wav and NAME.tsv (onset, offset,
event_label: tab-separated seconds), which 'evaluate --streams' takes.  Choose
folds that the model was not trained on.  The material of the streams is
listed in scenes.json.

Examples:
  sound-monitor scenes UrbanSound8K --folds 1 --negatives noises --out scenes
  sound-monitor scenes --negatives noises --negatives-folds 3 \\
      --events-per-minute 0 --hours 6 --out ambience       false alarms only
  sound-monitor evaluate scenes --streams
"""


def scenes(
    out: Annotated[Path, option("DIR", "Folder for the streams.")],
    data: Annotated[
        Path | None,
        argument(
            "DATA", "In the form of 'train'; not needed for streams without events."
        ),
    ] = None,
    negatives: Annotated[
        list[Path] | None,
        option(
            "DIR",
            "Recordings of no label, for the backgrounds.",
            "--negatives",
            "--background",
        ),
    ] = None,
    folds: FoldsOption = None,
    negatives_folds: NegativesFoldsOption = None,
    hours: Annotated[float, option("N", "Hours of streams.", min=0.01)] = 1.0,
    stream_minutes: Annotated[
        float, option("N", "Minutes of one stream.", min=1.0)
    ] = 10.0,
    events_per_minute: Annotated[
        float, option("N", "Events a minute; 0: none.", min=0.0, max=20.0)
    ] = 3.0,
    snr_db: Annotated[
        tuple[float, float],
        option("LOW HIGH", "Lowest and highest level of events over the background."),
    ] = (6.0, 20.0),
    overlap: Annotated[
        float, option("N", "Share of overlapping events.", min=0.0, max=1.0)
    ] = 0.2,
    seed: Annotated[int, option("N", "Seed of every random draw.", min=0)] = 0,
    cache: CacheOption = None,
) -> int:
    """Write the streams."""
    if data is None and events_per_minute > 0:
        raise UsageError("DATA is missing: events need labelled recordings")
    from monitor.commands.process import limit_threads, log_to_stderr

    log_to_stderr()
    limit_threads(1)
    from training.data.discovery import reject_unusable

    if data is not None:
        reject_unusable(data, negatives or ())
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
