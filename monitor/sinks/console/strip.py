"""Pictures over time: the log-mel strip in half blocks, and columns of heights."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray
from rich.color import Color, ColorSystem
from rich.segment import Segment
from rich.style import Style

from monitor.sinks.console.paint import PLAIN, Canvas, Glyphs, Line

COLUMNS_PER_SECOND = 10
"""As `audio.columns` makes them."""

LONGEST_SECONDS = 60
SHADES = 32

_COLOURS = (
    (4, 3, 18),
    (28, 16, 68),
    (79, 18, 123),
    (129, 37, 129),
    (181, 54, 122),
    (229, 80, 100),
    (251, 135, 97),
    (254, 194, 135),
    (252, 253, 191),
)
"""From quiet to loud: magma of matplotlib, which colour-blind people read as well."""

_STEP = 255 // 20  # 4.7 dB: 255 is 0 dB, and 0 is -100 dB
_LEAST_RANGE = 8 * _STEP


class Strip:
    """The log-mel columns of the latest minute of one source.  Used by one thread."""

    def __init__(self) -> None:
        self._columns: NDArray[np.uint8] | None = None
        self._count = 0
        """Columns so far; cells begin at multiples, so that they do not flicker."""

    def push(self, columns: NDArray[np.uint8]) -> None:
        """Take columns that follow, (n, bands), quantised: 255 is full scale."""
        if not len(columns):
            return
        before = columns[:0] if self._columns is None else self._columns
        kept = np.concatenate([before, columns])
        self._columns = kept[-LONGEST_SECONDS * COLUMNS_PER_SECOND :]
        self._count += len(columns)

    @property
    def is_empty(self) -> bool:
        """True before the first column."""
        return self._columns is None

    def shades(self, width: int, rows: int, seconds: float) -> NDArray[np.int16]:
        """Return (rows, width) of shades from 0 to `SHADES` - 1, the high bands first.

        The newest column is at the right; before the first one it is dark.
        """
        grid = np.zeros((rows, width), np.int16)
        columns = self._columns
        if columns is None:
            return grid
        first, covered = self._count - len(columns), seconds * COLUMNS_PER_SECOND
        cells = np.arange(first, self._count) * width // round(covered)
        starts = np.flatnonzero(np.diff(cells, prepend=-1))
        pooled = np.maximum.reduceat(columns, starts, axis=0)[-width:]
        low, high = self._range(columns)
        scaled = (pooled.astype(np.float32) - low) * ((SHADES - 1) / (high - low))
        bands = pooled.shape[1]
        scaled = scaled.clip(0, SHADES - 1)
        if rows <= bands:
            edges = np.arange(rows) * bands // rows
            scaled = np.maximum.reduceat(scaled, edges, axis=1)
        else:
            scaled = scaled[:, np.arange(rows) * bands // rows]
        places = cells[starts][-len(scaled) :] - cells[-1] + width - 1
        for at, shades in zip(places.tolist(), np.rint(scaled), strict=True):
            # To the end: where there are more cells than columns, each fills several.
            grid[::-1, max(0, at) :] = shades[:, None]
        return grid

    @staticmethod
    def _range(columns: NDArray[np.uint8]) -> tuple[int, int]:
        """The quantised levels of the darkest and of the brightest shade."""
        quiet, loud = np.percentile(columns, (30, 99.8))
        low = int(quiet) // _STEP * _STEP
        return low, max(low + _LEAST_RANGE, -(-int(loud) // _STEP) * _STEP)


def draw_strip(
    strip: Strip, width: int, rows: int, seconds: float, canvas: Canvas
) -> list[Line]:
    """Draw the latest `seconds`.

    The halves of a cell have a colour each; a cell without colours is a shade.
    """
    if not width:
        return [[] for _ in range(rows)]
    has_colours = canvas.colours not in (None, ColorSystem.STANDARD)
    if not has_colours or canvas.glyphs.shades.isascii():
        return _shaded(strip.shades(width, rows, seconds), canvas.glyphs)
    grid = strip.shades(width, 2 * rows, seconds)
    return [_halves(grid[2 * row], grid[2 * row + 1]) for row in range(rows)]


UPPER_HALF = "▀"


def _halves(upper: NDArray[np.int16], lower: NDArray[np.int16]) -> Line:
    """A line of half blocks, of which neighbours of one colour are one segment."""
    pairs = upper.astype(np.int32) * (SHADES + 1) + lower
    starts = np.flatnonzero(np.diff(pairs, prepend=-(10**6)))
    lengths = np.diff(starts, append=len(pairs))
    return [
        Segment(UPPER_HALF * length, _style(int(upper[at]), int(lower[at])))
        for at, length in zip(starts.tolist(), lengths.tolist(), strict=True)
    ]


def _shaded(grid: NDArray[np.int16], glyphs: Glyphs) -> list[Line]:
    shades = glyphs.shades
    index = np.maximum(0, grid) * len(shades) // SHADES
    return [[Segment("".join(shades[i] for i in row), PLAIN)] for row in index.tolist()]


@cache
def _style(upper: int, lower: int) -> Style:
    return Style(color=_colour(upper), bgcolor=_colour(lower))


@cache
def _colour(shade: int) -> Color:
    place = shade / (SHADES - 1) * (len(_COLOURS) - 1)
    at = min(int(place), len(_COLOURS) - 2)
    pairs = zip(_COLOURS[at], _COLOURS[at + 1], strict=True)
    return Color.from_rgb(*(a + (b - a) * (place - at) for a, b in pairs))


def over_time(
    points: Sequence[tuple[float, float]], width: int, seconds: float
) -> list[float | None]:
    """Spread values over the latest `seconds` in `width` cells, the newest right.

    Args:
        points: Time and value, in order; a value holds for `seconds` / `width` or until
            the next, at most for a second.
        width: Number of cells.
        seconds: Time that they cover.

    Returns:
        The highest value of each cell; None where there is none.
    """
    cells: list[float | None] = [None] * width
    if not points or not width:
        return cells
    step = seconds / width
    newest = int(points[-1][0] / step)
    before = float("-inf")
    for time, value in points:
        first = int(max(before, time - 1.0) / step) + 1
        last = int(time / step)
        for cell in range(min(first, last), last + 1):
            at = width - 1 - (newest - cell)
            if 0 <= at < width:
                known = cells[at]
                cells[at] = value if known is None else max(known, value)
        before = time
    return cells


def heights(
    values: Sequence[float | None], low: float, high: float, rows: int, glyphs: Glyphs
) -> list[str]:
    """Draw columns from `low` to `high` in lines of text, the highest line first."""
    steps = glyphs.heights
    most = rows * len(steps)

    def height(value: float | None) -> int:
        if value is None:
            return 0
        share = (value - low) / (high - low)
        return round(min(1.0, max(0.0, share)) * (most - 1)) + 1

    counts = [height(value) for value in values]
    return [
        "".join(
            " " if count <= base else steps[min(count - base, len(steps)) - 1]
            for count in counts
        )
        for base in range((rows - 1) * len(steps), -1, -len(steps))
    ]
