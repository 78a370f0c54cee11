"""Output of the commands: JSON, aligned columns and error messages."""

import json
import sys
from collections.abc import Iterable, Sequence

from monitor.text import printable


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


def print_error(message: str) -> None:
    """Print an error on stderr, one sentence for each line of `message`."""
    for sentence in message.splitlines():
        sys.stderr.write(f"sound-monitor: {printable(sentence)}\n")


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print aligned columns, cropped to the terminal's width, uncropped in a pipe."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in header:
        table.add_column(Text(title), overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    console = Console(width=None if sys.stdout.isatty() else 10_000)
    with console.capture() as captured:
        console.print(table)
    for line in captured.get().splitlines():
        sys.stdout.write(line.rstrip() + "\n")
