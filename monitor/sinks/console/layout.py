"""The layout of the live display: tables that fit a terminal of a given size."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import compress
from typing import NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.segment import Segment
from rich.style import Style
from rich.table import Column, Table
from rich.text import Text

from monitor.records import Event, Gap, Health, Onset, Timed
from monitor.sinks.console.state import ConsoleState, SourceView
from monitor.text import (
    GAP_REASONS,
    HEALTH_KINDS,
    duration,
    level,
    percent,
    position,
    printable,
)


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


UNICODE = Glyphs("●", "◌", "○", "━", "╾", "─", "┿", "┼")
ASCII = Glyphs("*", "~", "o", "=", "-", "-", "|", "|")


class Canvas(NamedTuple):
    """The size of a display in cells and lines, and its characters."""

    width: int
    height: int
    glyphs: Glyphs


PLAIN = Style()
DIM = Style(dim=True)
BOLD = Style(bold=True)
GOOD = Style(color="green")
WARNING = Style(color="yellow")
BAD = Style(color="red")
ONGOING = Style(color="yellow", bold=True)
SCORE = Style(color="cyan")
STATE_STYLES = {"listening": GOOD, "ended": DIM}  # others: WARNING

WIDEST_DISPLAY = 120
WIDEST_SOURCE = 16
WIDEST_LABEL = 20
WIDEST_BAR = 60
NARROWEST_BAR = 4
SCORE_WIDTH = 7  # " 0.93 ●"
LONGEST_HISTORY = 10
SHORTEST_HISTORY = 3
LOWEST_DBFS = -80.0
LATE_SECONDS = 2.0


def draw(state: ConsoleState, title: str, canvas: Canvas) -> RenderableType:
    """Draw what fits: at most `height` lines, each of less than `width` cells.

    What does not fit is left out: first the empty lines between the tables, then older
    records of the history, low scores, and sources beyond half of the height.
    """
    canvas = canvas._replace(width=min(canvas.width - 1, WIDEST_DISPLAY))
    room = canvas.height - 1
    sources = _sources(state, canvas, max(3, room // 2))
    room -= _lines(sources)
    scores = _scores(state, canvas, room - min(1 + SHORTEST_HISTORY, room // 3))
    room -= _lines(scores)
    has_gaps = room >= 4 + SHORTEST_HISTORY
    history = _history(state, canvas, min(room - 3 * has_gaps - 1, LONGEST_HISTORY))
    parts: list[RenderableType] = [_title(state, title, canvas.width)]
    for table in (sources, scores, history):
        if table is not None:
            parts += [Text(), table] if has_gaps else [table]
    return Constrain(Group(*parts), canvas.width)


def _text(text: str, style: Style = PLAIN) -> Text:
    """A text without what could move the cursor or break the line."""
    return Text(printable(text), style, no_wrap=True, overflow="crop")


def _table(*columns: Column, width: int) -> Table:
    """A table whose rows are one line each; every column has a space before it."""
    for column in columns:
        column.no_wrap, column.overflow = True, "crop"
    return Table(
        *columns,
        box=None,
        padding=(0, 0, 0, 1),
        header_style=DIM,
        caption_justify="left",
        width=width,
    )


def _ends(left: Text, right: Text) -> Table:
    """Two texts at the two ends of a line."""
    ends = Table.grid(Column(ratio=1), Column(), expand=True)
    ends.add_row(left, right)
    return ends


def _lines(table: Table | None) -> int:
    return 0 if table is None else 1 + table.row_count + bool(table.caption)


def _widest(texts: Iterable[str], limit: int) -> int:
    return min(limit, max((cell_len(printable(text)) for text in texts), default=0))


@dataclass(frozen=True)
class Bar:
    """A bar that fills its column, between two texts."""

    share: float
    """Part that is filled, from 0 to 1; beyond, the bar is empty or full."""

    mark: float | None
    """Share at which a mark stands, as for a threshold."""

    glyphs: Glyphs
    style: Style
    text: str = ""
    text_style: Style = PLAIN
    name: str = ""
    """Stands before the bar."""

    def __rich_console__(
        self, console: Console, options: ConsoleOptions
    ) -> RenderResult:
        width = max(0, options.max_width - cell_len(self.name) - len(self.text))
        halves = round(2 * width * min(1.0, max(0.0, self.share)))
        cells = self.glyphs.full * (halves // 2) + self.glyphs.half * (halves % 2)
        filled = len(cells)
        cells = cells.ljust(width, self.glyphs.empty)
        if self.mark is not None and width:
            at = min(width - 1, max(0, int(self.mark * width)))
            mark = self.glyphs.full_mark if at < filled else self.glyphs.empty_mark
            cells = cells[:at] + mark + cells[at + 1 :]
        yield Segment(self.name, self.text_style)
        yield Segment(cells[:filled], self.style)
        yield Segment(cells[filled:], DIM)
        yield Segment(self.text, self.text_style)


def _title(state: ConsoleState, title: str, width: int) -> RenderableType:
    """The name of the program, `title`, and at the right the speed of the monitor."""
    name, figures = _text(" sound-monitor  ", BOLD), ""
    statistics = state.statistics
    if statistics is not None and math.isfinite(statistics.latency_seconds_p50):
        p50, p95 = statistics.latency_seconds_p50, statistics.latency_seconds_p95
        factor = f"real-time factor {statistics.real_time_factor:.3f}"
        figures = f"latency p50 {p50:.2f} p95 {p95:.2f} s  {factor}"
        if len(name) + len(figures) > width:
            figures = f"latency {p50:.2f} s"
    if len(name) + len(title) + 2 + len(figures) <= width:
        name.append(printable(title), DIM)
    return _ends(name, _text(figures))


SOURCE_COLUMNS_FROM = (0, 0, 54, 0, 44, 72, 78)
"""The width of a display from which on each column of the sources is shown."""


def _sources(state: ConsoleState, canvas: Canvas, room: int) -> Table:
    """A line for each source; for those beyond `room` lines, their number."""
    sources = list(state.sources.values())
    shown = sources if len(sources) < room else sources[: max(0, room - 2)]
    columns = (
        Column(width=1),
        Column("source", max_width=WIDEST_SOURCE),
        Column("state", width=12),
        Column(_ends(_text("level"), _text("dBFS  dB(A)")), ratio=1),
        Column("listened", width=8, justify="right"),
        Column("lost", width=7, justify="right"),
        Column("gaps", width=4, justify="right"),
    )
    fits = [canvas.width >= least for least in SOURCE_COLUMNS_FROM]
    table = _table(*compress(columns, fits), width=canvas.width)
    for source in shown:
        table.add_row(*compress(_source_row(state, source, canvas.glyphs), fits))
    if len(shown) < len(sources):
        rest = Counter(source.state for source in sources[len(shown) :])
        counts = ", ".join(f"{count} {name}" for name, count in rest.items())
        table.caption = _text(f"   and {rest.total()} more: {counts}", DIM)
    return table


def _source_row(
    state: ConsoleState, source: SourceView, glyphs: Glyphs
) -> Iterable[RenderableType]:
    dots = {"listening": glyphs.on, "ended": glyphs.off}
    style = BAD if source.troubles else STATE_STYLES.get(source.state, WARNING)
    yield _text(dots.get(source.state, glyphs.waiting), style)
    yield _text(source.name, BOLD)
    yield _state(state, source)
    yield _level(source, glyphs)
    statistics = source.statistics
    if statistics is not None:
        lost = statistics.lost_samples
        style = WARNING if lost else PLAIN
        yield _text(percent(statistics.listened.share), style)
        yield _text(duration(lost / state.sample_rate), style)
        yield _text(str(statistics.gaps), style)


def _state(state: ConsoleState, source: SourceView) -> Text:
    backlog = source.statistics.backlog_samples if source.statistics else 0
    late = backlog / state.sample_rate
    if late > LATE_SECONDS:
        return _text(f"late {duration(late)}", BAD)
    if source.troubles:
        return _text(HEALTH_KINDS[source.troubles[-1]], BAD)  # the newest
    return _text(source.state, STATE_STYLES.get(source.state, WARNING))


def _level(source: SourceView, glyphs: Glyphs) -> RenderableType:
    """A bar with a mark at the peak; the reason where there is no level."""
    frame = source.frame
    if frame is None:
        return _text(source.detail, DIM)
    decibels = frame.level_dbfs
    return Bar(
        share=1 - decibels / LOWEST_DBFS,
        mark=1 - frame.peak_level_dbfs / LOWEST_DBFS,
        glyphs=glyphs,
        style=BAD if decibels > -6 else WARNING if decibels > -20 else GOOD,
        text=f"{level(decibels, 1):>7}{level(frame.laeq_db, 1):>7}",
        text_style=BOLD,
    )


def _scores(state: ConsoleState, canvas: Canvas, room: int) -> Table | None:
    """A table of bars: labels down, sources across, at most `room` lines.

    Where the sources do not fit side by side, a line for each of them with its highest
    scores.
    """
    if room < 2 or not state.labels or not state.sources:
        return None
    sources = list(state.sources.values())
    label_width = _widest(state.labels, WIDEST_LABEL)
    width = (canvas.width - label_width - 1) // len(sources) - 1
    if width < NARROWEST_BAR + SCORE_WIDTH:
        return _scores_by_source(state, canvas, room, label_width)
    shown = _highest_labels(state, room - 1)
    is_all, is_one = len(shown) == len(state.labels), len(sources) == 1
    width = min(width, WIDEST_BAR + SCORE_WIDTH)
    table = _table(
        Column("label" if is_all else f"{len(shown)} highest", width=label_width),
        *(Column("score" if is_one else _text(s.name), width=width) for s in sources),
        width=1 + label_width + len(sources) * (1 + width),
    )
    for index in shown:
        label = state.labels[index]
        is_ongoing = any(label in source.ongoing for source in sources)
        table.add_row(
            _text(label, ONGOING if is_ongoing else PLAIN),
            *(_score(state, source, index, canvas.glyphs, 0) for source in sources),
        )
    return table


def _highest_labels(state: ConsoleState, count: int) -> list[int]:
    """Indices of the `count` labels that are ongoing or score high, in their order."""
    sources = state.sources.values()

    def rank(index: int) -> tuple[bool, float]:
        is_ongoing = any(state.labels[index] in source.ongoing for source in sources)
        scores = [source.frame.scores[index] for source in sources if source.frame]
        # Rounded, so that low scores do not make the lines jump.
        return is_ongoing, round(max(scores, default=0.0), 1)

    return sorted(sorted(range(len(state.labels)), key=rank, reverse=True)[:count])


def _scores_by_source(
    state: ConsoleState, canvas: Canvas, room: int, label_width: int
) -> Table:
    """A line for each source with a score, those with an ongoing event first."""
    left = canvas.width - 1 - _widest(state.sources, WIDEST_SOURCE)
    count = left // (2 + label_width + NARROWEST_BAR + SCORE_WIDTH)
    count = min(3, len(state.labels), max(1, count))
    headers = ["highest scores", "", ""][:count]
    table = _table(
        Column("source", max_width=WIDEST_SOURCE),
        *(Column(header, ratio=1) for header in headers),
        width=canvas.width,
    )
    listening = [source for source in state.sources.values() if source.frame]
    for source in sorted(listening, key=lambda each: not each.ongoing)[: room - 1]:
        assert source.frame is not None
        scores = source.frame.scores
        order = sorted(range(len(scores)), key=lambda index: -scores[index])
        bars = (
            _score(state, source, index, canvas.glyphs, label_width + 1)
            for index in order[:count]
        )
        table.add_row(_text(source.name, BOLD), *bars)
    return table


def _score(
    state: ConsoleState, source: SourceView, index: int, glyphs: Glyphs, name_width: int
) -> RenderableType:
    """A bar with its threshold, the score, and a dot while the label is ongoing."""
    if source.frame is None:
        return ""
    label, score = state.labels[index], source.frame.scores[index]
    is_ongoing = label in source.ongoing
    return Bar(
        share=score,
        mark=state.onset_thresholds.get(label),
        glyphs=glyphs,
        style=ONGOING if is_ongoing else SCORE,
        text=f" {score:.2f} {glyphs.on if is_ongoing else ' '}",
        text_style=ONGOING if is_ongoing else PLAIN,
        name=set_cell_size(printable(label), name_width),
    )


def _history(state: ConsoleState, canvas: Canvas, room: int) -> Table | None:
    """The newest `room` records of the history."""
    if room < 1:
        return None
    has_days, has_sources = canvas.width >= 70, len(state.sources) > 1
    fits = (True, has_sources, True, True, True)
    columns = (
        Column("time", width=12 if has_days else 8),
        Column("source", width=_widest(state.sources, WIDEST_SOURCE)),
        Column("label", width=max(12, _widest(state.labels, WIDEST_LABEL))),
        Column("duration", width=8, justify="right"),
        Column("score      level", ratio=1),
    )
    table = _table(*compress(columns, fits), width=canvas.width)
    for timed in state.history[:room]:
        table.add_row(*compress(_history_row(state, timed, canvas, has_days), fits))
    if not table.row_count:
        table.caption = _text(" no events yet", DIM)
    return table


def _history_row(
    state: ConsoleState, timed: Timed, canvas: Canvas, has_days: bool
) -> list[Text]:
    """Time, source, label, duration, and what else there is to a record."""
    record = timed.record
    assert isinstance(record, Onset | Event | Gap | Health)
    time = position(timed.start_seconds)
    if timed.start_utc is not None:
        form = "%a %H:%M:%S" if has_days else "%H:%M:%S"
        time = timed.start_utc.astimezone().strftime(form)
    lasted = duration(state.seconds(record))
    match record:
        case Gap():
            name = "lost audio" if record.left_out is None else "windows left out"
            texts, style = (name, lasted, GAP_REASONS[record.reason]), WARNING
        case Health(state="raised"):
            texts, style = (HEALTH_KINDS[record.kind], "", record.detail), BAD
        case Health():
            texts, style = (HEALTH_KINDS[record.kind], lasted, "cleared"), PLAIN
        case _:
            numbers = f"{record.peak_score:5.2f}{level(record.level_dbfs, 1):>7} dBFS"
            is_ongoing = isinstance(record, Onset)
            dot, style = (canvas.glyphs.on, ONGOING) if is_ongoing else ("", PLAIN)
            texts = record.label, lasted, f"{numbers} {dot}"
    return [_text(time), _text(record.source), *(_text(each, style) for each in texts)]
