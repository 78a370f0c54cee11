"""The part of the display that shows the score of every label as a bar."""

from collections.abc import Sequence

from monitor.records import ScoreFrame
from monitor.sinks.board import Board, SourceView
from monitor.sinks.cells import (
    ALARM,
    BOLD,
    DIM,
    PLAIN,
    SCORE,
    Canvas,
    Line,
    bar,
    cell,
    space,
)
from monitor.sinks.source_rows import name_width

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
