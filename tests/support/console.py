"""A state of the live display with sources, and what is drawn of it."""

from collections.abc import Sequence
from datetime import timedelta

import numpy as np
from rich.color import ColorSystem

from monitor.sinks.console.layout import draw
from monitor.sinks.console.paint import (
    UNICODE,
    Canvas,
    Glyphs,
)
from monitor.sinks.console.sources import ViewState
from monitor.sinks.console.state import ConsoleState, Setup
from monitor.sinks.console.strip import Strip
from monitor.statistics import Listened
from tests.support.timed import (
    LABELS,
    OPENED,
    SAMPLE_RATE,
    frame,
    gap,
    onset,
    state,
    statistics,
)

NOW = OPENED + timedelta(hours=3, minutes=12)


def setup_of(sources: Sequence[str], labels: Sequence[str] = LABELS) -> Setup:
    reported = dict.fromkeys(sources, labels)
    return Setup("urban", tuple(labels), reported, SAMPLE_RATE, {"siren": 0.7})


def console_state(*sources: str) -> ConsoleState:
    return ConsoleState(setup_of(sources), OPENED)


def strip(seconds: float = 20.0) -> Strip:
    """Noise of growing height."""
    built = Strip()
    count = round(seconds * 10)
    columns = np.linspace(0, 255, count)[:, None] * np.linspace(1, 0.1, 48)
    built.push(columns.astype(np.uint8))
    return built


def display(
    state: ConsoleState,
    width: int = 80,
    height: int = 24,
    glyphs: Glyphs = UNICODE,
    view: ViewState | None = None,
) -> list[str]:
    canvas = Canvas(width, height, glyphs, ColorSystem.TRUECOLOR)
    strips = {name: strip() for name in state.sources}
    drawn = view or ViewState(NOW, strips, has_keys=True)
    lines = draw(state, drawn, canvas)
    return ["".join(segment.text for segment in line) for line in lines]


def line_with(lines: list[str], *words: str) -> str:
    (found,) = [line for line in lines if all(word in line for word in words)]
    return found


def busy_state(*sources: str) -> ConsoleState:
    """Every source listens, has an ongoing siren, and has lost audio."""
    busy = console_state(*sources)
    for number, source in enumerate(sources):
        busy.take(state(source))
        scores = {"siren": 0.93, "car_horn": 0.31}
        busy.take(frame(source, 15.4, scores, ongoing=["siren"]))
        busy.take(onset(source, number=number))
        busy.take(gap(source))
    listened = Listened(62.3, 0.963)
    busy.report(statistics(*sources, lost_seconds=2.3, gaps=1, listened=listened))
    return busy
