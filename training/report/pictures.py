"""Pictures of a run, drawn with matplotlib."""

import re
import warnings
from collections.abc import Mapping, Sequence
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import text_to_path
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from monitor.model.thresholds import CurvePoint
from monitor.spec import ModelSpec

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]
_BINS = 10
# A label may hold dollar signs, which would begin a formula.
rcParams["text.parse_math"] = False
_COLUMNS = 5
_POINTS, _SMALL_POINTS = 9.0, 8.0
"""Size of letters."""

_LINE_INCHES = 1.35 * _POINTS / 72
_LINES = ("-", "--", ":", "-.")
DOTS_PER_INCH = 110
_ENVELOPE_POINTS = 800


def fitting(text: str, inches: float, points: float = _POINTS) -> str:
    """Break a text into lines of at most `inches`, best behind a space, _, - or /."""
    lines, line = [], ""
    for word in re.findall(r"[^\s_/-]*[\s_/-]*", text):
        if line and text_inches(line + word.rstrip(), points) > inches:
            lines.append(line.rstrip())
            line = ""
        for letter in word:
            if line and text_inches(line + letter, points) > inches:
                lines.append(line)
                line = ""
            line += letter
    return "\n".join([*lines, line.rstrip()])


def text_inches(text: str, points: float) -> float:
    """Width of a line of text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a letter that the font lacks
        width, _, _ = text_to_path.get_text_width_height_descent(
            text, FontProperties(size=points), ismath=False
        )
    return float(width) / 72


def _name_curves(figure: Figure, axes: Axes) -> None:
    """Name the curves of `axes` below all panels, however many they are."""
    lines, names = axes.get_legend_handles_labels()
    if not names:
        return
    wide, high = figure.get_size_inches()
    names = [fitting(name, wide - 1) for name in names]
    longest = max(text_inches(line, _POINTS) for line in "\n".join(names).split("\n"))
    columns = max(1, min(len(names), int(wide / (longest + 0.6))))
    rows = -(-len(names) // columns) + sum(name.count("\n") for name in names)
    figure.set_size_inches(wide, high + rows * _LINE_INCHES + 0.2)
    figure.legend(
        lines,
        names,
        loc="outside lower center",
        ncols=columns,
        fontsize=_POINTS,
        labelspacing=0.15,  # so that a row is a line
    )


def learning_curves(metrics: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss and accuracy over the epochs of each network of a run."""
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for index, (name, lines) in enumerate(metrics.items()):
            colour = f"C{index % 10}"
            epochs = [line["epoch"] for line in lines]
            values = [line[key] for line in lines]
            axes.plot(epochs, values, marker=".", color=colour, label=name)
            checked = [line for line in lines if key in line["validation"]]
            if checked:
                axes.plot(
                    [line["epoch"] for line in checked],
                    [line["validation"][key] for line in checked],
                    linestyle="--",
                    color=colour,
                    label=f"{name}, validation",
                )
        axes.set(xlabel="epoch", ylabel=key)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    _name_curves(figure, figure.axes[0])
    return figure


