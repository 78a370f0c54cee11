"""The panels of what is heard: scores, latest events, counts and the log."""

import logging

from rich.segment import Segment

from monitor.records import Event, Gap, Health, Onset, Timed
from monitor.sinks.console.paint import (
    BAD,
    BOLD,
    DIM,
    ONGOING,
    PLAIN,
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
from monitor.sinks.console.state import RISE_SECONDS, ConsoleState, SourceView
from monitor.sinks.console.strip import heights, over_time
from monitor.text import GAP_REASONS, HEALTH_KINDS, duration, level, position

LABEL_CELLS = 16
SOURCE_CELLS = 10


def scores(
    state: ConsoleState,
    sources: list[SourceView],
    width: int,
    rows: int,
    canvas: Canvas,
) -> list[Line]:
    """The labels that rise: score, threshold, and the latest half minute."""
    found = [(source, index) for source in sources for index in state.risen(source)]
    has_names = len(sources) > 1
    name_cells = SOURCE_CELLS if has_names else 0
    room = width - 2 - LABEL_CELLS - name_cells - 7
    graph = max(0, room // 2 - 1)
    bar = max(0, room - graph - 1)
    title = [
        text(" scores".ljust(1 + name_cells + LABEL_CELLS), TITLE),
        text(f"{canvas.glyphs.empty_mark} threshold".ljust(bar + 8)[: bar + 8], DIM),
        text(f"{RISE_SECONDS:.0f} s"[:graph], DIM),
    ]
    if not found:
        listening = any(source.frame for source in sources)
        words = "nothing rises above the background" if listening else "no scores yet"
        return [title, [text(f" {words}", DIM)]]
    found = _most_important(state, found, rows - 1)
    lines = [title]
    for source, index in found:
        name = fitted(source.name, name_cells - 1, canvas.glyphs, DIM)
        names = [name, text(" ")] if has_names else []
        lines.append(
            [text(" "), *names, *_score(state, source, index, bar, graph, canvas)]
        )
    return lines


def _most_important(
    state: ConsoleState, found: list[tuple[SourceView, int]], most: int
) -> list[tuple[SourceView, int]]:
    """Those that go on or were highest, in the order in which they stood."""

    def rank(place: int) -> tuple[bool, float]:
        source, index = found[place]
        is_ongoing = state.setup.labels[index] in source.ongoing
        # Rounded, so that low scores do not make the lines jump.
        return is_ongoing, round(float(source.highest[index]), 1)

    ranked = sorted(range(len(found)), key=rank, reverse=True)[: max(0, most)]
    return [found[place] for place in sorted(ranked)]


def _score(
    state: ConsoleState,
    source: SourceView,
    index: int,
    bar: int,
    graph: int,
    canvas: Canvas,
) -> Line:
    label, glyphs = state.setup.labels[index], canvas.glyphs
    is_ongoing = label in source.ongoing
    style = ONGOING if is_ongoing else PLAIN
    newest = float(source.minute[-1].scores[index]) if source.minute else 0.0
    points = [(it.seconds, float(it.scores[index])) for it in source.minute]
    (line,) = heights(over_time(points, graph, RISE_SECONDS), 0.0, 1.0, 1, glyphs)
    return [
        fitted(label, LABEL_CELLS - 1, glyphs, style),
        text(" "),
        *_bar(newest, state.setup.thresholds.get(label), bar, glyphs, is_ongoing),
        text(f" {newest:.2f} ", style),
        text(f"{glyphs.on if is_ongoing else ' '} ", style),
        text(line, ONGOING if is_ongoing else SCORE),
    ]


def _bar(
    share: float, mark: float | None, width: int, glyphs: Glyphs, is_ongoing: bool
) -> Line:
    """A bar with a mark at the threshold."""
    halves = round(2 * width * min(1.0, max(0.0, share)))
    cells = glyphs.full * (halves // 2) + glyphs.half * (halves % 2)
    reached = len(cells)
    cells = cells.ljust(width, glyphs.empty)
    if mark is not None and width:
        at = min(width - 1, max(0, int(mark * width)))
        sign = glyphs.full_mark if at < reached else glyphs.empty_mark
        cells = cells[:at] + sign + cells[at + 1 :]
    style = ONGOING if is_ongoing else SCORE
    return [Segment(cells[:reached], style), Segment(cells[reached:], DIM)]


def events(
    state: ConsoleState, focus: str | None, width: int, rows: int, glyphs: Glyphs
) -> list[Line]:
    """The newest records of the history."""
    has_sources = len(state.sources) > 1 and focus is None
    chosen = [it for it in state.history if focus in (None, it.record.source)]
    # Not dB(A) of one source below dBFS(A) of another.
    unit = "dBFS" if state.setup.units.is_mixed else state.setup.units.column
    has_figures = width >= 43 + SOURCE_CELLS * has_sources
    columns = [text(f"score {unit:>8} ", DIM)] if has_figures else []
    title = ends([text(" latest events", TITLE)], columns, width)
    cells = width, has_sources, has_figures
    lines = [_event_line(state, timed, *cells, glyphs) for timed in chosen[: rows - 1]]
    return [title, *(lines or [[text(" no events yet", DIM)]])]


def _event_line(
    state: ConsoleState,
    timed: Timed,
    width: int,
    has_source: bool,
    has_figures: bool,
    glyphs: Glyphs,
) -> Line:
    record = timed.record
    assert isinstance(record, Onset | Event | Gap | Health)
    time = position(timed.start_seconds)
    if timed.start_utc is not None:
        time = f"{timed.start_utc.astimezone():%H:%M:%S}"
    lasted = duration(state.seconds(record))
    head = [text(f" {time}  ", DIM)]
    if has_source:
        head += [fitted(record.source, SOURCE_CELLS - 1, glyphs), text(" ")]
    right: Line = []
    style = PLAIN
    match record:
        case Gap():
            is_overload = record.reason == "overload"
            name = "windows left out" if is_overload else "lost audio"
            words, style = f"{name}: {GAP_REASONS[record.reason]}", WARNING
        case Health(state="raised"):
            words, style = f"{HEALTH_KINDS[record.kind]}: {record.detail}", BAD
            lasted = ""
        case Health():
            words = f"{HEALTH_KINDS[record.kind]}: cleared"
        case _:
            is_ongoing = isinstance(record, Onset)
            words, style = record.label, ONGOING if is_ongoing else PLAIN
            shown = record.level_dbfs if state.setup.units.is_mixed else record.laeq_db
            figures = f"  {record.peak_score:.2f} {level(shown, 1):>8} "
            right = [text(figures, style)] if has_figures else []
    room = width - line_width(head) - line_width(right) - 8
    return [
        *head,
        fitted(words, max(0, room), glyphs, style),
        to_right(lasted, 8, style),
        *right,
    ]


def counts(state: ConsoleState, width: int, rows: int, glyphs: Glyphs) -> list[Line]:
    """The number of today's events of each label."""
    title = "today"
    if state.counted_from is not None:
        title = f"since {state.counted_from.astimezone():%H:%M}"
    total = state.counts.total()
    head = ends([text(f" {title}", TITLE)], [text(f"{total} ", BOLD)], width)
    found = state.counts.most_common()
    shown = found if len(found) < rows else found[: max(0, rows - 2)]
    widest = max((count for _, count in shown), default=1)
    name = min(LABEL_CELLS - 1, max(0, width - 8))
    bar = max(0, width - name - 8)

    def line(label: str, count: int) -> Line:
        drawn = (glyphs.full * max(1, round(bar * count / widest)))[:bar].ljust(bar)
        cells = fitted(label, name, glyphs), text(" "), Segment(drawn, SCORE)
        return [text(" "), *cells, to_right(f"{count} ", 6)]

    lines = [line(label, count) for label, count in shown]
    if not found:
        lines = [[text(" nothing yet", DIM)]]
    if len(shown) < len(found):
        rest = sum(count for _, count in found[len(shown) :])
        lines.append(
            ends(
                [text(f" {len(found) - len(shown)} more", DIM)],
                [text(f"{rest} ")],
                width,
            )
        )
    return [head, *lines]


def log_lines(state: ConsoleState, width: int, rows: int, glyphs: Glyphs) -> list[Line]:
    """The newest lines of the log."""
    return [
        filled(
            [
                text(f" {line.at.astimezone():%H:%M:%S}  ", DIM),
                fitted(
                    line.text,
                    max(0, width - 12),
                    glyphs,
                    WARNING if line.level > logging.INFO else DIM,
                ),
            ],
            width,
        )
        for line in list(state.log)[-rows:]
    ]
