"""A terminal, as far as a display that redraws itself needs one."""

import io
import re

_SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([\r\n])|([^\x1b\r\n]+)")


class Screen(io.TextIOBase):
    """Interprets what is written to a terminal; `lines` is the visible text.

    Knows new lines, carriage returns, cursor up, home, erase in line and in display,
    and the hiding of the cursor.  It is as high as needed, so nothing scrolls away.
    """

    def __init__(self, encoding: str = "utf-8") -> None:
        super().__init__()
        self._name = encoding
        self._rows = [""]
        self._row = self._column = 0
        self.writes = 0
        self.has_cursor = True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return self._name

    @property
    def lines(self) -> list[str]:
        return [row.rstrip() for row in self._rows]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.writes += 1
        for match in _SEQUENCE.finditer(text):
            arguments, command, control, printed = match.groups()
            if printed:
                self._print(printed)
            elif control == "\r":
                self._column = 0
            elif control == "\n":
                self._column = 0
                self._row += 1
                self._reach()
            else:
                self._obey(command, arguments)
        return len(text)

    def narrow(self, width: int) -> None:
        """Wrap the rows, as terminals do when their window becomes narrower."""
        rows: list[str] = []
        row = self._row
        for number, old in enumerate(self.lines):
            pieces = [old[at : at + width] for at in range(0, len(old), width)] or [""]
            rows += pieces
            if number == self._row:
                row = len(rows) - 1
        self._rows, self._row = rows, row

    def _print(self, text: str) -> None:
        row = self._rows[self._row].ljust(self._column)
        end = self._column + len(text)
        self._rows[self._row] = row[: self._column] + text + row[end:]
        self._column = end

    def _obey(self, command: str, arguments: str) -> None:
        match command, arguments:
            case "A", count:
                self._row = max(0, self._row - int(count or 1))
            case "K", "2":
                self._rows[self._row] = ""
            case "J", "2":
                self._rows = [""] * len(self._rows)
            case "H", "":
                self._row = self._column = 0
            case (("l" | "h"), "?25"):
                self.has_cursor = command == "h"
            case "m", _:
                pass
            case _:
                raise AssertionError(f"unknown sequence {arguments}{command}")

    def _reach(self) -> None:
        while len(self._rows) <= self._row:
            self._rows.append("")
