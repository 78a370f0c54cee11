"""The process of a command: its threads, its log, and what it prints."""

import contextlib
import faulthandler
import inspect
import json
import logging
import os
import shutil
import sys
import textwrap
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from monitor.commands.arguments import with_plain_values
from monitor.text import cells, printable

# The numeric libraries read these when they are imported.  By default they use every
# core, which at a batch of one can cost a hundred times as much.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

_COLUMNS, _NARROWEST = 120, 24
"""Width of a pipe, and of the narrowest column whose texts are broken."""


def limit_threads(threads: int) -> None:
    """Limit the numeric libraries to `threads` threads.  Call before importing them."""
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Log to stderr, with priorities for the journal, otherwise with the time."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JournalFormatter() if _is_journal() else _PLAIN)
    handler.addFilter(_Printable())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for package in ("monitor", "training"):
        logging.getLogger(package).setLevel(level)


def enable_stack_traces() -> None:
    """Print the stack of every thread if a signal kills the process.

    For example SIGSEGV, or the SIGABRT that systemd sends to a monitor that hangs.
    """
    # Without a stderr, the monitor runs without stack traces.
    with contextlib.suppress(RuntimeError, OSError, ValueError):
        # Descriptor 2 itself: the stream may belong to a thread that runs no more.
        faulthandler.enable(2)


def _is_journal() -> bool:
    """Return True if stderr is connected to the journal; see systemd.exec(5).

    $JOURNAL_STREAM alone is no proof: terminals inherit it.
    """
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    stream = f"{stderr.st_dev}:{stderr.st_ino}"
    return os.environ.get("JOURNAL_STREAM") == stream


_PLAIN = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")


class _Printable(logging.Filter):
    """Removes control characters: messages quote devices, programs and servers."""

    def filter(self, record: logging.LogRecord) -> bool:
        lines = record.getMessage().splitlines()
        record.msg, record.args = "\n  ".join(map(printable, lines)), None
        return True


class _JournalFormatter(logging.Formatter):
    """Begins a line with `<N>`, the priority; see sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        priority = 3 if record.levelno >= logging.ERROR else 6
        if record.levelno == logging.WARNING:
            priority = 4
        # Without a priority, each further line would be a message of its own.
        return f"<{priority}>" + super().format(record).replace("\n", f"\n<{priority}>")


def print_json(value: object) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def print_json_line(value: object) -> None:
    """Print JSON on one line and flush: another program may be waiting for it."""
    sys.stdout.write(json.dumps(value, allow_nan=False) + "\n")
    sys.stdout.flush()


def print_line(text: str = "") -> None:
    """Print one line, without control characters."""
    sys.stdout.write(printable(text) + "\n")


def print_lines(texts: Iterable[str]) -> None:
    """Print each text on a line of its own."""
    for text in texts:
        print_line(text)


def print_error(message: str) -> None:
    """Print an error on stderr, one sentence for each line of `message`."""
    for sentence in message.splitlines():
        sys.stderr.write(f"sound-monitor: {printable(sentence)}\n")


def print_table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    empty: str = "",
    *,
    wraps: bool = False,
) -> None:
    """Print aligned columns, or `empty` if there are no rows.

    Nothing is cropped, however narrow the terminal is.

    Args:
        header: Titles of the columns.
        rows: Their cells.
        empty: Printed in place of a table without rows.
        wraps: Break the texts of the last column at the width of the terminal.
    """
    table = [tuple(map(printable, row)) for row in (header, *rows)]
    if empty and len(table) == 1:
        print_line(empty)
        return
    if wraps:
        table = list(_wrapped(table))
    widths = [max(map(cells, column)) for column in zip(*table, strict=True)]
    is_bold = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    for index, row in enumerate(table):
        padded = (
            text + " " * (width - cells(text))
            for text, width in zip(row, widths, strict=True)
        )
        line = "  ".join(padded).rstrip()
        is_title = is_bold and index == 0
        sys.stdout.write(f"\x1b[1m{line}\x1b[0m\n" if is_title else f"{line}\n")


def _wrapped(table: Sequence[Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Continue the last cell of a row in rows of their own."""
    *others, _ = zip(*table, strict=True)
    taken = sum(max(map(cells, column)) + 2 for column in others)
    columns = shutil.get_terminal_size((_COLUMNS, 24)).columns
    for *first, last in table:
        lines = textwrap.wrap(last, max(columns - taken, _NARROWEST)) or [""]
        yield (*first, lines[0])
        yield from ((*[""] * len(first), line) for line in lines[1:])


def _write_text(command: Any, formatter: Any) -> None:
    lines = inspect.cleandoc(command.help).splitlines()
    formatter.write("\n")
    formatter.write("".join(f"  {line}".rstrip() + "\n" for line in lines))


def _with_empty_values(words: Sequence[str], names: Container[str]) -> Iterator[str]:
    """Insert an empty value behind an option that no value follows."""
    following = [*words, "-"][1:]
    for word, after in zip(words, following, strict=True):
        yield word
        if word in names and after.startswith("-"):
            yield ""


class Command(TyperCommand):
    """A command whose arguments are shown by their names, without a Python type."""

    def format_help_text(self, _context: Any, formatter: Any) -> None:
        """Write the text line by line."""
        _write_text(self, formatter)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, which take most values without pydantic."""
        return list(map(with_plain_values, super().get_params(ctx)))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the words, of which an option with a `[VALUE]` may be the last."""
        optional = {
            name
            for parameter in self.params
            if (parameter.metavar or "").startswith("[")
            if parameter.param_type_name == "option"
            for name in parameter.opts
        }
        return super().parse_args(ctx, list(_with_empty_values(args, optional)))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line: FILE, not {FILE}."""
        pieces = super().collect_usage_pieces(ctx)
        return [piece.replace("{", "").replace("}", "") for piece in pieces]

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write the arguments, then the options."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None and parameter.param_type_name == "argument":
                sections["Arguments"].append((parameter.metavar or "", record[1]))
            elif record is not None:
                sections["Options"].append(record)
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


class Group(TyperGroup):
    """Commands in sections, each with its whole first sentence."""

    def format_help_text(self, _context: Any, formatter: Any) -> None:
        """Write the text line by line."""
        _write_text(self, formatter)

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the parameters, which take most values without pydantic."""
        return list(map(with_plain_values, super().get_params(ctx)))

    def format_commands(self, _context: Any, formatter: Any) -> None:
        """Write the commands by `rich_help_panel`."""
        width = max(map(len, self.commands))
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            title = getattr(command, "rich_help_panel", None) or "Commands"
            row = (name.ljust(width), command.get_short_help_str(limit=1000))
            sections.setdefault(title, []).append(row)
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def print_help_without_command(context: typer.Context) -> None:
    """Print the help of a group whose subcommand is missing; exit code 2."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
