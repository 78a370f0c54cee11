"""Pieces of a line on a terminal: texts of fixed width, and bars."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from monitor.sinks.wording import printable

Line = list[Segment]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of a display; some terminals have only ASCII."""

    on: str
    waiting: str
    off: str
    full: str
    half: str
    empty: str
    full_mark: str
    empty_mark: str


UNICODE = Glyphs("●", "◌", "○", "━", "╾", "─", "┿", "┼")
ASCII = Glyphs("*", "~", "o", "=", "-", "-", "|", "|")


@dataclass(frozen=True, slots=True)
class Canvas:
    """Where and with what to draw."""

    width: int
    height: int
    glyphs: Glyphs


PLAIN = Style()
DIM = Style(dim=True)
BOLD = Style(bold=True)
GOOD = Style(color="green")
WARN = Style(color="yellow")
BAD = Style(color="red")
ALARM = Style(color="yellow", bold=True)
SCORE = Style(color="cyan")


def cell(
    text: str, width: int, style: Style = PLAIN, *, right: bool = False
) -> Segment:
    """Pad or crop `text` to `width` cells; make it harmless to a terminal."""
    text = printable(text)
    length = cell_len(text)
    if length > width:
        text = set_cell_size(text, max(0, width))
    elif right:
        text = " " * (width - length) + text
    else:
        text += " " * (width - length)
    return Segment(text, style)


def space(width: int) -> Segment:
    """Draw nothing, `width` cells wide."""
    return Segment(" " * max(0, width))


def crop(line: Line, width: int) -> Line:
    """Cut a line off after `width` cells."""
    return Segment.adjust_line_length(line, width, pad=False)


def bar(
    share: float,
    width: int,
    glyphs: Glyphs,
    zones: Sequence[tuple[float, Style]],
    mark: float | None = None,
) -> Line:
    """Draw a bar that is filled to `share` of its `width` cells.

    Args:
        share: From 0 to 1; beyond, the bar is empty or full.
        width: Cells.
        glyphs: Characters to draw with.
        zones: Up to which share of the width which style holds; the last reaches to 1.
        mark: Share at which a mark stands, as for a threshold.
    """
    halves = round(2 * width * min(1.0, max(0.0, share)))
    filled = glyphs.full * (halves // 2) + glyphs.half * (halves % 2)
    empty = glyphs.empty * (width - len(filled))
    if mark is not None:
        at = min(width - 1, max(0, int(mark * width)))
        if at < len(filled):
            filled = filled[:at] + glyphs.full_mark + filled[at + 1 :]
        else:
            at -= len(filled)
            empty = empty[:at] + glyphs.empty_mark + empty[at + 1 :]
    line, first = [], 0
    for until, style in zones:
        last = round(until * width)
        if filled[first:last]:
            line.append(Segment(filled[first:last], style))
        first = last
    return [*line, Segment(empty, DIM)]
