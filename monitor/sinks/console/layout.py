"""The live display, as lines for a terminal of a given size.

Pieces of a line on a terminal: texts of fixed width, and bars.

The part of the display that tells of each source: state, level, losses.

The part of the display that shows the score of every label as a bar.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len, set_cell_size
from rich.segment import Segment
from rich.style import Style

from monitor.records import Event, Gap, Health, Onset, ScoreFrame, SourceStateName
from monitor.sinks.console.state import Board, Happening, SourceView
from monitor.text import HEALTH_KINDS, duration, level, position, printable

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


WIDEST_LABEL = 20
WIDEST_BAR = 60
SMALLEST_BAR = 4
VALUE_WIDTH = 7  # " 0.93 ●"
GAP = 2


def label_width(labels: Sequence[str]) -> int:
    """Cells for a label."""
    return min(WIDEST_LABEL, max([5, *(len(label) for label in labels)]))


def score_rows(board: Board, canvas: Canvas, room: int) -> list[Line]:
    """A table of bars: labels down, sources across, at most `room` lines.

    Where the sources do not fit side by side, a line for each of them with its highest
    scores.
    """
    if room < 2 or not board.labels or not board.sources:
        return []
    name = 1 + label_width(board.labels) + GAP
    width = (canvas.width - name + GAP) // len(board.sources) - GAP - VALUE_WIDTH
    if width < SMALLEST_BAR:
        return _highest_by_source(board, canvas, room)
    return _table(board, canvas, room, min(width, WIDEST_BAR))


def _table(board: Board, canvas: Canvas, room: int, width: int) -> list[Line]:
    chosen = _chosen(board, room - 1)
    first = "label" if len(chosen) == len(board.labels) else f"{len(chosen)} highest"
    name = label_width(board.labels)
    sources = list(board.sources.values())
    header = [space(1), cell(first, name, DIM)]
    for source in sources:
        title = source.name if len(sources) > 1 else "score"
        header += [space(GAP), cell(title, width + VALUE_WIDTH, DIM)]
    lines = [header]
    for index in chosen:
        label = board.labels[index]
        goes_on = any(label in source.going_on for source in sources)
        line = [space(1), cell(label, name, ALARM if goes_on else PLAIN)]
        for source in sources:
            line += [space(GAP), *_score(board, source, index, width, canvas)]
        lines.append(line)
    return lines


def _chosen(board: Board, room: int) -> list[int]:
    """The labels that are shown: those with the highest scores, in their order."""

    def urgency(index: int) -> tuple[bool, float]:
        sources = board.sources.values()
        going_on = any(board.labels[index] in source.going_on for source in sources)
        # Rounded, so that low scores do not make the lines jump.
        return going_on, round(max(_score_of(source, index) for source in sources), 1)

    ranked = sorted(range(len(board.labels)), key=urgency, reverse=True)
    return sorted(ranked[:room])


def _score_of(source: SourceView, index: int) -> float:
    return 0.0 if source.frame is None else source.frame.scores[index]


def _score(
    board: Board, source: SourceView, index: int, width: int, canvas: Canvas
) -> Line:
    """Draw a bar with the threshold of the label, its value, and whether it is on."""
    if source.frame is None:
        return [space(width + VALUE_WIDTH)]
    label, score = board.labels[index], source.frame.scores[index]
    goes_on = label in source.going_on
    return [
        *bar(
            score,
            width,
            canvas.glyphs,
            ((1.0, ALARM if goes_on else SCORE),),
            board.onset_thresholds.get(label),
        ),
        cell(f" {score:.2f}", 5, ALARM if goes_on else PLAIN),
        cell(f" {canvas.glyphs.on}" if goes_on else "", 2, ALARM),
    ]


def _highest_by_source(board: Board, canvas: Canvas, room: int) -> list[Line]:
    name, label = name_width(board), label_width(board.labels)
    left = canvas.width - 1 - name
    smallest = GAP + label + 1 + SMALLEST_BAR + VALUE_WIDTH
    count = min(3, len(board.labels), max(1, left // smallest))
    width = max(1, left // count - smallest + SMALLEST_BAR)
    lines = [[space(1), cell("source", name + GAP, DIM), cell("highest", 8, DIM)]]
    for source in _listening(board, room - 1):
        line = [space(1), cell(source.name, name, BOLD)]
        assert source.frame is not None
        for index in _highest(source.frame, count):
            style = ALARM if board.labels[index] in source.going_on else PLAIN
            line += [space(GAP), cell(board.labels[index], label + 1, style)]
            line += _score(board, source, index, width, canvas)
        lines.append(line)
    return lines


def _listening(board: Board, room: int) -> list[SourceView]:
    """The sources that are shown: those with something going on before the others."""
    heard = [source for source in board.sources.values() if source.frame is not None]
    ranked = sorted(heard, key=lambda source: not source.going_on)[:room]
    return [source for source in heard if source in ranked]


def _highest(frame: ScoreFrame, count: int) -> list[int]:
    order = sorted(range(len(frame.scores)), key=lambda index: -frame.scores[index])
    return order[:count]


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
    columns = _HistoryColumns(board, canvas)
    latest = board.happenings[:room]
    if not latest:
        return [columns.header(), [space(1), cell("nothing yet", 11, DIM)]]
    return [columns.header(), *(columns.row(happening) for happening in latest)]


class _HistoryColumns:
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
