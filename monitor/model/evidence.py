"""Where in a window its score comes from: the active columns of each label."""

import numpy as np
from numpy.typing import NDArray

Activity = NDArray[np.float32]
"""Shape (batch, labels, columns), scores in [0, 1]."""

ACTIVE_SHARE = 0.5
"""A column is active from this share of the label's highest column upwards."""

BRIDGED_COLUMNS = 2
"""Lulls of up to so many columns do not end a stretch (0.37 s at 16 frames each)."""


def active_spans(activity: Activity) -> NDArray[np.int64]:
    """Find for each label the stretch of columns around its highest one.

    The stretch is the run of active columns that holds the highest, short lulls
    bridged.  It always holds the highest column, so it is never empty.

    Returns:
        Shape (batch, labels, 2): first and past-last column.
    """
    columns, lull = activity.shape[-1], BRIDGED_COLUMNS + 1
    peak = activity.max(axis=-1, keepdims=True)  # (batch, labels, 1)
    # Silence on both sides of the window, so that a run ends where the window ends.
    silent = np.ones((*activity.shape[:-1], columns + 2 * lull), bool)
    np.less(activity, ACTIVE_SHARE * peak, out=silent[..., lull:-lull])
    first = np.arange(-lull, columns + 1)
    ends_run = np.logical_and.reduce(  # where a lull begins that is not bridged
        [silent[..., ahead : ahead + first.size] for ahead in range(lull)]
    )
    highest = activity.argmax(axis=-1)[..., None]
    start = np.where(ends_run & (first < highest), first + lull, 0).max(axis=-1)
    stop = np.where(ends_run & (first > highest), first, columns).min(axis=-1)
    return np.stack([start, stop], axis=-1)


def span_samples(
    spans: NDArray[np.int64], total_stride: int, hop_length: int, n_fft: int
) -> NDArray[np.int64]:
    """Turn columns into samples from the start of the window.

    Column `k` is centred on frame `k * total_stride`, whose samples are centred half a
    frame after its first one; it stands for half a stride to either side.  Without
    that shift events would begin and end 0.08 s late.

    Args:
        spans: Any shape, edges between columns: `k` lies before column `k`.
        total_stride: Frames from one column to the next.
        hop_length: Samples from one frame to the next.
        n_fft: Samples a frame covers.

    Returns:
        The same shape, from 0: the first column would begin before the window.
    """
    shift = (n_fft - total_stride * hop_length) // 2
    return np.maximum(spans * total_stride * hop_length + shift, 0)
