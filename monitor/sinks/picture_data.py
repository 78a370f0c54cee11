"""What the picture of a recording shows, as arrays of a size that can be seen."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from monitor.records import ScoreFrame
from monitor.spec import ModelSpec

TICK_STEPS_SECONDS = (
    *(0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 28_800),
)

TICKS_HZ = (16_000, 8000, 4000, 2000, 1000, 500, 200, 100, 50)
LEAST_TICKS_APART = 24  # so many would fill the axis


def pool(values: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Take the highest of neighbours along the last axis, so that `most` are left.

    Not their mean: a short sound stays visible in a long recording.
    """
    count = values.shape[-1]
    if count <= most:
        return values
    first = np.arange(most) * count // most
    pooled: NDArray[np.float32] = np.maximum.reduceat(values, first, axis=-1)
    return pooled


def score_map(
    frames: Sequence[ScoreFrame], labels: int, samples: int, most: int
) -> NDArray[np.float32]:
    """Lay the scores of overlapping windows on one timeline.

    A score stands where the network was active for its label in the window, not over
    all of the window, so that sounds stand where they were; the highest one counts.

    Args:
        frames: Of one source, in order, each with `labels` scores.
        labels: Rows.
        samples: What the columns cover, from sample 0.
        most: Columns.

    Returns:
        Shape (labels, columns); not a number where no window reaches.
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
    """First and past-last column that [start, stop) touches; at least one."""
    first = min(columns - 1, start * columns // samples)
    return first, max(first + 1, -(-stop * columns // samples))


def hop_edges(frames: Sequence[ScoreFrame]) -> list[int]:
    """Sample indices between which the levels of `frames` hold: one more than frames.

    The level of a window is that of its newest hop; the first has no hop before it and
    is taken to be as long as the second.
    """
    stops = [frame.stop for frame in frames]
    first_hop = stops[1] - stops[0] if len(stops) > 1 else 1
    return [max(frames[0].start, stops[0] - first_hop), *stops]


def tick_step(seconds: float, most: int = 14) -> float:
    """The shortest round step of which at most `most` fit into `seconds`."""
    fitting = (step for step in TICK_STEPS_SECONDS if seconds / step <= most)
    return float(next(fitting, TICK_STEPS_SECONDS[-1]))


def clock(seconds: float, step: float) -> str:
    """Place in a recording, as precise as steps of `step` need it: 1:02:30, 0:00.5."""
    tenths = 2 if step < 0.1 else 1 if step < 1 else 0
    whole = round(seconds, tenths)
    hours, minutes = int(whole // 3600), int(whole // 60 % 60)
    rest = f"{whole % 60:0{tenths + 3 if tenths else 2}.{tenths}f}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def band_of(hertz: float, spec: ModelSpec) -> float:
    """Place of a frequency where band `k` reaches from k - 0.5 to k + 0.5.

    The bands are even on Slaney's mel scale: linear below 1 kHz, logarithmic above.
    """
    low, high = _mel(spec.f_min), _mel(spec.f_max)
    # The first band peaks one step above f_min, the last one step below f_max.
    return (_mel(hertz) - low) / (high - low) * (spec.n_mels + 1) - 1


def ticks_hz(spec: ModelSpec) -> list[int]:
    """Round frequencies within the bands, highest first, none on top of another."""
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


def free_seconds(
    spans: Sequence[tuple[float, float]], until: float
) -> list[tuple[float, float]]:
    """For stretches in order: the length of each, and of the pause after it."""
    starts = [start for start, _ in spans[1:]] + [until]
    return [
        (stop - start, following - stop)
        for (start, stop), following in zip(spans, starts, strict=True)
    ]
