"""The picture of a recording: log-mel, scores, events and level over time."""

import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from monitor.records import Event, Gap, ScoreFrame
from monitor.spec import ModelSpec
from monitor.text import duration, printable, weighted_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

INCHES_WIDE = 15.0
DOTS_PER_INCH = 100
MOST_COLUMNS = 1600  # about as many as the picture has dots for
MOST_LABELS = 24
DYNAMIC_RANGE_DB = 80.0
TEXT_POINTS, TITLE_LETTERS = 9.0, 120
COLOURS = 10  # of matplotlib's colour cycle
TICK_STEPS_SECONDS = (
    *(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800),
)
TICKS_HZ = (16_000, 8000, 4000, 2000, 1000, 500, 200, 100, 50)
LEAST_LEVELS_DB = 10.0  # else the steadiest level would be a mountain
LEAST_TICKS_APART = 24  # of so many, the axis would be full


@dataclass(frozen=True)
class Picture:
    """The content of a picture."""

    title: str
    spec: ModelSpec
    labels: Sequence[str]
    samples: int
    """Samples that the picture covers."""

    log_mel: NDArray[np.float32]
    """float32, shape (n_mels, frames), dB; its frame 0 begins at sample 0."""

    levels: NDArray[np.float32]
    """float32, shape (2, steps), from sample 0 on: dBFS, and A-weighted."""

    level_step: int
    """Samples of a step of `levels`; the last one may be shorter."""

    frames: Sequence[ScoreFrame]
    """Its windows, in order; none if it is shorter than one."""

    events: Sequence[Event]
    gaps: Sequence[Gap] = ()

    @property
    def seconds(self) -> float:
        """Seconds that the picture covers."""
        return self.spec.seconds(max(1, self.samples))


def draw(picture: Picture, path: Path) -> None:
    """Write the picture as PNG, 1500 dots wide whatever the length of the recording.

    Raises:
        OSError: The file cannot be written.
    """
    with path.open("wb") as file, warnings.catch_warnings():
        # A letter that the font lacks becomes a box; a warning would not help the user.
        warnings.simplefilter("ignore", UserWarning)
        compose(picture).savefig(file, format="png")


def compose(picture: Picture) -> "Figure":
    """Lay out the picture, 1500 dots wide."""
    # Not pyplot, which looks for a display and keeps every figure.
    from matplotlib.figure import Figure

    spec, rows = picture.spec, _shown_labels(picture)
    detected = [label for label in rows if label in {e.label for e in picture.events}]
    heights = [3.4, 0.5 + 0.24 * len(rows), 0.25 + 0.3 * max(1, len(detected)), 1.2]
    size = (INCHES_WIDE, sum(heights) + 1.4)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH)
    figure.set_layout_engine("constrained", w_pad=0.1)
    grid = figure.add_gridspec(4, 2, height_ratios=heights, width_ratios=[70, 1])
    log_mel = figure.add_subplot(grid[0, 0])
    scores, events, level = (
        figure.add_subplot(grid[row, 0], sharex=log_mel) for row in (1, 2, 3)
    )
    title = textwrap.fill(printable(picture.title), TITLE_LETTERS)
    figure.suptitle(title, parse_math=False, fontsize=13)
    drawn = _draw_log_mel(log_mel, picture), _draw_scores(scores, picture, rows)
    for row, (image, name) in enumerate(zip(drawn, ("dB", "score"), strict=True)):
        if image is not None:
            figure.colorbar(image, cax=figure.add_subplot(grid[row, 1]), label=name)
    _draw_events(events, picture, detected)
    _draw_level(level, picture)
    _mark_time(level, picture.seconds)
    for axes in (log_mel, scores, events, level):
        axes.tick_params(labelbottom=axes is level)
        for gap in picture.gaps:
            start, stop = spec.seconds(gap.start), spec.seconds(gap.stop)
            axes.axvspan(start, stop, facecolor="0.85", edgecolor="0.6", hatch="///")
    # The names of the labels decide how wide the panels are, and what fits there.
    figure.draw_without_rendering()
    _write_on_events(events, picture, detected)
    return figure


def _shown_labels(picture: Picture) -> list[str]:
    """All labels, or of many those with the highest scores, in the model's order."""
    if not picture.frames:
        return []
    if len(picture.labels) <= MOST_LABELS:
        return list(picture.labels)
    detected = {event.label for event in picture.events}
    highest = np.array([2.0 if label in detected else 0 for label in picture.labels])
    for frame in picture.frames:
        highest = np.maximum(highest, frame.scores)
    chosen = set(np.argsort(-highest, kind="stable")[:MOST_LABELS].tolist())
    return [label for row, label in enumerate(picture.labels) if row in chosen]


