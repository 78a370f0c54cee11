"""One picture of a recording: log-mel, scores, events and level over time."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monitor.records import Event, Gap, ScoreFrame
from monitor.sinks.picture_data import (
    band_of,
    clock,
    free_seconds,
    hop_edges,
    pool,
    score_map,
    tick_step,
    ticks_hz,
)
from monitor.spec import ModelSpec
from monitor.text import duration, printable

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage


INCHES_WIDE = 15.0
DOTS_PER_INCH = 100
MOST_COLUMNS = 1600  # more would not be seen
MOST_LABELS = 24
DYNAMIC_RANGE_DB = 80.0
TEXT_POINTS = 9.0
COLOURS = ("C0", "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9")


@dataclass(frozen=True)
class Picture:
    """What is drawn."""

    title: str
    spec: ModelSpec
    labels: Sequence[str]
    log_mel: NDArray[np.float32]
    """float32, shape (n_mels, frames), dB; its frame 0 begins at sample 0."""

    frames: Sequence[ScoreFrame]
    """Of one source, in order; none if the recording is shorter than a window."""

    events: Sequence[Event]
    gaps: Sequence[Gap] = ()

    @property
    def samples(self) -> int:
        """How many samples the picture covers, at least one."""
        stops = [1, self.spec.frame_span(self.log_mel.shape[1])]
        stops += [frame.stop for frame in self.frames[-1:]]
        return max(stops + [event.stop for event in self.events])

    @property
    def seconds(self) -> float:
        """How many seconds the picture covers."""
        return self.spec.seconds(self.samples)


def draw(picture: Picture, path: Path) -> None:
    """Write the picture as PNG, 1500 dots wide whatever the length of the recording.

    Raises:
        OSError: The file cannot be written.
    """
    # Not pyplot: it would look for a display and keep the figure for ever.
    from matplotlib.figure import Figure

    rows = _shown_labels(picture)
    heard = [label for label in rows if label in {e.label for e in picture.events}]
    heights = [3.4, 0.5 + 0.24 * len(rows), 0.25 + 0.3 * max(1, len(heard)), 1.2]
    figure = Figure(
        figsize=(INCHES_WIDE, sum(heights) + 1.4),
        dpi=DOTS_PER_INCH,
        layout="constrained",
    )
    grid = figure.add_gridspec(4, 2, height_ratios=heights, width_ratios=[70, 1])
    parts = [figure.add_subplot(grid[row, 0]) for row in range(4)]
    bars = [figure.add_subplot(grid[row, 1]) for row in range(2)]
    figure.get_layout_engine().set(w_pad=0.1)  # type: ignore[union-attr,call-arg]
    figure.suptitle(printable(picture.title), parse_math=False, fontsize=13)
    _colour_bar(figure, bars[0], _draw_log_mel(parts[0], picture), "dB")
    _colour_bar(figure, bars[1], _draw_scores(parts[1], picture, rows), "score")
    _draw_events(parts[2], picture, heard)
    _draw_level(parts[3], picture)
    for axes in parts:
        _draw_gaps(axes, picture)
        _mark_time(axes, picture.seconds, has_words=axes is parts[-1])
    with path.open("wb") as file, warnings.catch_warnings():
        # A letter that the font lacks becomes a box; that is no news for the user.
        warnings.simplefilter("ignore", UserWarning)
        figure.savefig(file, format="png")


def _shown_labels(picture: Picture) -> list[str]:
    """All labels, or of very many those that came highest; in the model's order."""
    if not picture.frames:
        return []
    if len(picture.labels) <= MOST_LABELS:
        return list(picture.labels)
    highest = np.zeros(len(picture.labels))
    for frame in picture.frames:
        highest = np.maximum(highest, frame.scores)
    chosen = set(np.argsort(-highest, kind="stable")[:MOST_LABELS].tolist())
    return [label for row, label in enumerate(picture.labels) if row in chosen]


def _colour_bar(
    figure: "Figure", axes: "Axes", image: "AxesImage | None", name: str
) -> None:
    if image is None:
        axes.set_axis_off()
    else:
        figure.colorbar(image, cax=axes, label=name)


def _draw_log_mel(axes: "Axes", picture: Picture) -> "AxesImage | None":
    spec, columns = picture.spec, pool(picture.log_mel, MOST_COLUMNS)
    axes.set_ylabel("Hz, mel scale")
    hint = ";  hatched: lost audio" if picture.gaps else ""
    axes.set_title(f"log-mel{hint}", loc="left", fontsize=10)
    if not columns.size:
        axes.set_yticks([])
        return None
    loudest = max(float(columns.max()), spec.floor_db + 20)
    # A frame is drawn where it is centred: half of what it overlaps with its
    # neighbours to either side is theirs.
    start = spec.seconds(spec.n_fft - spec.hop_length) / 2
    length = spec.seconds(picture.log_mel.shape[1] * spec.hop_length)
    image = axes.imshow(
        columns,
        aspect="auto",
        origin="lower",
        extent=(start, start + length, -0.5, spec.n_mels - 0.5),
        vmin=max(spec.floor_db, loudest - DYNAMIC_RANGE_DB),
        vmax=loudest,
        cmap="magma",
        interpolation="nearest",
    )
    ticks = ticks_hz(spec)
    axes.set_yticks([band_of(hertz, spec) for hertz in ticks], [str(h) for h in ticks])
    return image