def detection_curves(curves: Mapping[str, Sequence[CurvePoint]]) -> Figure:
    """Share of events detected against false alarms, from sensitivity 0 to 1."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    titles = {
        "detected_near": "12 to 20 dB above the background",
        "detected_far": "6 to 12 dB",
    }
    for axes, (key, title) in zip(
        figure.subplots(1, 2, sharey=True), titles.items(), strict=True
    ):
        for index, (label, points) in enumerate(curves.items()):
            rates = [point.false_alarms_per_hour for point in points]
            shares = [getattr(point, key) for point in points]
            colour = colormaps["tab10"](index % 10)
            style = _LINES[index // 10 % len(_LINES)]
            axes.plot(rates, shares, style, color=colour, label=label)
            middle = len(points) // 2  # the shipped threshold
            axes.plot(rates[middle], shares[middle], "o", color=colour)
        axes.set_xscale("symlog", linthresh=0.1)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set(title=title, xlabel="false alarms an hour", ylim=(0, 1.02))
        axes.set_xlim(left=0)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("share of events detected")
    _name_curves(figure, figure.axes[0])
    return figure


def confusion_matrix(
    confusion: Sequence[Sequence[int]], labels: Sequence[str]
) -> Figure:
    """Counts in square cells, coloured by the share of each true label."""
    counts = np.asarray(confusion, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = [fitting(label, 2.0) for label in labels]
    lines = max(name.count("\n") + 1 for name in names)
    widest = f"{counts.max():.0f}"
    cell = max(0.25, lines * _LINE_INCHES, text_inches(widest, _POINTS) + 0.1)
    cell = max(cell, 1.2 / len(labels))  # room for the names of the axes
    margin = 0.6 + max(
        text_inches(line, _POINTS) for name in names for line in name.split("\n")
    )
    side = margin + cell * len(labels) + 0.1
    figure = Figure(figsize=(side, side))
    # Not by a layout, which would make cells of what the names leave.
    share = cell * len(labels) / side
    axes = figure.add_axes((margin / side, margin / side, share, share))
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, line in enumerate(counts):
        for column, count in enumerate(line):
            if count:
                dark = shares[row, column] > 0.5
                axes.text(
                    column,
                    row,
                    f"{count:.0f}",
                    ha="center",
                    va="center",
                    color="white" if dark else "black",
                    fontsize=_POINTS,
                )
    ticks = range(len(labels))
    axes.set_xticks(ticks, names, rotation=90, fontsize=_POINTS)
    axes.set_yticks(ticks, names, fontsize=_POINTS)
    figure.text(margin / side + share / 2, 0.1 / side, "predicted", ha="center")
    middle = margin / side + share / 2
    figure.text(0.1 / side, middle, "true", va="center", rotation=90)
    return figure


def _grid(labels: Sequence[str]) -> tuple[Figure, list[Axes]]:
    rows, columns = -(-len(labels) // _COLUMNS), min(len(labels), _COLUMNS)
    names = [fitting(label, 1.5, _SMALL_POINTS) for label in labels]
    lines = max(name.count("\n") + 1 for name in names)
    size = (2.2 * columns + 0.4, (2.2 + lines * _LINE_INCHES) * rows)
    figure = Figure(figsize=size, layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = list(grid.flat)
    for unused in axes[len(labels) :]:
        unused.set_visible(False)
    for each, name in zip(axes, names, strict=False):
        each.set_title(name, fontsize=_SMALL_POINTS)
        each.grid(alpha=0.3)
    return figure, axes


def precision_recall(
    scores: Array, truth: NDArray[np.intp], labels: Sequence[str]
) -> Figure:
    """Draw precision over recall, label by label."""
    figure, grid = _grid(labels)
    for index, axes in enumerate(grid[: len(labels)]):
        present = truth == index
        if present.any():
            precision, recall = precision_recall_curve(present, scores[:, index])
            average = float(np.sum(np.diff(recall) * precision[1:]))
            axes.plot(recall, precision)
            axes.set_title(
                f"{axes.get_title()} ({average:.2f})", fontsize=_SMALL_POINTS
            )
        else:
            axes.text(0.5, 0.5, "no clips", ha="center", va="center", color="0.4")
    figure.supxlabel("recall")
    figure.supylabel("precision (its average)", fontsize="medium")
    return figure


def precision_recall_curve(present: NDArray[np.bool_], scores: Array) -> list[Array]:
    """Precision and recall at every threshold, highest first, from recall 0 on."""
    order = np.argsort(-scores, kind="stable")
    is_last = np.diff(scores[order], append=-np.inf) != 0  # of equal scores
    hits, chosen = np.cumsum(present[order])[is_last], 1 + np.flatnonzero(is_last)
    return [np.append(1, hits / chosen), np.append(0, hits / hits[-1])]


def reliability(
    scores: Array, truth: NDArray[np.intp], labels: Sequence[str]
) -> Figure:
    """Draw the share of clips with the label over the score, label by label."""
    figure, grid = _grid(labels)
    for index, axes in enumerate(grid[: len(labels)]):
        own = scores[:, index]
        place = np.minimum((own * _BINS).astype(int), _BINS - 1)
        count = np.bincount(place, minlength=_BINS)
        mean = np.bincount(place, weights=own, minlength=_BINS)
        share = np.bincount(place, weights=truth == index, minlength=_BINS)
        filled = count > 0
        axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        axes.plot(
            mean[filled] / count[filled], share[filled] / count[filled], marker="o"
        )
    figure.supxlabel("score")
    figure.supylabel("share with the label", fontsize="medium")
    return figure


def side_by_side(
    windows: Array, columns: int = 3, margin: int = 4, above: int | None = None
) -> Pixels:
    """Draw log-mels (n, n_mels, frames) as one picture, low bands at the bottom.

    Axes of its own for each take a twentieth of a second.  `above` pixels are free
    above each, else `margin`.
    """
    count, n_mels, frames = windows.shape
    rows, columns = -(-count // columns), min(count, columns)
    above = margin if above is None else above
    size = (rows * (n_mels + above), columns * (frames + margin), 3)
    picture = np.full(size, 255, np.uint8)
    for number, window in enumerate(windows):
        row, column = divmod(number, columns)
        top, left = (row + 1) * above + row * n_mels, column * (frames + margin)
        low, high = float(window.min()), float(window.max())
        shares = (window[::-1] - low) / max(high - low, 1e-6)
        colours = colormaps["magma"](shares, bytes=True)[..., :3]
        picture[top : top + n_mels, left : left + frames] = colours
    return picture


def training_batch(log_mel: Array, titles: Sequence[str]) -> Figure:
    """Training windows as the network sees them: (batch, channels, n_mels, frames)."""
    batch, _, n_mels, frames = log_mel.shape
    columns, margin = min(batch, 3), max(4, n_mels // 4)
    inches_per_pixel = 11 / 3 / (frames + margin)
    names = [
        fitting(title, frames * inches_per_pixel, _SMALL_POINTS) for title in titles
    ]
    lines = max(name.count("\n") + 1 for name in names)
    above = ceil((lines * _LINE_INCHES + 0.04) / inches_per_pixel)
    picture = side_by_side(log_mel[:, 0], columns, margin, above)
    high, wide, _ = picture.shape
    figure = Figure(figsize=(wide * inches_per_pixel, high * inches_per_pixel))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture, aspect="auto")
    axes.set_axis_off()
    for number, name in enumerate(names):
        row, column = divmod(number, columns)
        place = column * (frames + margin), (row + 1) * (n_mels + above) - n_mels - 3
        axes.text(*place, name, fontsize=_SMALL_POINTS, va="bottom")
    return figure


def waveform_and_log_mel(samples: Array, log_mel: Array, spec: ModelSpec) -> Figure:
    """One recording, (n,) and (n_mels, frames), over one time axis."""
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    wave, picture = figure.subplots(2, 1, sharex=True, height_ratios=(1, 2))
    seconds = spec.seconds(len(samples))
    # Drawing all samples takes ten times as long.
    parts = np.array_split(samples, min(_ENVELOPE_POINTS, len(samples)))
    lowest, highest = ([edge(part) for part in parts] for edge in (np.min, np.max))
    wave.fill_between(np.linspace(0, seconds, len(parts)), lowest, highest)
    wave.set_ylabel("amplitude")
    image = picture.imshow(
        log_mel,
        origin="lower",
        aspect="auto",
        extent=(0, seconds, 0, spec.n_mels),
        cmap="magma",
    )
    picture.set(xlabel="seconds", ylabel="mel band")
    figure.colorbar(image, ax=picture, label="dB")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write a picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # A letter that the font lacks becomes a box; a warning would not help the user.
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(path, dpi=DOTS_PER_INCH)
