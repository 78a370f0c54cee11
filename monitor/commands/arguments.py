"""Options and arguments that several commands share, and how they are parsed."""

import contextlib
import os
import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

import typer

from monitor.errors import UsageError
from monitor.text import path_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from monitor.commands.configuration import Configuration
    from monitor.sinks.store.queries import Reader

ComputeDevice = Literal["auto", "cpu", "cuda", "mps"]
Speed = Literal["realtime", "max"]


def option(metavar: str | None, help_text: str, *names: str, **more: Any) -> Any:
    """Declare an option with a value; its name is that of the parameter by default."""
    return typer.Option(*names, metavar=metavar, help=help_text, **more)


def flag(name: str, help_text: str) -> Any:
    """Declare an option without a value."""
    return typer.Option(name, help=help_text)


def argument(metavar: str, help_text: str) -> Any:
    """Declare an argument."""
    return typer.Argument(metavar=metavar, help=help_text, show_default=False)


# The first line keeps the others as they are: a path is not broken at its hyphen.
ConfigOption = Annotated[
    Path | None,
    option(
        "FILE",
        "\b\nConfiguration file.  Without it:\n$SOUND_MONITOR_CONFIG, else\n"
        "/etc/sound-monitor/config.yaml, else\nthe defaults.",
    ),
]
ModelOption = Annotated[
    Path | None,
    option("FILE", "Model file, urban or world, instead of the default."),
]
_compute_device = option(
    None, "Processor of the network; auto uses a GPU if there is one."
)
ComputeDeviceOption = Annotated[ComputeDevice | None, _compute_device]
TrainingDeviceOption = Annotated[ComputeDevice, _compute_device]
JsonOption = Annotated[bool, flag("--json", "Print JSON, for other programs.")]
SinceOption = Annotated[
    str | None,
    option(
        "TIME", "Start: 90s, 15m, 1h, 2d or 1w ago, or a time like 2026-11-23T07:30."
    ),
]
UntilOption = Annotated[
    str | None, option("TIME", "End, in the same form; now by default.")
]
ArchiveOption = Annotated[
    Path | None, option("DIR", "Read an archive, see 'archive', not the database.")
]
DataArgument = Annotated[
    Path, argument("DATA", "The recordings: folder or CSV, see above.")
]
NegativesOption = Annotated[
    list[Path] | None,
    option("DIR", "Recordings without any of the labels; may be repeated."),
]
FoldsOption = Annotated[
    str | None, option("1,2", "Use only these folds of DATA.", show_default="all")
]
NegativesFoldsOption = Annotated[
    str | None,
    option("3", "Use only these folds of the negatives.", show_default="all"),
]
LabelPatternOption = Annotated[
    str | None,
    option(
        "REGEX", "Part of a file name that is its label.", show_default="the sub-folder"
    ),
]
GroupPatternOption = Annotated[
    str | None,
    option(
        "REGEX",
        "Part of a file name that names its recording.",
        show_default="the whole name",
    ),
]
CacheOption = Annotated[
    Path | None,
    option("DIR", "Folder for decoded recordings.", show_default="in the user's cache"),
]
SeedOption = Annotated[
    int | None,
    option("N", "Seed of the random number generators.", min=0, show_default="0"),
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


def database_path(configuration: "Configuration") -> Path:
    """Return the file that `run` writes with this configuration.

    Raises:
        UsageError: The configuration has none.
    """
    path = configuration.config.store.path
    if path is None:
        raise UsageError("store.path is null: there is no database")
    return configuration.state_dir / path


@contextlib.contextmanager
def open_history(
    configuration: "Configuration",
    archive: Path | None,
    since: datetime | None,
    until: datetime | None,
    *,
    has_levels: bool = True,
) -> "Iterator[Reader]":
    """Open the database, or of an archive what overlaps a time range.

    Raises:
        StoreError: It is not there, or cannot be read.
        UsageError: The configuration has no database.
    """
    if archive is not None:
        from monitor.fleet.archive.reader import open_archive

        opened: AbstractContextManager[Reader] = open_archive(
            archive, since, until, has_levels=has_levels
        )
    else:
        from monitor.sinks.store.queries import open_to_read

        opened = open_to_read(database_path(configuration))
    with opened as reader:
        yield reader


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


def with_plain_values(parameter: Any) -> Any:
    """Have a parameter of typer take text, paths and words of a choice as they are.

    For every value, given or not, typer asks pydantic, whose import takes longer than
    all the rest of a command line.  It still checks numbers, and words what is wrong.
    It has no public way to do without, and a version of other parts is left as it is.
    """
    with contextlib.suppress(AttributeError):
        if not isinstance(parameter.get_runtime_param, _PlainValues):
            parameter.get_runtime_param = _PlainValues(parameter)
    return parameter


class _PlainValues:
    """Takes the place of typer's conversion of one parameter."""

    def __init__(self, parameter: Any) -> None:
        self._checked = parameter.get_runtime_param
        kind = parameter.type_descriptor.annotation
        self._is_list = get_origin(kind) is list
        self._kind = get_args(kind)[0] if self._is_list else kind

    def __call__(self) -> "_PlainValues":
        """Return the conversion; typer asks each time."""
        return self

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """Convert the value of the command line, else the default or None."""
        if value is None:
            return () if self._is_list else None
        values = [self._plain(each) for each in (value if self._is_list else [value])]
        if None in values:
            return self._checked().coerce(value, param, ctx)
        return values if self._is_list else values[0]

    def _plain(self, value: Any) -> Any:
        """Return the converted value, or None if it needs a closer look."""
        kind = self._kind
        if get_origin(kind) is Literal:
            return value if value in get_args(kind) else None
        if kind is str and isinstance(value, str):
            return _checked_text(value)
        if kind is Path and isinstance(value, str):
            is_unreadable = os.access(value, os.F_OK) and not os.access(value, os.R_OK)
            return None if is_unreadable else Path(value)
        return value if isinstance(kind, type) and isinstance(value, kind) else None


def _checked_text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{path_text(text)}: is not text in UTF-8") from None
    return text
