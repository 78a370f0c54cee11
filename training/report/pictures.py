"""Pictures of a run, drawn with matplotlib."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps, rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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
_ENVELOPE_POINTS = 800


def learning_curves(metrics: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Loss and accuracy over the epochs of each network of a run."""
    figure = Figure(figsize=(10, 3.5), layout="constrained")
    for axes, key in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for name, lines in metrics.items():
            epochs = [line["epoch"] for line in lines]
            axes.plot(epochs, [line[key] for line in lines], marker=".", label=name)
            checked = [line for line in lines if key in line["validation"]]
            if checked:
                axes.plot(
                    [line["epoch"] for line in checked],
                    [line["validation"][key] for line in checked],
                    linestyle="--",
                    label=f"{name}, validation",
                )
        axes.set(xlabel="epoch", ylabel=key)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        axes.legend(fontsize="small")
    return figure


def detection_curves(curves: Mapping[str, Sequence[CurvePoint]]) -> Figure:
    """Share of events detected against false alarms, from sensitivity 0 to 1."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
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
            axes.plot(rates, shares, color=colour, label=label)
            middle = len(points) // 2  # the shipped threshold
            axes.plot(rates[middle], shares[middle], "o", color=colour)
        axes.set_xscale("symlog", linthresh=0.1)
        axes.set(title=title, xlabel="false alarms an hour", ylim=(0, 1))
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("share of events detected")
    figure.axes[1].legend(fontsize="small")
    return figure


def confusion_matrix(
    confusion: Sequence[Sequence[int]], labels: Sequence[str]
) -> Figure:
    """Counts, coloured by the share of each true label."""
    counts = np.asarray(confusion, float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(7.5, 6.5), layout="constrained")
    axes = figure.subplots()
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
                    fontsize="small",
                )
    ticks = range(len(labels))
    axes.set_xticks(ticks, labels, rotation=45, ha="right")
    axes.set_yticks(ticks, labels)
    axes.set(xlabel="predicted", ylabel="true")
    return figure


def _grid(labels: Sequence[str]) -> tuple[Figure, list[Axes]]:
    rows, columns = -(-len(labels) // _COLUMNS), min(len(labels), _COLUMNS)
    figure = Figure(figsize=(2.2 * columns, 2.4 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    axes = list(grid.flat)
    for unused in axes[len(labels) :]:
        unused.set_visible(False)
    for each, label in zip(axes, labels, strict=False):
        each.set_title(label, fontsize="small")
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
            axes.set_title(f"{labels[index]} ({average:.2f})", fontsize="small")
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


def side_by_side(windows: Array, columns: int = 3, margin: int = 4) -> Pixels:
    """Draw log-mels (n, n_mels, frames) as one picture, low bands at the bottom.

    Axes of its own for each take a twentieth of a second.
    """
    count, n_mels, frames = windows.shape
    rows, columns = -(-count // columns), min(count, columns)
    size = (rows * (n_mels + margin), columns * (frames + margin), 3)
    picture = np.full(size, 255, np.uint8)
    for number, window in enumerate(windows):
        row, column = divmod(number, columns)
        top, left = (row + 1) * margin + row * n_mels, column * (frames + margin)
        low, high = float(window.min()), float(window.max())
        shares = (window[::-1] - low) / max(high - low, 1e-6)
        colours = colormaps["magma"](shares, bytes=True)[..., :3]
        picture[top : top + n_mels, left : left + frames] = colours
    return picture


def training_batch(log_mel: Array, titles: Sequence[str]) -> Figure:
    """Training windows as the network sees them: (batch, channels, n_mels, frames)."""
    _, _, n_mels, frames = log_mel.shape
    columns, margin = 3, n_mels // 4
    picture = side_by_side(log_mel[:, 0], columns, margin)
    figure = Figure(figsize=(11, 11 * picture.shape[0] / picture.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(picture, aspect="auto")
    axes.set_axis_off()
    for number, title in enumerate(titles):
        row, column = divmod(number, columns)
        place = column * (frames + margin), row * (n_mels + margin) + 0.8 * margin
        axes.text(*place, title, fontsize="small")
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
    figure.savefig(path, dpi=110)
