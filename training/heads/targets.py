"""Targets of the windows of a stream, and their weights."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.detection.rules import IMPULSIVE_LABELS
from training.heads.streams import ABSENT_DB

Array = NDArray[np.float32]
AUDIBLE_SNR_DB = -10.0
"""Level above the bed from which a label counts as audible."""


class WindowColumns(NamedTuple):
    """The columns of the windows of a stream."""

    columns: int
    """In a window."""
    recent: int
    """At its end, that make the recent view."""
    hop: int
    """From one window to the next."""


class Targets(NamedTuple):
    """What a head learns from the windows of a stream."""

    present: Array
    """(windows, labels), 1 where a label is to be detected."""
    weights: Array
    """(windows, labels), 0 where neither answer is wrong: a label ends, or is faint."""


def window_targets(
    snr_db: Array, labels: Sequence[str], grid: WindowColumns, windows: int
) -> Targets:
    """Compute the targets of windows from the levels of the columns.

    A label is present if it is audible in the recent columns, and for so many columns
    of the window as its kind needs.

    Args:
        snr_db: (columns, labels), see `Stream`.
        labels: Names.
        grid: Columns of the windows; the first begins with the first column.
        windows: Their number.
    """
    on = snr_db > AUDIBLE_SNR_DB
    faint = (snr_db > ABSENT_DB) & ~on
    start = grid.hop * np.arange(windows)
    stop = start + grid.columns
    total = _counts(on, start, stop)
    recent = _counts(on, stop - min(grid.recent, grid.columns), stop)
    needed = np.array([1 if label in IMPULSIVE_LABELS else 2 for label in labels])
    present = (recent > 0) & (total >= needed)
    unclear = ~present & ((total > 0) | (_counts(faint, start, stop) > 0))
    return Targets(present.astype(np.float32), (~unclear).astype(np.float32))


def _counts(
    on: NDArray[np.bool_], start: NDArray[np.intp], stop: NDArray[np.intp]
) -> NDArray[np.intp]:
    """(windows, labels): columns that are on from `start` to `stop`."""
    sums = np.pad(on.cumsum(axis=0), ((1, 0), (0, 0)))
    last = len(on)
    return np.asarray(sums[stop.clip(0, last)] - sums[start.clip(0, last)])
