"""One picture of a recording: its log-mel, the scores over time, and the events."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from monitor.records import Event, ScoreFrame
from monitor.spec import ModelSpec

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_COLUMNS = 4096  # more would not be seen
_DYNAMIC_RANGE_DB = 80.0
_TICKS_HZ = (100, 500, 1000, 2000, 4000, 8000, 16000)


@dataclass(frozen=True)
class Picture:
    """What is drawn."""

    title: str
    spec: ModelSpec
    labels: Sequence[str]
    log_mel: NDArray[np.float32]
    """float32, shape (n_mels, frames), dB."""

    frames: Sequence[ScoreFrame]
    events: Sequence[Event]


def draw(picture: Picture, path: Path) -> None:
    """Write the picture as PNG.

    Raises:
        OSError: The file cannot be written.
    """
    # Not pyplot: it would look for a display and keep the figure for ever.
    from matplotlib.figure import Figure

    spec, frames = picture.spec, picture.log_mel.shape[1]
    seconds = max(spec.seconds(spec.frame_span(frames)), 0.1)
    figure = Figure(figsize=(14, 8), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 4])
    _draw_log_mel(figure, top, seconds, picture)
    _draw_scores(figure, bottom, picture)
    _draw_events(bottom, picture)
    top.set_title(picture.title, parse_math=False)
    top.set_xlim(0, seconds)
    bottom.set_xlabel("time (min:s)")
    bottom.xaxis.set_major_formatter(lambda value, _: _clock(value))
    with path.open("wb") as file:
        figure.savefig(file, dpi=110, format="png")


def _draw_log_mel(
    figure: "Figure",
    axes: "Axes",
    seconds: float,
    picture: Picture,
) -> None:
    spec, columns = picture.spec, pool(picture.log_mel, _MOST_COLUMNS)
    loudest = float(columns.max()) if columns.size else 0.0
    image = axes.imshow(
        columns,
        aspect="auto",
        origin="lower",
        extent=(0, seconds, 0, spec.n_mels),
        vmin=max(spec.floor_db, loudest - _DYNAMIC_RANGE_DB),
        vmax=loudest,
        cmap="magma",
        interpolation="nearest",
    )
    ticks = [hertz for hertz in _TICKS_HZ if spec.f_min <= hertz <= spec.f_max]
    axes.set_yticks(
        [band_of(hertz, spec) for hertz in ticks], [f"{t:g}" for t in ticks]
    )
    axes.set_ylabel("frequency (Hz)")
    figure.colorbar(image, ax=axes, label="log-mel (dB)", pad=0.01)


def pool(log_mel: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Take the loudest of so many neighbouring frames that at most `most` are left.

    Not their mean, so that a short sound stays visible in a long recording.
    """
    count = -(-log_mel.shape[1] // most)
    if count <= 1:
        return log_mel
    pooled: NDArray[np.float32] = np.maximum.reduceat(
        log_mel, np.arange(0, log_mel.shape[1], count), axis=1
    )
    return pooled


def _draw_scores(figure: "Figure", axes: "Axes", picture: Picture) -> None:
    """One row for each label; a window's scores stand around its middle."""
    rows = len(picture.labels)
    axes.set_yticks(np.arange(rows) + 0.5, picture.labels)
    axes.set_ylim(rows, 0)
    axes.set_title("blue: score of the window around; red: events, with peak score")
    if not picture.frames:
        return
    spec = picture.spec
    middles = [spec.seconds((each.start + each.stop) // 2) for each in picture.frames]
    edges = [*middles, middles[-1] + _step(middles)]
    shifted = np.array(edges) - _step(middles) / 2
    scores = np.array([each.scores for each in picture.frames]).T  # (labels, windows)
    mesh = axes.pcolormesh(
        shifted, np.arange(rows + 1), scores, vmin=0, vmax=1, cmap="Blues"
    )
    mesh.set_rasterized(True)
    figure.colorbar(mesh, ax=axes, label="score", pad=0.01)


def _step(middles: Sequence[float]) -> float:
    return middles[1] - middles[0] if len(middles) > 1 else 0.5


def _draw_events(axes: "Axes", picture: Picture) -> None:
    for event in picture.events:
        row = list(picture.labels).index(event.label)
        start = picture.spec.seconds(event.start)
        length = picture.spec.seconds(event.stop - event.start)
        axes.broken_barh(
            [(start, length)],
            (row + 0.08, 0.84),
            facecolor="none",
            edgecolor="crimson",
            linewidth=2,
        )
        axes.annotate(
            f"{event.peak_score:.2f}",
            (start + length, row + 0.5),
            xytext=(4, 0),
            textcoords="offset points",
            color="crimson",
            va="center",
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )


def band_of(hertz: float, spec: ModelSpec) -> float:
    """Place of a frequency among the bands, which are even on Slaney's mel scale."""
    low, high = _mel(spec.f_min), _mel(spec.f_max)
    # The first band peaks one step above f_min, the last one step below f_max.
    return (_mel(hertz) - low) / (high - low) * (spec.n_mels + 1) - 0.5


def _mel(hertz: float) -> float:
    """Slaney's mel scale: linear below 1 kHz, logarithmic above."""
    if hertz < 1000:
        return hertz * 3 / 200
    return 15 + float(np.log(hertz / 1000)) * 27 / float(np.log(6.4))


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds, 3), 60)
    return f"{int(minutes)}:{rest:02.0f}" if rest.is_integer() else f"{seconds:.2f} s"
