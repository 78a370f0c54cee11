"""Targets of the windows of a stream, their weights, and where their background is."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from monitor.detection.rules import IMPULSIVE_LABELS
from monitor.spec import ModelSpec
from training.heads.streams import ABSENT_DB

Array = NDArray[np.float32]
AUDIBLE_SNR_DB = -10.0
"""Level above the bed from which a label counts as audible."""
_QUIET_HOPS = 3
"""Hops without a sound that do not end what is held."""


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
    sounding: NDArray[np.bool_]
    """(windows,), whether some label is audible in the newest hop."""


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
    newest = _counts(on, stop - grid.hop, stop).any(axis=1)
    return Targets(
        present.astype(np.float32), (~unclear).astype(np.float32), np.asarray(newest)
    )


def _counts(
    on: NDArray[np.bool_], start: NDArray[np.intp], stop: NDArray[np.intp]
) -> NDArray[np.intp]:
    """(windows, labels): columns that are on from `start` to `stop`."""
    sums = np.pad(on.cumsum(axis=0), ((1, 0), (0, 0)))
    last = len(on)
    return np.asarray(sums[stop.clip(0, last)] - sums[start.clip(0, last)])


def background_ranges(
    sounding: NDArray[np.bool_], spec: ModelSpec, hop_frames: int
) -> NDArray[np.intp]:
    """Find the windows whose mean embedding is the background of each window.

    The background of a window in which something sounds is that of the window before
    the sound, for `longest_hold_seconds` at most.  The monitor holds it by its scores:
    for a sound that it detects late, windows of the sound itself are in it.

    Args:
        sounding: (windows,), see `Targets`.
        spec: Has a background.
        hop_frames: Frames from one window to the next.

    Returns:
        (windows, 2): first window, and the one after the last; equal if there is none.
    """
    rules = spec.background
    assert rules is not None
    newest, oldest, longest = (
        spec.frames(seconds)
        for seconds in (
            rules.newest_seconds,
            rules.oldest_seconds,
            rules.longest_hold_seconds,
        )
    )
    source = _held(sounding, longest // hop_frames)
    stop = np.maximum(source - -(-newest // hop_frames) + 1, 0)
    start = np.maximum(source - oldest // hop_frames, 0)
    return np.stack([np.minimum(start, stop), stop], axis=1)


def _held(sounding: NDArray[np.bool_], longest: int) -> NDArray[np.intp]:
    """(windows,): the window whose background each one has."""
    source = np.arange(len(sounding))
    before: int | None = None
    quiet = 0
    for window, sounds in enumerate(sounding):
        if sounds:
            before = max(window - 1, 0) if before is None else before
            quiet = 0
        elif before is not None:
            quiet += 1
            if quiet > _QUIET_HOPS:
                before = None
        if before is not None:
            source[window] = max(before, window - longest)
    return source
