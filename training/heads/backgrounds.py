"""The backgrounds of the windows of a stream."""

import numpy as np
from numpy.typing import NDArray

from monitor.model.background import Background
from monitor.spec import ModelSpec

Array = NDArray[np.float32]


def backgrounds(
    embedding: Array, present: Array, spec: ModelSpec, hop_frames: int
) -> Array:
    """Return what a monitor that detects every label compares the windows with.

    Args:
        embedding: (windows, features).
        present: (windows, labels), 1 where a label is to be detected.
        spec: Has a background.
        hop_frames: Frames from one window to the next.

    Returns:
        (windows, features); a window that has none is compared with itself.
    """
    background = Background(spec)
    found = embedding.copy()
    for window, (own, scores) in enumerate(zip(embedding, present, strict=True)):
        first_frame = window * hop_frames
        before = background.before(first_frame)
        if before is not None:
            found[window] = before
        background.add(first_frame, own, scores)
    return found