def _draw_log_mel(axes: "Axes", picture: Picture) -> "AxesImage | None":
    spec = picture.spec
    axes.set_ylabel("Hz, mel scale")
    hint = ";  hatched: lost audio" if picture.gaps else ""
    axes.set_title(f"log-mel{hint}", loc="left", fontsize=10)
    if not picture.log_mel.size:
        _note(axes, "shorter than a frame")
        axes.set_yticks([])
        return None
    # The first and the last frame stand for the samples before and after them too.
    log_mel = np.pad(picture.log_mel, ((0, 0), (1, 2)), mode="edge")
    columns = pool(log_mel, MOST_COLUMNS)
    loudest = max(float(columns.max()), spec.floor_db + 20)
    # A frame is drawn around its centre: it shares its overlaps with its neighbours.
    start = spec.seconds(spec.n_fft - 3 * spec.hop_length) / 2
    length = spec.seconds(log_mel.shape[1] * spec.hop_length)
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
        _note(axes, f"no scores: the recording is shorter than {window:.1f} s")
        return None
    for edge in range(1, len(rows)):
        axes.axhline(edge - 0.5, color="white", linewidth=2)
    labels = list(picture.labels)
    frames = held(picture.frames, picture.samples)
    scores = score_map(frames, len(labels), picture.samples, MOST_COLUMNS)
    return axes.imshow(
        scores[[labels.index(label) for label in rows]],
        aspect="auto",
        extent=(0, picture.seconds, len(rows) - 0.5, -0.5),
        vmin=0,
        vmax=1,
        cmap="Blues",
        interpolation="nearest",
    )


def _draw_events(axes: "Axes", picture: Picture, rows: Sequence[str]) -> None:
    axes.set_title("events", loc="left", fontsize=10)
    _name_rows(axes, rows)
    if not rows:
        _note(axes, "no events")
    thinnest = picture.seconds / 500
    for row, label in enumerate(rows):
        bars = [(on, max(off - on, thinnest)) for on, off, _ in _bars(picture, label)]
        axes.broken_barh(bars, (row - 0.36, 0.72), facecolors=_colour(picture, label))


def _write_on_events(axes: "Axes", picture: Picture, rows: Sequence[str]) -> None:
    """Write score and duration inside each bar, or behind it, where there is room."""
    dots = axes.get_window_extent().width
    letter = picture.seconds * 0.6 * TEXT_POINTS * DOTS_PER_INCH / 72 / dots
    style: dict[str, Any] = {"va": "center", "fontsize": TEXT_POINTS}
    for row, label in enumerate(rows):
        bars = _bars(picture, label)
        next_starts = [*(start for start, _, _ in bars[1:]), picture.seconds]
        inside = text_colour(_colour(picture, label))
        for (start, stop, score), next_start in zip(bars, next_starts, strict=True):
            text = f"{score:.2f}  {duration(stop - start)}"
            needed = letter * (len(text) + 2)
            if needed <= stop - start:
                x = (start + stop) / 2
                axes.text(x, row, text, ha="center", color=inside, **style)
            elif needed <= next_start - stop:
                x = max(stop, start + picture.seconds / 500) + letter / 2
                axes.text(x, row, text, ha="left", color="black", **style)


def _bars(picture: Picture, label: str) -> list[tuple[float, float, float]]:
    """Start and stop in seconds, and score, of the events of a label, in order."""
    seconds = picture.spec.seconds
    return sorted(
        (seconds(event.start), seconds(event.stop), event.peak_score)
        for event in picture.events
        if event.label == label
    )


def _colour(picture: Picture, label: str) -> str:
    return f"C{list(picture.labels).index(label) % COLOURS}"


def text_colour(background: str) -> str:
    """Black or white, whichever contrasts more with a colour, by WCAG 2."""
    from matplotlib.colors import to_rgb

    channels = np.array(to_rgb(background))
    linear = np.where(
        channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4
    )
    luminance = float(linear @ (0.2126, 0.7152, 0.0722))
    return "black" if (luminance + 0.05) ** 2 > 0.05 * 1.05 else "white"


def _draw_level(axes: "Axes", picture: Picture) -> None:
    axes.set_title("level, highest of each column", loc="left", fontsize=10)
    axes.set_ylabel("dB")
    steps = picture.levels.shape[1]
    if not steps:
        axes.set_yticks([])
        return
    edges = np.minimum(np.arange(steps + 1) * picture.level_step, picture.samples)
    levels = pool(picture.levels, MOST_COLUMNS)
    shown = edges[group_edges(steps, levels.shape[1])] / picture.spec.sample_rate
    for level, name, colour in zip(
        levels, ("dBFS", weighted_unit(0)), ("0.25", "C1"), strict=True
    ):
        axes.stairs(level, shown, baseline=None, color=colour, label=name)
    low, high = float(levels.min()), float(levels.max())
    middle, half = (low + high) / 2, 0.55 * max(LEAST_LEVELS_DB, high - low)
    axes.set_ylim(middle - half, middle + half)
    axes.grid(axis="y", alpha=0.3)
    legend = axes.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=2, frameon=False, fontsize=9
    )
    legend.set_in_layout(False)


