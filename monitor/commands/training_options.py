"""Options that the commands around training share, and how their words are read."""

import os
from pathlib import Path
from typing import Annotated

import typer

from monitor.errors import UsageError

DataArgument = Annotated[Path, typer.Argument(metavar="DATA", help="The recordings.")]
NegativesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--negatives",
        metavar="DIR",
        show_default=False,
        help="Recordings of no label; may be given several times.",
    ),
]
FoldsOption = Annotated[
    str | None,
    typer.Option(
        "--folds",
        metavar="1,2",
        show_default="all",
        help="Only the recordings of these folds of DATA.",
    ),
]
NegativesFoldsOption = Annotated[
    str | None,
    typer.Option(
        "--negatives-folds",
        metavar="3",
        show_default="all",
        help="Only these folds of the negatives.",
    ),
]
LabelPatternOption = Annotated[
    str | None,
    typer.Option(
        "--label-pattern",
        metavar="REGEX",
        show_default="the sub-folder",
        help="Where in a file's name its label is.",
    ),
]
GroupPatternOption = Annotated[
    str | None,
    typer.Option(
        "--group-pattern",
        metavar="REGEX",
        show_default="the whole name",
        help="Where in a file's name its recording is.",
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
    int | None, typer.Option(min=0, show_default="0", help="Of every random draw.")
]


def cache_folder(chosen: Path | None) -> Path:
    """Folder for decoded recordings: the one chosen, else in the user's cache."""
    if chosen is not None:
        return chosen
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "sound-monitor"


def fold_numbers(text: str | None, default: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Read a list of folds such as 1,2; 'none' is an empty one.

    Raises:
        UsageError: It is neither.
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
