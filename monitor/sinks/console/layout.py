"""The layout of the live display: what a terminal of a given size shows, and where."""

import math
from collections.abc import Sequence

from monitor.sinks.console.paint import (
    BAD,
    BOLD,
    DIM,
    GOOD,
    ONGOING,
    PLAIN,
    TITLE,
    WARNING,
    Canvas,
    Line,
    beside,
    block,
    ends,
    filled,
    fitted,
    line_width,
    on_bar,
    text,
)
from monitor.sinks.console.panels import counts, events, log_lines, scores
from monitor.sinks.console.sources import (
    ViewState,
    level_graph,
    level_row,
    source_head,
    source_strip,
    time_axis,
)
from monitor.sinks.console.state import ConsoleState, SourceView
from monitor.sinks.status_sentence import sentence_of
from monitor.text import duration

WIDE_CELLS = 110
"""Width from which scores, events and counts stand side by side."""

TALL_LINES = 30
"""Height from which the level has a graph, and the log some lines."""

NEWS_SECONDS = 20.0
"""Time for which a warning of the log stands in the line of the status."""

SHORT_SECONDS, LONG_SECONDS = 30.0, 60.0
"""Time that the strips of a narrow and of a wide terminal cover."""


def draw(state: ConsoleState, view: ViewState, canvas: Canvas) -> list[Line]:
    """Draw exactly `height` lines of exactly `width` cells.

    What does not fit is left out: strips first, then old records and low scores.
    """
    bars = min(canvas.height, 1 + (canvas.height >= 4) + (canvas.height >= 10))
    room = canvas.height - bars
    body = _help(view, canvas) if view.is_help else _body(state, view, canvas, room)
    lines = [_title(state, view, canvas), *block(body, canvas.width, room)]
    if bars == 3:
        lines.append(_status(state, view, canvas))
    if bars >= 2:
        lines.append(_footer(state, view, canvas))
    return [filled(line, canvas.width) for line in lines]


def _title(state: ConsoleState, view: ViewState, canvas: Canvas) -> Line:
    left = [text(" sound-monitor", BOLD), text(f"  {state.setup.title}", DIM)]
    now = view.now.astimezone()
    up = duration((view.now - state.began).total_seconds())
    clock = [text("up ", DIM), text(up), text(f"   {now:%a %d %b}  ", DIM)]
    right = [*clock, text(f"{now:%H:%M:%S} ", BOLD)]
    if line_width(left) + line_width(right) > canvas.width:
        right = right[-1:]
    return on_bar(ends(left, right, canvas.width))


def _status(state: ConsoleState, view: ViewState, canvas: Canvas) -> Line:
    """Health in a sentence, or a new warning; latency and rate of processing."""
    statistics, glyphs = state.statistics, canvas.glyphs
    right: Line = []
    if statistics is not None and math.isfinite(statistics.latency_seconds_p50):
        rate = ""
        if statistics.real_time_factor > 0:
            times = 1 / statistics.real_time_factor
            rate = f" {glyphs.dot} {times:.0f} times real time"
        right = [text(f"latency {statistics.latency_seconds_p50:.2f} s{rate} ", DIM)]
    warning = state.newest_warning
    age = math.inf if warning is None else (view.now - warning.at).total_seconds()
    if warning is not None and age < NEWS_SECONDS:
        words, style = warning.text, WARNING
        right = []
    elif statistics is None:
        words, style = "starting", WARNING
    else:
        age = view.age_seconds
        words = sentence_of(statistics, age, view.now)
        is_well = all(statistics.listening(age).values()) and not statistics.troubles
        style = GOOD if is_well else BAD
        if all(it.state == "ended" for it in statistics.sources):
            words, style = "the recordings are over", DIM
        if view.page_fault and style != BAD:
            words, style = f"no web page: {view.page_fault}", WARNING
    room = canvas.width - line_width(right) - 3
    if room < len(words) + 2:
        right, room = [], canvas.width - 3
    sentence = [
        text(f" {glyphs.on} ", style),
        fitted(words, max(0, room), glyphs, PLAIN if style == GOOD else style),
    ]
    return [*sentence, *right]


def _footer(state: ConsoleState, view: ViewState, canvas: Canvas) -> Line:
    keys = [("q", "stop"), ("p", "go on" if view.paused else "pause")]
    if len(state.sources) > 1:
        keys.append(("tab", f"source: {view.focus or 'all'}"))
    keys.append(("?", "close" if view.is_help else "help"))
    if not view.has_keys:
        keys = [("Ctrl-C", "stop")]
    line: Line = []
    for key, words in keys:
        line += [text(f" {key} ", BOLD), text(f"{words}  ", DIM)]
    right: Line = [text(f" {view.page} ")] if view.page else []
    if line_width(line) + line_width(right) > canvas.width:
        right = []
    if view.paused is not None:
        since = f"{view.paused.astimezone():%H:%M:%S}"
        right = [text(f" paused at {since}; the monitor goes on ", ONGOING)]
        if line_width(line) + line_width(right) > canvas.width:
            right = [text(" paused ", ONGOING)]
    return on_bar(ends(line, right, canvas.width))


def _body(
    state: ConsoleState, view: ViewState, canvas: Canvas, room: int
) -> list[Line]:
    sources = list(state.sources.values())
    if view.focus in state.sources:
        sources = [state.sources[view.focus]]
    if len(sources) == 1:
        top = _one_source(sources[0], state, view, canvas, room)
    else:
        top = _all_sources(sources, state, view, canvas, room)
    return [*top, *_facts(sources, state, view, canvas, room - len(top))]


