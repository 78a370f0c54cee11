"""`sound-monitor calibrate`: thresholds from a budget of false alarms."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from monitor.commands.arguments import (
    CacheOption,
    ConfigOption,
    JsonOption,
    ModelOption,
    SinceOption,
    UntilOption,
    cache_folder,
    flag,
    fold_numbers,
    option,
)
from monitor.errors import UsageError
from monitor.extras import require_extra

if TYPE_CHECKING:
    from monitor.commands.configuration import Configuration
    from training.evaluate.stored_scores import ScoreQuery

HELP = """Set the thresholds of a model for a number of false alarms a day.

Needs recordings of the place in which none of the labels sounds
(--background), or the scores that the monitor of --config has stored there
(--store).  Hours are good, a night is better.  Rates that they are too short
to show are extrapolated, and marked so.  A threshold of the model file is
lowered only if they last 3 / N days: 36 hours for two false alarms a day.

Of a model with a catalogue the labels that the configuration chooses get
thresholds.  Where several models listen, --model names one of them.

People review events on the web page, and --store takes their verdicts: the
time of a rejected event is background; a confirmed one is not, and counts
beside the price, as an event that should not be missed.  "Another label"
rejects one and confirms the other.  How many went in is said; fewer than
five of a label change nothing, nor do those whose scores are deleted.

The cost is printed beside: with --events the true events in streams that are
missed, before and after; with --data the share of labelled recordings that
still reach the threshold; without, the share of events that the report of the
model states there, 12 to 20 dB above the background.  With --data the budget
is divided so that most of these are detected; without it every label gets an
equal share.  The other rules of detection are those of --config.

Examples, for two false alarms a day:
  sound-monitor calibrate --false-alarms-per-day 2 --background nights
  sound-monitor calibrate --false-alarms-per-day 2 --background nights \\
      --events scenes --out my.safetensors
  sound-monitor calibrate --false-alarms-per-day 2 --store --since 7d \\
      --fragment --except 2026-11-20T14:00/2026-11-20T14:05    a real siren
  sound-monitor calibrate --store --label siren    what its verdicts would do
"""

_DEFAULT_BUDGET = 2.0
"""False alarms a day over all labels."""


def calibrate(
    false_alarms_per_day: Annotated[
        float | None,
        option(
            "N",
            "Budget over all labels together, or all of --label.",
            min=0.001,
            show_default="2; with --label its share of them",
        ),
    ] = None,
    background: Annotated[
        Path | None, option("DIR", "Recordings without any of the labels.")
    ] = None,
    store: Annotated[
        bool, flag("--store", "Use the scores that the monitor has stored.")
    ] = False,
    since: SinceOption = None,
    until: UntilOption = None,
    excepted: Annotated[
        list[str] | None,
        option(
            "FROM/TO",
            "A time of --store in which labels did sound; may be given several times.",
            "--except",
        ),
    ] = None,
    chosen_labels: Annotated[
        list[str] | None,
        option(
            "LABEL",
            "Only this label, with the budget to itself; may be repeated.",
            "--label",
        ),
    ] = None,
    model: ModelOption = None,
    out: Annotated[Path | None, option("FILE", "Model file to write.")] = None,
    fragment: Annotated[
        bool, flag("--fragment", "Print a section for config.yaml.")
    ] = False,
    data: Annotated[
        Path | None,
        option(
            "DATA",
            "Labelled recordings in the form of 'train', for the recall and the "
            "division of the budget.",
        ),
    ] = None,
    events: Annotated[
        Path | None,
        option(
            "DIR", "Annotated streams in the form of 'scenes', for the missed events."
        ),
    ] = None,
    folds: Annotated[
        str | None, option("1,2", "Folds of --data.", show_default="all")
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
        raise UsageError("--since, --until and --except need --store")
    if data is not None:
        require_extra("train", "torch", "calibrate --data")
    if events is not None:
        require_extra("train", "scipy", "calibrate --events")
    configuration = load(config).fitting()
    settings = configuration.config
    files = settings.model_files
    if model is None and len(files) > 1:
        raise UsageError(
            f"--model: the configuration has {', '.join(map(str, files))}; name the "
            "one to calibrate"
        )
    from monitor.runtime.loading import labels_of

    file = files[0] if model is None else str(model)
    labels = labels_of(settings, file, configuration.state_dir)
    every, labels = labels, _chosen(labels, chosen_labels or (), data)
    if false_alarms_per_day is None:
        false_alarms_per_day = _DEFAULT_BUDGET * len(labels) / len(every)
    log_to_stderr()
    limit_threads(1)
    # What can be rejected is, before the slow imports.
    from training.data.discovery import reject_unusable
    from training.data.recordings import find_background, find_streams

    if background is not None:
        find_background(background)
    if events is not None:
        find_streams(events)
    if data is not None:
        reject_unusable(data)
    from training.calibrate import Budget, run_calibration
    from training.mixtures.material import DataPaths

    chosen = background or _query(configuration, since, until, tuple(excepted or ()))
    run_calibration(
        None if file is None else Path(file),
        Budget(chosen, false_alarms_per_day / 24, events),
        settings.detection,
        labels,
        None if data is None else DataPaths(data, cache_folder(cache)),
        fold_numbers(folds),
        out,
        fragment,
        as_json,
    )
    return 0


def _chosen(
    labels: Sequence[str], chosen: Sequence[str], data: Path | None
) -> tuple[str, ...]:
    """Return the labels that get thresholds, in the order of the model.

    Raises:
        UsageError: One of them is unknown, or --data has all.
    """
    if chosen and data is not None:
        raise UsageError("--label and --data: give only one of them")
    if unknown := set(chosen) - set(labels):
        raise UsageError(f"--label: {min(unknown)!r} is not one of {', '.join(labels)}")
    return tuple(label for label in labels if not chosen or label in chosen)


def _query(
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
    """Parse FROM/TO.

    Raises:
        UsageError: These are no times, or in the wrong order.
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