def _draw_scores(
    axes: "Axes", picture: Picture, rows: Sequence[str]
) -> "AxesImage | None":
    axes.set_title("scores, where each label was active", loc="left", fontsize=10)
    _name_rows(axes, rows)
    if not picture.frames:
        window = picture.spec.seconds(picture.spec.window_samples)
        _say(
            axes, f"no scores: the recording is shorter than a window ({window:.1f} s)"
        )
        return None
    for edge in range(1, len(rows)):
        axes.axhline(edge - 0.5, color="white", linewidth=2)
    labels = list(picture.labels)
    scores = score_map(picture.frames, len(labels), picture.samples, MOST_COLUMNS)
    return axes.imshow(
        scores[[labels.index(label) for label in rows]],
        aspect="auto",
        extent=(0, picture.seconds, len(rows) - 0.5, -0.5),
        vmin=0,
        vmax=1,
        cmap="Blues",
        interpolation="nearest",
    )


def _draw_events(axes: "Axes", picture: Picture, heard: Sequence[str]) -> None:
    axes.set_title("events", loc="left", fontsize=10)
    _name_rows(axes, heard)
    if not heard:
        _say(axes, "nothing was heard")
    for row, label in enumerate(heard):
        events = sorted(
            (event for event in picture.events if event.label == label),
            key=lambda event: event.start,
        )
        colour = COLOURS[list(picture.labels).index(label) % len(COLOURS)]
        _draw_row(axes, picture, events, row, colour)


def _draw_row(
    axes: "Axes", picture: Picture, events: Sequence[Event], row: int, colour: str
) -> None:
    """Bars of one label; their words stand inside, else behind, else nowhere."""
    spec = picture.spec
    spans = [(spec.seconds(event.start), spec.seconds(event.stop)) for event in events]
    thinnest = picture.seconds / 500
    axes.broken_barh(
        [(start, max(stop - start, thinnest)) for start, stop in spans],
        (row - 0.36, 0.72),
        facecolors=colour,
    )
    # Letters are about 0.6 of their size wide; the axes take nine tenths of the width.
    letter = picture.seconds * 0.6 * TEXT_POINTS / (0.9 * INCHES_WIDE * 72)
    lengths = free_seconds(spans, picture.seconds)
    for event, (start, stop), (inside, after) in zip(
        events, spans, lengths, strict=True
    ):
        words = f"{event.peak_score:.2f}  {duration(stop - start)}"
        needed = letter * (len(words) + 2)
        if needed <= inside:
            place, side, ink = (start + stop) / 2, "center", "white"
        elif needed <= after:
            place, side, ink = max(stop, start + thinnest) + letter / 2, "left", "black"
        else:
            continue
        axes.text(
            place, row, words, ha=side, va="center", color=ink, fontsize=TEXT_POINTS
        )


def _draw_level(axes: "Axes", picture: Picture) -> None:
    axes.set_title("level, loudest hop", loc="left", fontsize=10)
    if not picture.frames:
        axes.set_yticks([])
        return
    edges = np.array(hop_edges(picture.frames)) / picture.spec.sample_rate
    for values, name, colour in (
        ([frame.level_dbfs for frame in picture.frames], "dBFS", "0.25"),
        ([frame.laeq_db for frame in picture.frames], "dB(A)", "C1"),
    ):
        level = pool(np.array(values, np.float32), MOST_COLUMNS)
        steps = edges[np.linspace(0, len(values), len(level) + 1).astype(int)]
        axes.stairs(level, steps, baseline=None, color=colour, label=name)
    axes.set_ylabel("dB")
    axes.grid(axis="y", alpha=0.3)
    legend = axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False, fontsize=9
    )
    legend.set_in_layout(False)


def _draw_gaps(axes: "Axes", picture: Picture) -> None:
    for gap in picture.gaps:
        axes.axvspan(
            picture.spec.seconds(gap.start),
            picture.spec.seconds(gap.stop),
            facecolor="0.85",
            edgecolor="0.6",
            hatch="///",
        )


def _mark_time(axes: "Axes", seconds: float, *, has_words: bool) -> None:
    step = tick_step(seconds)
    ticks = np.arange(0, seconds + step / 1000, step)
    words = [clock(tick, step) for tick in ticks] if has_words else [""] * len(ticks)
    axes.set_xticks(ticks, words)
    axes.set_xlim(0, seconds)
    if has_words:
        axes.set_xlabel("time")


def _name_rows(axes: "Axes", rows: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(rows)), [printable(row) for row in rows])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)


def _say(axes: "Axes", words: str) -> None:
    axes.text(
        0.5,
        0.5,
        words,
        transform=axes.transAxes,
        ha="center",
        va="center",
        color="0.4",
    )