def _one_source(
    source: SourceView,
    state: ConsoleState,
    view: ViewState,
    canvas: Canvas,
    room: int,
) -> list[Line]:
    """Strip and level of one source."""
    width, glyphs, seconds = canvas.width, canvas.glyphs, _seconds(canvas)
    if room < 12:
        return [source_head(state, source, width, glyphs)]
    is_tall = canvas.height >= TALL_LINES
    head = source_head(state, source, width, glyphs, has_levels=is_tall)
    if not is_tall:
        strip = source_strip(state, source, view, canvas, room // 3, seconds)
        row = level_row(state, source, width, glyphs)
        return [head, *strip, time_axis(width, seconds), row, []]
    strip = source_strip(state, source, view, canvas, room * 9 // 20, seconds)
    graph = level_graph(source, width, max(2, room // 10), glyphs)
    axis = time_axis(width, LONG_SECONDS)
    if seconds == LONG_SECONDS:
        return [head, *strip, [], *graph, axis, []]
    return [head, *strip, time_axis(width, seconds), *graph, axis, []]


def _all_sources(
    sources: Sequence[SourceView],
    state: ConsoleState,
    view: ViewState,
    canvas: Canvas,
    room: int,
) -> list[Line]:
    """A line for each source, and a strip if there is room; for the rest, a number."""
    facts = max(9, room * 2 // 5) if room >= 14 else room // 2
    space = room - facts
    each = (space - 2) // max(1, len(sources))
    width, glyphs = canvas.width, canvas.glyphs
    graph = width // 5
    lines: list[Line] = []
    if each >= 3:
        seconds = _seconds(canvas)
        for source in sources:
            lines.append(source_head(state, source, width, glyphs, graph=graph))
            lines += source_strip(state, source, view, canvas, each - 1, seconds)
        return [*lines, time_axis(canvas.width, seconds), []]
    shown = sources if len(sources) <= space - 1 else sources[: max(0, space - 2)]
    lines = [source_head(state, it, width, glyphs, graph=graph) for it in shown]
    rest = [it.state for it in sources[len(shown) :]]
    if rest:
        numbers = {name: rest.count(name) for name in dict.fromkeys(rest)}
        words = ", ".join(f"{count} {name}" for name, count in numbers.items())
        lines.append([text(f"   and {len(rest)} more: {words}", DIM)])
    return [*lines, []]


def _seconds(canvas: Canvas) -> float:
    return LONG_SECONDS if canvas.width >= WIDE_CELLS else SHORT_SECONDS


def _facts(
    sources: list[SourceView],
    state: ConsoleState,
    view: ViewState,
    canvas: Canvas,
    room: int,
) -> list[Line]:
    """Scores, events and counts; below them the log, on a tall terminal."""
    width, glyphs = canvas.width, canvas.glyphs
    log: list[Line] = []
    if canvas.height >= TALL_LINES and room >= 12:
        news = log_lines(state, width, 3, glyphs)
        log = [[]] * (4 - len(news)) + news
        room -= len(log)
    if width >= WIDE_CELLS:
        middle, right = max(46, width * 3 // 8), max(22, width // 7)
        left = width - middle - right
        columns = [
            (scores(state, sources, left - 2, room, canvas), left),
            (events(state, view.focus, middle - 2, room, glyphs), middle),
            (counts(state, right, room, glyphs), right),
        ]
        return [*beside(columns, room), *log]
    above = max(2, room * 2 // 5) if room >= 6 else min(room, 2)
    shown = scores(state, sources, width, above, canvas)
    has_gap = room >= 9
    lines = block(shown, width, above + has_gap)
    above += has_gap
    below = room - above
    right = 26 if width >= 72 else 0
    left = width - right
    found = events(state, view.focus, left - bool(right), below, glyphs)
    today = counts(state, right, below, glyphs) if right else []
    return [*lines, *beside([(found, left), (today, right)], below), *log]


def _help(view: ViewState, canvas: Canvas) -> list[Line]:
    """What the display means, and its keys."""
    glyphs = canvas.glyphs
    entries = [
        ("q, Ctrl-C", "stop the monitor; events that are open are ended and stored"),
        ("p", "pause the display; the monitor goes on listening"),
        ("tab", "the next source alone, then all of them"),
        ("?", "this help; any key closes it"),
        ("", ""),
        ("strip", "the sound as log-mel: low tones below, new sound at the right;"),
        ("", "bright is loud, in comparison to the latest minute"),
        ("level", "of the latest hop, dB below full scale (dBFS); A-weighted, it is"),
        ("", "dBFS(A) until level_offset_db of the source is set, then dB(A)"),
        (
            "scores",
            f"labels that rise; {glyphs.empty_mark} threshold, {glyphs.on} goes on",
        ),
        (
            "dots",
            f"{glyphs.on} listens  {glyphs.waiting} waits  {glyphs.off} ended",
        ),
        ("", "red: a trouble"),
        ("latency", "from the end of a window to its records"),
        ("", ""),
        *([("web page", view.page)] if view.page else []),
        ("more", "sound-monitor status, events, report; --help lists all"),
    ]
    lines: list[Line] = [
        [],
        [text("  help", TITLE), text(f"   sound-monitor {view.version}", DIM)],
        [],
    ]
    for name, words in entries:
        lines.append(
            [
                text(f"  {name:<11}", BOLD),
                fitted(words, max(0, canvas.width - 14), glyphs),
            ]
        )
    return lines
