"""The panels of a source: its state, its log-mel strip and its level."""

import math
from collections.abc import Mapping
from datetime import datetime
from typing import NamedTuple

from rich.segment import Segment

from monitor.sinks.console.paint import (
    BAD,
    BOLD,
    DIM,
    GOOD,
    SCORE,
    TITLE,
    WARNING,
    Canvas,
    Glyphs,
    Line,
    ends,
    filled,
    fitted,
    line_width,
    text,
    to_right,
)
from monitor.sinks.console.state import MINUTE_SECONDS, ConsoleState, SourceView
from monitor.sinks.console.strip import Strip, draw_strip, heights, over_time
from monitor.text import HEALTH_KINDS, duration, level, percent

STATE_STYLES = {"listening": GOOD, "ended": DIM}  # others: WARNING
AXIS_CELLS = 6
LOWEST_DBFS = -100.0
LEAST_RANGE_DB = 30.0
LATE_SECONDS = 2.0
LEAST_GRAPH = 8
"""Cells of a level that is worth drawing."""


class ViewState(NamedTuple):
    """The facts of one drawing, beside the state."""

    now: datetime
    """UTC."""

    strips: Mapping[str, Strip]
    focus: str | None = None
    """The source that is shown alone; None: all are."""

    paused: datetime | None = None
    """Time from which the display stands still."""

    age_seconds: float = 0.0
    """Age of the newest statistics."""

    has_keys: bool = False
    is_help: bool = False
    version: str = ""
    page: str = ""
    """Address of the web page; empty: there is none."""

    page_fault: str = ""
    """Why the web page has ended; empty: it has not."""


def source_head(
    state: ConsoleState,
    source: SourceView,
    width: int,
    glyphs: Glyphs,
    *,
    has_levels: bool = True,
    graph: int = 0,
) -> Line:
    """The line of a source: its state, what was lost, and its levels.

    Args:
        state: The state of the display.
        source: The source.
        width: Width of the line.
        glyphs: Characters.
        has_levels: Its levels are shown.
        graph: Most cells for the level of the latest minute, if there is room.
    """
    dots = {"listening": glyphs.on, "ended": glyphs.off}
    style = BAD if source.troubles else STATE_STYLES.get(source.state, WARNING)
    left = [
        text(f" {dots.get(source.state, glyphs.waiting)} ", style),
        text(f"{source.name}  ", BOLD),
        _state(state, source),
    ]
    if source.frame is None and source.detail:
        room = width - line_width(left) - 3
        return [*left, text("  "), fitted(source.detail, max(0, room), glyphs, DIM)]
    right = [*level_numbers(state, source), text(" ")] if has_levels else []
    for lost in (_losses(state, source), []):
        room = width - line_width([*left, *lost, *right]) - 2
        if room >= (LEAST_GRAPH if graph and not _has_lost(source) else 0):
            drawn: Line = []
            if source.minute and room >= LEAST_GRAPH:
                drawn = [_level_line(source, min(graph, room), glyphs)]
            return ends([*left, *lost], [*drawn, *right], width)
    return ends(left, right, width)


def level_numbers(state: ConsoleState, source: SourceView) -> Line:
    """The levels of the newest hop."""
    frame = source.frame
    if frame is None:
        return []
    return [
        text(f"{level(frame.level_dbfs, 1):>7} ", BOLD),
        text("dBFS", DIM),
        text(f"{level(frame.laeq_db, 1):>8} ", BOLD),
        text(state.setup.units.of(source.name), DIM),
    ]


def level_row(
    state: ConsoleState, source: SourceView, width: int, glyphs: Glyphs
) -> Line:
    """The levels of the newest hop, and those of the latest minute beside them."""
    left = [text(" level", TITLE), *level_numbers(state, source), text("   ")]
    room = width - line_width(left) - len(" 1 min ")
    if room < 8 or not source.minute:
        return filled(left, width)
    return [*left, _level_line(source, room, glyphs), text(" 1 min ", DIM)]


def _state(state: ConsoleState, source: SourceView) -> Segment:
    backlog = source.statistics.backlog_samples if source.statistics else 0
    late = backlog / state.setup.sample_rate
    if late > LATE_SECONDS:
        return text(f"late {duration(late)}", BAD)
    if source.troubles:
        return text(HEALTH_KINDS[source.troubles[-1]], BAD)  # the newest
    return text(source.state, STATE_STYLES.get(source.state, WARNING))


