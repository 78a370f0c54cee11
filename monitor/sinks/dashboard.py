"""The live display, as lines for a terminal of a given size."""

import math
from dataclasses import replace

from monitor.records import Event, Gap, Health, Onset
from monitor.sinks.board import Board, Happening
from monitor.sinks.cells import (
    ALARM,
    BAD,
    BOLD,
    DIM,
    PLAIN,
    WARN,
    Canvas,
    Line,
    cell,
    crop,
    space,
)
from monitor.sinks.score_rows import label_width, score_rows
from monitor.sinks.source_rows import name_width, source_rows
from monitor.sinks.wording import HEALTH_KINDS, duration, level, position

WIDEST = 120
MOST_HAPPENINGS = 10
FEWEST_HAPPENINGS = 3


def draw(board: Board, title: str, canvas: Canvas) -> list[Line]:
    """Draw what fits: at most `height` lines, each of less than `width` cells.

    What does not fit is left out: first the empty lines between the parts, then older
    happenings, low scores, sources beyond half of the height.
    """
    canvas = replace(canvas, width=min(canvas.width - 1, WIDEST))
    sources = source_rows(board, canvas, max(3, (canvas.height - 1) // 2))
    room = canvas.height - 1 - len(sources)
    scores = score_rows(board, canvas, room - min(1 + FEWEST_HAPPENINGS, room // 3))
    room -= len(scores)
    gap: list[Line] = [[]] if room >= 4 + FEWEST_HAPPENINGS else []
    room -= 3 * len(gap)
    happenings = _happenings(board, canvas, min(room - 1, MOST_HAPPENINGS))
    parts = [_title(board, title, canvas)], sources, scores, happenings
    lines = [line for part in parts if part for line in (*part, *gap)]
    lines = lines[: len(lines) - len(gap)][: canvas.height]
    return [crop(line, canvas.width) for line in lines]


def _title(board: Board, title: str, canvas: Canvas) -> Line:
    """The name, the title if there is room, and to the right the longest figures."""
    name = " sound-monitor"
    room = canvas.width - len(name) - 2
    figures = next((text for text in _figures(board) if len(text) <= room), "")
    shown = f"  {title}" if len(title) + 4 + len(figures) <= room else ""
    return [
        cell(name, len(name), BOLD),
        cell(shown, max(0, room + 2 - len(figures)), DIM),
        cell(figures, len(figures)),
    ]


def _figures(board: Board) -> list[str]:
    """How fast the monitor works, in ever fewer words."""
    statistics = board.statistics
    if statistics is None:
        return []
    p50 = _number(statistics.latency_seconds_p50, 2)
    p95 = _number(statistics.latency_seconds_p95, 2)
    factor = _number(statistics.real_time_factor, 3)
    return [
        f"latency p50 {p50} p95 {p95} s  real-time factor {factor}",
        f"latency {p50}, p95 {p95} s  real-time {factor}",
        f"latency {p50} s",
    ]


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def _happenings(board: Board, canvas: Canvas, room: int) -> list[Line]:
    """A header and the latest `room` happenings."""
    if room < 1:
        return []
    columns = _Columns(board, canvas)
    latest = board.happenings[:room]
    if not latest:
        return [columns.header(), [space(1), cell("nothing yet", 11, DIM)]]
    return [columns.header(), *(columns.row(happening) for happening in latest)]


class _Columns:
    """The columns that fit into the width; those left out are 0 cells wide."""

    def __init__(self, board: Board, canvas: Canvas) -> None:
        self._board = board
        self._glyphs = canvas.glyphs
        self._has_days = canvas.width >= 70
        self._time = 14 if self._has_days else 11
        self._source = name_width(board) + 2 if len(board.sources) > 1 else 0
        self._label = label_width(board.labels) + 2
        needed = 1 + self._time + self._source + self._label + 9 + 7 + 13 + 2
        self._level = 13 if canvas.width >= needed else 0

    def header(self) -> Line:
        return [
            space(1),
            cell("time", self._time, DIM),
            cell("source", self._source, DIM),
            cell("label", self._label, DIM),
            cell("duration", 9, DIM, right=True),
            cell("score", 7, DIM, right=True),
            cell("level", self._level, DIM, right=True),
        ]

    def row(self, happening: Happening) -> Line:
        record = happening.record
        line = [
            space(1),
            cell(self._when(happening), self._time, DIM),
            cell(record.source, self._source),
        ]
        if isinstance(record, Gap):
            return [*line, *self._gap(record)]
        if isinstance(record, Health):
            return [*line, *self._health(record)]
        return [*line, *self._occurrence(record)]

    def _when(self, happening: Happening) -> str:
        if happening.utc is None:
            return position(happening.seconds)
        local = happening.utc.astimezone()
        return f"{local:%a %H:%M:%S}" if self._has_days else f"{local:%H:%M:%S}"

    def _gap(self, gap: Gap) -> Line:
        lost = duration((gap.stop - gap.start) / self._board.sample_rate)
        return [
            cell("lost audio", self._label, WARN),
            cell(lost, 9, WARN, right=True),
            cell(f"   {gap.reason}", 12, WARN),
        ]

    def _health(self, health: Health) -> Line:
        is_over = health.state == "cleared"
        lasted = (health.stop - health.start) / self._board.sample_rate
        style = PLAIN if is_over else BAD
        return [
            cell(HEALTH_KINDS[health.kind], self._label, style),
            cell(duration(lasted) if is_over else "", 9, style, right=True),
            cell(f"   {health.state}", 12, style),
        ]

    def _occurrence(self, record: Onset | Event) -> Line:
        if isinstance(record, Event):
            style, mark = PLAIN, ""
            seconds = (record.stop - record.start) / self._board.sample_rate
        else:
            style, mark = ALARM, f" {self._glyphs.on}"
            seconds = self._board.seconds_so_far(record)
        return [
            cell(record.label, self._label, style),
            cell(duration(seconds), 9, style, right=True),
            cell(f"{record.peak_score:.2f}", 7, style, right=True),
            cell(f"{level(record.level_dbfs, 1)} dBFS", self._level, style, right=True),
            cell(mark, 2, style),
        ]
