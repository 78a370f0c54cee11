"""Spectra of overlapping frames, for the log-mel and for the level."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

# numpy's types know it only for double precision.
_rfft: Callable[..., Any] = partial(np.fft.rfft, norm="forward")
"""With any other norm numpy computes in double precision, in new memory each time."""


class Spectra:
    """Multiplies frames by a window and transforms them, a few at a time.

    The buffers are kept: they stay in the cache of the processor, where large ones that
    are mapped anew for each hop take twice as long.  All streams that are analysed on
    one thread share them.  Not thread-safe.
    """

    def __init__(self, window: NDArray[np.float32], most_frames: int) -> None:
        """Prepare for up to `most_frames` frames at once, each as long as `window`."""
        self.window = window
        self._windowed = np.zeros((most_frames, window.size), np.float32)
        self._spectra = np.empty((most_frames, window.size // 2 + 1), np.complex64)

    def of(self, frames: NDArray[np.float32], rows: int = 0) -> NDArray[np.complex64]:
        """Transform frames, divided by their length.

        Args:
            frames: float32, shape (count, window), of any strides.
            rows: Rows of the result, if more than `count`; the further ones hold
                anything finite.

        Returns:
            complex64, shape (rows, window // 2 + 1), to be used before the next call,
            and to be overwritten at will.
        """
        count = len(frames)
        rows = max(rows, count)
        np.multiply(frames, self.window, out=self._windowed[:count])
        _rfft(self._windowed[:rows], out=self._spectra[:rows])
        return self._spectra[:rows]


def overlapping(
    samples: NDArray[np.float32], size: int, step: int
) -> NDArray[np.float32]:
    """View every whole frame of a signal.

    Args:
        samples: float32, shape (n,), of any stride.
        size: Samples of a frame.
        step: Samples from one frame to the next.

    Returns:
        Shape (frames, size), of the memory of `samples`: only to be read.
    """
    count = max(0, (len(samples) - size) // step + 1)
    (stride,) = samples.strides
    return as_strided(samples, (count, size), (step * stride, stride), writeable=False)
