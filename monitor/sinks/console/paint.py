"""Lines of styled text of an exact width, and their bytes for a terminal."""

from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.color import Color, ColorSystem
from rich.segment import Segment
from rich.style import Style

from monitor.text import printable

Line = list[Segment]


class Glyphs(NamedTuple):
    """The characters of a display; some terminals have only ASCII."""

    on: str
    waiting: str
    off: str
    full: str
    half: str
    empty: str
    full_mark: str
    empty_mark: str
    heights: str
    """Columns of growing height, the first of them nearly nothing."""

    shades: str
    """Characters that grow darker, the first of them a space."""

    dot: str
    """Between the parts of a line."""

    more: str
    """Stands for what was cut off."""


UNICODE = Glyphs(
    *("●", "◌", "○", "━", "╾", "─", "┿", "┼"), "▁▂▃▄▅▆▇█", " ░▒▓█", "·", "…"
)
ASCII = Glyphs(
    *("*", "~", "o", "=", "-", "-", "|", "|"), "_.,:-=+#", " .:-=+*#%@", "-", "~"
)

PLAIN = Style()
DIM = Style(dim=True)
BOLD = Style(bold=True)
TITLE = Style(color="bright_cyan", bold=True)
GOOD = Style(color="green")
WARNING = Style(color="yellow")
BAD = Style(color="bright_red")
ONGOING = Style(color="bright_yellow", bold=True)
SCORE = Style(color="cyan")
BAR = Style(bgcolor="#30343f")
"""Background of the first and of the last line."""


class Canvas(NamedTuple):
    """The size of a display in cells and lines, its characters and its colours."""

    width: int
    height: int
    glyphs: Glyphs
    colours: ColorSystem | None
    """Colours of the terminal; None: it has none."""


def text(words: str, style: Style = PLAIN) -> Segment:
    """A text without what could move the cursor or break the line."""
    return Segment(printable(words), style)


def fitted(words: str, width: int, glyphs: Glyphs, style: Style = PLAIN) -> Segment:
    """A text in exactly `width` cells; what does not fit is cut off with a mark."""
    words = printable(words)
    if cell_len(words) > width > 0:
        words = set_cell_size(words, width - 1) + glyphs.more
    return Segment(set_cell_size(words, width), style)


def to_right(words: str, width: int, style: Style = PLAIN) -> Segment:
    """A short text at the right end of `width` cells."""
    words = printable(words)
    return Segment(set_cell_size(" " * (width - cell_len(words)) + words, width), style)


def line_width(line: Iterable[Segment]) -> int:
    """Cells of a line."""
    return sum(cell_len(segment.text) for segment in line)


def filled(line: Iterable[Segment], width: int, style: Style = PLAIN) -> Line:
    """A line in exactly `width` cells."""
    return Segment.adjust_line_length(list(line), width, style)


def ends(left: Line, right: Line, width: int, style: Style = PLAIN) -> Line:
    """Two texts at the two ends of a line; the right one goes if they do not fit."""
    room = width - line_width(right)
    if line_width(left) > room:
        return filled(left, width, style)
    return filled(left, room, style) + right


def on_bar(line: Line) -> Line:
    """The same line on the background of the bars."""
    return [Segment(it.text, BAR + (it.style or PLAIN)) for it in line]


def block(lines: Sequence[Line], width: int, height: int) -> list[Line]:
    """Exactly `height` lines of exactly `width` cells."""
    height = max(0, height)
    kept = [filled(line, width) for line in lines[:height]]
    return kept + [filled([], width)] * (height - len(kept))


def beside(blocks: Iterable[tuple[Sequence[Line], int]], height: int) -> list[Line]:
    """Blocks of lines side by side; each comes with its width."""
    columns = [block(lines, width, height) for lines, width in blocks]
    return [list(chain(*row)) for row in zip(*columns, strict=True)]


def encoded(line: Line, colours: ColorSystem | None) -> str:
    """The line with the sequences that style it; it ends unstyled.

    A strip changes its colours in every cell, so only what changes is written.
    """
    if colours is None:
        return "".join(segment.text for segment in line)
    written: list[str] = []
    now = _UNSTYLED
    for segment in line:
        parts = _sequences(segment.style or PLAIN, colours)
        if parts != now:
            changes = [
                it for it, before in zip(parts, now, strict=True) if it != before
            ]
            if now.attributes and parts.attributes != now.attributes:
                # One attribute cannot be taken back without the others.
                changes = ["0", *(it for it in parts if it not in _UNSTYLED)]
            written.append(f"\x1b[{';'.join(changes)}m")
            now = parts
        written.append(segment.text)
    return "".join(written) + ("\x1b[0m" if now != _UNSTYLED else "")


class _Sequences(NamedTuple):
    """The parameters of a style in `CSI ... m`."""

    attributes: str
    colour: str
    background: str


_UNSTYLED = _Sequences("", "39", "49")


@cache
def _sequences(style: Style, colours: ColorSystem) -> _Sequences:
    attributes = [
        code for code, is_on in (("1", style.bold), ("2", style.dim)) if is_on
    ]
    return _Sequences(
        ";".join(attributes),
        _colour(style.color, colours, foreground=True),
        _colour(style.bgcolor, colours, foreground=False),
    )


def _colour(colour: Color | None, colours: ColorSystem, *, foreground: bool) -> str:
    if colour is None:
        return "39" if foreground else "49"
    return ";".join(colour.downgrade(colours).get_ansi_codes(foreground=foreground))