def _mark_time(axes: "Axes", seconds: float) -> None:
    step = tick_step(seconds)
    ticks = np.arange(0, seconds + step / 1000, step)
    axes.set_xticks(ticks, [clock(tick, step) for tick in ticks])
    axes.set_xlim(0, seconds)
    axes.set_xlabel("time")


def _name_rows(axes: "Axes", rows: Sequence[str]) -> None:
    axes.set_yticks(np.arange(len(rows)), [printable(row) for row in rows])
    for text in axes.get_yticklabels():
        text.set_parse_math(False)
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)


def _note(axes: "Axes", text: str) -> None:
    place: dict[str, Any] = {
        "ha": "center",
        "va": "center",
        "transform": axes.transAxes,
    }
    axes.text(0.5, 0.5, text, color="0.4", **place)


def pool(values: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Reduce the last axis to at most `most` values, each the highest of its group.

    Not the mean: a short sound stays visible in a long recording.
    """
    count = values.shape[-1]
    if count <= most:
        return values
    first = group_edges(count, most)[:-1]
    pooled: NDArray[np.float32] = np.maximum.reduceat(values, first, axis=-1)
    return pooled


def group_edges(count: int, groups: int) -> NDArray[np.intp]:
    """Edges of the groups into which `pool` divides `count` values."""
    return np.arange(groups + 1) * count // groups


def score_map(
    frames: Sequence[ScoreFrame], labels: int, samples: int, most: int
) -> NDArray[np.float32]:
    """Combine the scores of overlapping windows on one time axis.

    A score covers the part of the window in which the network was active for its
    label, so that a sound stands where it was; the highest of several counts.

    Args:
        frames: Score frames of one source, in order.
        labels: Rows.
        samples: Samples that the columns cover, from sample 0.
        most: Columns.

    Returns:
        float32, shape (labels, columns); NaN where there is no window.
    """
    columns = min(most, max(1, samples))
    scores = np.full((labels, columns), np.nan, np.float32)
    for frame in frames:
        reached = slice(*_columns(frame.start, frame.stop, columns, samples))
        scores[:, reached] = np.fmax(scores[:, reached], 0)
    for frame in frames:
        for row, (score, span) in enumerate(
            zip(frame.scores, frame.spans, strict=True)
        ):
            first, last = _columns(*span, columns, samples)
            part = scores[row, first:last]
            np.fmax(part, score, out=part)
    return scores


def _columns(start: int, stop: int, columns: int, samples: int) -> tuple[int, int]:
    """First column, and the one after the last, of the samples [start, stop)."""
    first = min(columns - 1, start * columns // samples)
    return first, max(first + 1, -(-stop * columns // samples))


def held(frames: Sequence[ScoreFrame], samples: int) -> list[ScoreFrame]:
    """Let the last scores hold to the end of a recording that ends within a hop."""
    *before, last = frames
    previous = before[-1].stop if before else last.start
    if not 0 < samples - last.stop < last.stop - previous:
        return list(frames)
    spans = tuple(
        (start, samples if stop == last.stop else stop) for start, stop in last.spans
    )
    return [*before, replace(last, stop=samples, spans=spans)]


def tick_step(seconds: float, most: int = 14) -> float:
    """The shortest round step of which at most `most` fit into `seconds`."""
    fitting = (step for step in TICK_STEPS_SECONDS if seconds / step <= most)
    return float(next(fitting, TICK_STEPS_SECONDS[-1]))


def clock(seconds: float, step: float) -> str:
    """Position in a recording, as precise as steps of `step`: 1:02:30, 0:00.5."""
    tenths = 2 if step < 0.1 else 1 if step < 1 else 0
    whole = round(seconds, tenths)
    hours, minutes = int(whole // 3600), int(whole // 60 % 60)
    rest = f"{whole % 60:0{tenths + 3 if tenths else 2}.{tenths}f}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def band_of(hertz: float, spec: ModelSpec) -> float:
    """Position of a frequency on an axis where band `k` has its centre at k.

    The bands are even on Slaney's mel scale: linear below 1 kHz, logarithmic above.
    """
    low, high = _mel(spec.f_min), _mel(spec.f_max)
    # The first band peaks one step above f_min, the last one step below f_max.
    return (_mel(hertz) - low) / (high - low) * (spec.n_mels + 1) - 1


def ticks_hz(spec: ModelSpec) -> list[int]:
    """Round frequencies within the bands, highest first, with room between them."""
    shown: list[int] = []
    for hertz in TICKS_HZ:
        place = band_of(hertz, spec)
        above = band_of(shown[-1], spec) if shown else float("inf")
        inside = -0.5 <= place <= spec.n_mels - 0.5
        if inside and above - place >= spec.n_mels / LEAST_TICKS_APART:
            shown.append(hertz)
    return shown


def _mel(hertz: float) -> float:
    if hertz < 1000:
        return hertz * 3 / 200
    return 15 + float(np.log(hertz / 1000)) * 27 / float(np.log(6.4))