def _has_lost(source: SourceView) -> bool:
    return source.statistics is not None and source.statistics.lost_samples > 0


def _losses(state: ConsoleState, source: SourceView) -> Line:
    statistics = source.statistics
    if statistics is None:
        return []
    listened = [text(f"   listened {percent(statistics.listened.share)}", DIM)]
    if not statistics.lost_samples:
        return listened
    lost = duration(statistics.lost_samples / state.setup.sample_rate)
    gaps = f"{statistics.gaps} gap{'s' * (statistics.gaps != 1)}"
    return [*listened, text(f", lost {lost} in {gaps}", WARNING)]


def source_strip(
    state: ConsoleState,
    source: SourceView,
    view: ViewState,
    canvas: Canvas,
    rows: int,
    seconds: float,
) -> list[Line]:
    """The log-mel strip with its frequencies at the left."""
    width = max(0, canvas.width - AXIS_CELLS - 1)
    strip = view.strips.get(source.name)
    if strip is None or strip.is_empty:
        words = {"ended": "the recording is over", "listening": "no sound yet"}
        waiting = words.get(source.state, "waiting for sound")
        middle = [
            text(" " * AXIS_CELLS),
            fitted(waiting.center(width), width, canvas.glyphs, DIM),
        ]
        return [middle if row == rows // 2 else [] for row in range(rows)]
    axis = _frequencies(state.setup.band_hz, rows)
    drawn = draw_strip(strip, width, rows, seconds, canvas)
    return [
        [to_right(name, AXIS_CELLS - 1, DIM), text(" "), *line]
        for name, line in zip(axis, drawn, strict=True)
    ]


def _frequencies(band_hz: tuple[float, ...], rows: int) -> list[str]:
    """The frequency of some rows, as 4k or 250."""
    names = [""] * rows
    wanted = (250, 1000, 2000, 4000, 8000, 16_000) if rows > 9 else (500, 2000, 8000)
    for hz in wanted if rows > 3 and band_hz else ():
        nearest = min(range(len(band_hz)), key=lambda i: abs(band_hz[i] - hz))
        if band_hz[-1] > 0.8 * hz:
            row = rows - 1 - nearest * rows // len(band_hz)
            names[row] = f"{hz // 1000}k" if hz >= 1000 else str(hz)
    return names


def time_axis(width: int, seconds: float) -> Line:
    """Marks of time under a strip or a level."""
    room = max(0, width - AXIS_CELLS - 1)
    cells = [" "] * (room + 1)
    step = 10 if room * 10 / seconds >= 9 else 20
    for ago in range(0, round(seconds) + 1, step):
        words = f"-{ago} s" if ago else "now"
        at = round(room * (1 - ago / seconds))
        start = min(
            max(0, at - (len(words) // 2 if ago < seconds else 0)), room - len(words)
        )
        cells[start : start + len(words)] = words
    return [text(" " * AXIS_CELLS), text("".join(cells), DIM)]


def level_graph(
    source: SourceView, width: int, rows: int, glyphs: Glyphs
) -> list[Line]:
    """The level of the latest minute, `rows` high."""
    values = _levels(source, max(0, width - AXIS_CELLS - 1))
    low, high = _level_range(values)
    drawn = heights(values, low, high, rows, glyphs)
    names = [f"{high:.0f}", *["dBFS", *[""] * rows][: rows - 2], f"{low:.0f}"]
    return [
        [to_right(name, AXIS_CELLS - 1, DIM), text(" "), text(line, SCORE)]
        for name, line in zip(names, drawn, strict=True)
    ]


def _level_line(source: SourceView, width: int, glyphs: Glyphs) -> Segment:
    values = _levels(source, width)
    (line,) = heights(values, *_level_range(values), 1, glyphs)
    return text(line, SCORE)


def _levels(source: SourceView, width: int) -> list[float | None]:
    points = [(it.seconds, it.level_dbfs) for it in source.minute]
    return over_time(points, width, MINUTE_SECONDS)


def _level_range(values: list[float | None]) -> tuple[float, float]:
    """Tens of decibels around the values, at least `LEAST_RANGE_DB` of them."""
    known = [max(LOWEST_DBFS, value) for value in values if value is not None]
    low = 10.0 * math.floor(min(known, default=LOWEST_DBFS) / 10)
    high = 10.0 * math.ceil(max(known, default=low) / 10)
    return low, max(high, low + LEAST_RANGE_DB)
