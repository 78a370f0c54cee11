"""Options and arguments that several commands share, and how they are parsed."""

import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Annotated, Literal

import typer

from monitor.commands.configuration import Configuration
from monitor.errors import UsageError

ComputeDevice = Literal["auto", "cpu", "cuda", "mps"]
Speed = Literal["realtime", "max"]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE",
        show_default=False,
        help="Configuration file.  Without it: $SOUND_MONITOR_CONFIG, else "
        "/etc/sound-monitor/config.yaml, else the defaults.",
    ),
]
ModelOption = Annotated[
    Path | None,
    typer.Option(
        "--model",
        metavar="FILE",
        show_default=False,
        help="Model file, instead of the included model.",
    ),
]
ComputeDeviceOption = Annotated[
    ComputeDevice | None,
    typer.Option(
        "--compute-device",
        show_default=False,
        help="Where the network runs; auto uses a GPU if there is one.",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print JSON, for other programs.")
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since",
        metavar="TIME",
        show_default=False,
        help="Start: 90s, 15m, 1h, 2d or 1w ago, or a time like 2026-11-23T07:30.",
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until",
        metavar="TIME",
        show_default=False,
        help="End, in the same form; now by default.",
    ),
]


_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_AGO = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])")


def parse_time(text: str, now: datetime, option: str) -> datetime:
    """Read 90s, 15m, 1h, 2d or 1w (ago), a date, or a time in ISO 8601.

    Args:
        text: A time without an offset is local.
        now: The current time.
        option: Name of the option, for the message.

    Returns:
        UTC.

    Raises:
        UsageError: The text has none of these forms.
    """
    ago = _AGO.fullmatch(text.strip())
    try:
        if ago is not None:
            unit = {_UNITS[ago[2]]: float(ago[1])}
            return (now - timedelta(**unit)).astimezone(UTC)
        # A naive time counts as local.
        return datetime.fromisoformat(text.strip()).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{option}: {text!r} is not a time; write 90s, 15m, 1h, 2d or 1w (ago), or "
            "a time such as 2026-11-23T07:30"
        ) from None


def parse_day(text: str, now: datetime) -> date:
    """Read today, yesterday or a date, in local time.

    Raises:
        UsageError: The text has none of these forms.
    """
    today = now.astimezone().date()
    named = {"today": today, "yesterday": today - timedelta(days=1)}
    try:
        return named.get(text) or date.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"DAY: {text!r} is not a day; write today, yesterday or a date: 2026-11-23"
        ) from None


def database_path(configuration: Configuration) -> Path:
    """Return the file that `run` writes with this configuration.

    Raises:
        UsageError: The configuration has none.
    """
    path = configuration.config.store.path
    if path is None:
        raise UsageError("store.path is null: there is no database")
    return configuration.state_dir / path


def parse_time_range(
    since: str | None, until: str | None
) -> tuple[datetime | None, datetime | None]:
    """Read the values of --since and --until; return UTC.

    Raises:
        UsageError: One is not a time, or the end is not after the start.
    """
    now = datetime.now(UTC)
    first = None if since is None else parse_time(since, now, "--since")
    last = None if until is None else parse_time(until, now, "--until")
    if first is not None and last is not None and last <= first:
        raise UsageError(f"--until: {until!r} is not after --since {since!r}")
    return first, last


DataArgument = Annotated[Path, typer.Argument(metavar="DATA", help="The recordings.")]
NegativesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--negatives",
        metavar="DIR",
        show_default=False,
        help="Recordings without any of the labels; may be repeated.",
    ),
]
FoldsOption = Annotated[
    str | None,
    typer.Option(
        "--folds",
        metavar="1,2",
        show_default="all",
        help="Use only these folds of DATA.",
    ),
]
NegativesFoldsOption = Annotated[
    str | None,
    typer.Option(
        "--negatives-folds",
        metavar="3",
        show_default="all",
        help="Use only these folds of the negatives.",
    ),
]
LabelPatternOption = Annotated[
    str | None,
    typer.Option(
        "--label-pattern",
        metavar="REGEX",
        show_default="the sub-folder",
        help="Part of a file name that is its label.",
    ),
]
GroupPatternOption = Annotated[
    str | None,
    typer.Option(
        "--group-pattern",
        metavar="REGEX",
        show_default="the whole name",
        help="Part of a file name that names its recording.",
    ),
]
CacheOption = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        metavar="DIR",
        show_default="in the user's cache",
        help="Folder for decoded recordings.",
    ),
]
SeedOption = Annotated[
    int | None,
    typer.Option(min=0, show_default="0", help="Seed of the random number generators."),
]


def cache_folder(chosen: Path | None) -> Path:
    """Return the folder for decoded recordings: `chosen`, else the user's cache."""
    if chosen is not None:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sound-monitor"


def fold_numbers(text: str | None, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Read a list of folds such as 1,2; 'none' is an empty one.

    Raises:
        UsageError: The text has neither form.
    """
    if text is None:
        return default
    if text == "none":
        return ()
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"folds: {text!r} is not a list of numbers like 1,2, nor 'none'"
        ) from None
