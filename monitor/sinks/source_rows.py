"""The part of the display that tells of each source: state, level, losses."""

from collections import Counter
from collections.abc import Sequence

from rich.style import Style

from monitor.records import SourceStateName
from monitor.sinks.board import Board, SourceView
from monitor.sinks.cells import (
    BAD,
    BOLD,
    DIM,
    GOOD,
    PLAIN,
    WARN,
    Canvas,
    Line,
    bar,
    cell,
    space,
)
from monitor.sinks.wording import HEALTH_KINDS, duration, level

LOWEST_DBFS = -80.0
LEVEL_ZONES = ((60 / 80, GOOD), (74 / 80, WARN), (1.0, BAD))  # to -20, -6 and 0 dBFS
LEVELS_WIDTH = 14
LATE_SECONDS = 2.0
STATE_STYLES: dict[SourceStateName, Style] = {
    "opening": WARN,
    "listening": GOOD,
    "waiting": WARN,
    "ended": DIM,
}


def name_width(board: Board) -> int:
    """Cells for the name of a source."""
    return min(16, max([6, *(len(name) for name in board.sources)]))


def source_rows(board: Board, canvas: Canvas, room: int) -> list[Line]:
    """A header and a line for each source, at most `room` lines, at least two."""
    sources = list(board.sources.values())
    shown = sources if len(sources) < room else sources[: max(0, room - 2)]
    columns = _Columns(board, canvas)
    lines = [columns.header(), *(columns.row(source) for source in shown)]
    if len(shown) < len(sources):
        lines.append(_rest(sources[len(shown) :]))
    return lines


def _rest(sources: Sequence[SourceView]) -> Line:
    states = Counter(source.state for source in sources)
    counts = ", ".join(f"{count} {state}" for state, count in states.items())
    text = f"   and {len(sources)} more: {counts}"
    return [cell(text, len(text), DIM)]


class _Columns:
    """The columns that fit into the width; those left out are 0 cells wide."""

    def __init__(self, board: Board, canvas: Canvas) -> None:
        self._sample_rate = board.sample_rate
        self._glyphs = canvas.glyphs
        self._name = name_width(board) + 2
        self._state = 11 if canvas.width >= 54 else 0
        self._listened = 9 if canvas.width >= 44 else 0
        self._lost = 9 if canvas.width >= 72 else 0
        self._gaps = 6 if canvas.width >= 78 else 0
        others = 3 + self._name + self._state + self._listened + self._lost + self._gaps
        self._levels = max(LEVELS_WIDTH, canvas.width - others)

    def header(self) -> Line:
        return [
            cell("   source", 3 + self._name, DIM),
            cell("state", self._state, DIM),
            cell("level", self._levels - LEVELS_WIDTH, DIM),
            cell("dBFS", 7, DIM, right=True),
            cell("dB(A)", 7, DIM, right=True),
            cell("listened", self._listened, DIM, right=True),
            cell("lost", self._lost, DIM, right=True),
            cell("gaps", self._gaps, DIM, right=True),
        ]

    def row(self, source: SourceView) -> Line:
        style = BAD if source.troubles else STATE_STYLES[source.state]
        return [
            space(1),
            cell(self._dot(source.state), 2, style),
            cell(source.name, self._name - 1, BOLD),
            space(1),
            *self._state_cell(source),
            *self._level_cells(source),
            *self._loss_cells(source),
        ]

    def _dot(self, state: SourceStateName) -> str:
        if state == "listening":
            return self._glyphs.on
        return self._glyphs.off if state == "ended" else self._glyphs.waiting

    def _state_cell(self, source: SourceView) -> Line:
        backlog = source.statistics.backlog_samples if source.statistics else 0
        late = backlog / self._sample_rate
        if late > LATE_SECONDS:
            return [cell(f"late {duration(late)}", self._state, BAD)]
        if source.troubles and self._state:
            # The newest; each has a line of its own below.
            kind = list(source.troubles)[-1]
            return [cell(HEALTH_KINDS[kind], self._state, BAD)]
        return [cell(source.state, self._state, STATE_STYLES[source.state])]

    def _level_cells(self, source: SourceView) -> Line:
        frame = source.frame
        if frame is None:
            return [cell(source.detail, self._levels - 1, DIM), space(1)]
        width = self._levels - LEVELS_WIDTH
        return [
            *bar(
                _share(frame.level_dbfs),
                width,
                self._glyphs,
                LEVEL_ZONES,
                _share(frame.peak_level_dbfs),
            ),
            cell(level(frame.level_dbfs, 1), 7, BOLD, right=True),
            cell(level(frame.laeq_db, 1), 7, BOLD, right=True),
        ]

    def _loss_cells(self, source: SourceView) -> Line:
        statistics = source.statistics
        if statistics is None:
            return [space(self._listened + self._lost + self._gaps)]
        lost, captured = statistics.lost_samples, statistics.captured_samples
        style = WARN if lost else PLAIN
        lost_seconds = duration(lost / self._sample_rate)
        return [
            cell(listened(captured, lost), self._listened, style, right=True),
            cell(lost_seconds, self._lost, style, right=True),
            cell(str(statistics.gaps), self._gaps, style, right=True),
        ]


def listened(captured: int, lost: int) -> str:
    """Share of the samples that were analysed; 100 % only if nothing was lost."""
    if captured + lost == 0:
        return "-"
    if lost == 0:
        return "100 %"
    return f"{10_000 * captured // (captured + lost) / 100:.2f} %"


def _share(level_dbfs: float) -> float:
    return 1 - level_dbfs / LOWEST_DBFS
