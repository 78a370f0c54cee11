"""Tables that people bring: separated values, read as text, converted by own rules.

A library that guesses types makes 3.0 of a fold and nothing of a label NA.  Here every
cell is text until a row is asked for a number, and what is wrong is said in one
sentence with file and line.
"""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from monitor.errors import DatasetError

MAX_BYTES = 256 * 2**20
MAX_FOLD = 9999
_LONGEST_HEADER = 10_000
_MISSING = frozenset({"", "na", "n/a", "<na>", "nan", "none", "null"})
"""What programs write for a value that is not there."""
_WHOLE = re.compile(r"\d{1,9}(\.0*)?")
_FOLD = re.compile(r"(?:fold[ _-]?)?(\d{1,9})(?:\.0*)?", re.IGNORECASE)
_SECONDS = re.compile(r"\d+(\.\d*)?([eE][+-]?\d+)?|\.\d+")


class TableError(DatasetError):
    """A table breaks a rule; the message names file and line."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Row:
    """The cells of one row, by the names of the columns in lower case."""

    place: str
    """File and line, for messages."""
    cells: dict[str, str]

    def is_missing(self, column: str) -> bool:
        """True if there is no such column, or nothing in it."""
        return self.cells.get(column, "").casefold() in _MISSING

    def text(self, column: str) -> str:
        """Return a cell that must be filled in.

        Raises:
            TableError: It is not.
        """
        if self.is_missing(column):
            text = self.cells[column]
            what = f"is {text!r}, which stands for nothing" if text else "is empty"
            raise self.error(f"{column} {what}")
        return self.cells[column]

    def name(self, column: str) -> str:
        """Return a cell as a name: accented letters are the same however composed."""
        return unicodedata.normalize("NFC", self.text(column))

    def whole(self, column: str) -> int:
        """Return a number such as 3 or 3.0.

        Raises:
            TableError: It is none.
        """
        text = self.text(column)
        if _WHOLE.fullmatch(text) is None:
            raise self.error(f"{column}: {text!r} is not a whole number")
        return int(text.partition(".")[0])

    def fold(self, column: str) -> int:
        """Return the number of a fold: 3, 3.0 or fold3.

        Raises:
            TableError: It is none.
        """
        text = self.text(column)
        fold = fold_number(text)
        if fold is None:
            raise self.error(
                f"{column}: {text!r} is not a whole number, nor a name such as fold3"
            )
        return fold

    def seconds(self, column: str) -> float:
        """Return a time.

        Raises:
            TableError: It is none.
        """
        text = self.text(column)
        if _SECONDS.fullmatch(text) is None:
            hint = "; write a point, not a comma" if "," in text else ""
            raise self.error(f"{column}: {text!r} is not a number of seconds{hint}")
        return float(text)

    def error(self, problem: str) -> TableError:
        """Return an error at this row."""
        return TableError(f"{self.place}: {problem}")


@dataclass(frozen=True, slots=True)
class Table:
    """A table with named columns."""

    columns: tuple[str, ...]
    """In lower case."""
    rows: tuple[Row, ...]


def fold_number(text: str) -> int | None:
    """Read 3, 3.0, fold3 or Fold_03; None: it is no number of a fold."""
    match = _FOLD.fullmatch(text)
    if match is None or int(match[1]) > MAX_FOLD:
        return None
    return int(match[1])


def read_table(path: Path, required: Sequence[str], delimiters: str = ",;\t") -> Table:
    """Read a table whose first line names its columns.

    Args:
        path: UTF-8, or UTF-16 that begins with its mark.
        required: Columns that it must have, in lower case.
        delimiters: That which separates the names of these columns is taken.

    Raises:
        TableError: It cannot be read, lacks a column, or a row has too few cells.
    """
    text = _read_text(path)
    first = io.StringIO(text, newline=None).readline()[:_LONGEST_HEADER].rstrip("\n")
    headers = [(_cells(first, d), d) for d in delimiters]
    columns, delimiter = max(headers, key=lambda it: len({*required} & {*it[0]}))
    _check_columns(path, columns, required, delimiters)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    rows, line = [], 1
    try:
        for cells in reader:
            place, is_first = f"{path}: line {line}", line == 1
            line = reader.line_num + 1
            if not is_first and any(map(str.strip, cells)):
                rows.append(_row(place, columns, [cell.strip() for cell in cells]))
    except csv.Error as error:
        reason = str(error)
        if "end of data" in reason:
            reason = 'a quotation mark (") is not closed'
        raise TableError(f"{path}: line {line}: {reason}") from None
    return Table(columns, tuple(rows))


def _row(place: str, columns: Sequence[str], cells: Sequence[str]) -> Row:
    count = len(columns)
    if len(cells) < count or any(cells[count:]):
        more = "; was the file cut?" if len(cells) < count else ""
        raise TableError(f"{place}: has {len(cells)} cells, not {count}{more}")
    return Row(place, dict(zip(columns, cells, strict=False)))


def _cells(line: str, delimiter: str) -> tuple[str, ...]:
    found = next(csv.reader([line], delimiter=delimiter), [])
    return tuple(name.strip().casefold() for name in found)


def _check_columns(
    path: Path, columns: Sequence[str], required: Sequence[str], delimiters: str
) -> None:
    found = ", ".join(name or "''" for name in columns) or "nothing"
    between = "tabs" if delimiters == "\t" else "commas"
    for name in required:
        if name not in columns:
            raise TableError(
                f"{path}: there is no column {name!r}; the first line must name "
                f"{', '.join(required)}, with {between} between them, and names "
                f"{found:.200}"
            )
        if columns.count(name) > 1:
            raise TableError(f"{path}: there are two columns {name!r}")


def _read_text(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > MAX_BYTES:
            raise TableError(f"{path}: is too large for a table ({size} bytes)")
        content = path.read_bytes()
    except OSError as error:
        raise TableError(f"{path}: cannot be read ({error.strerror})") from None
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        before = content[: error.start]
        line = before.count(b"\n") + 1
        raise TableError(
            f"{path}: line {line}: is not UTF-8 text; save the table as UTF-8"
        ) from None
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise TableError(
            f"{path}: line {line}: holds a NUL character, as UTF-16 or a damaged file "
            "does; save the table as UTF-8"
        )
    return text
