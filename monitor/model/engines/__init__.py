"""Inference engines: ONNX Runtime on the CPU, torch where it is installed."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.errors import SoundMonitorError

Array = NDArray[np.float32]


class Stream:
    """The windows of one source, whose overlap an engine need not compute again."""

    def __init__(self) -> None:
        self.first_frame = 0
        """Of the newest window."""

        self.maps: Array | None = None
        """What the engine keeps of it; None: nothing."""


Place = tuple[Stream, int]
"""The stream of a window, and the absolute index of its first frame."""


class Engine(Protocol):
    """A model that is ready to compute.  Used by one thread at a time."""

    name: str
    """`onnx` or `torch`."""

    compute_device: str
    """`cpu`, `cuda` or `mps`."""

    def run(
        self, windows: Array, places: Sequence[Place] = (), /
    ) -> tuple[Array, Array]:
        """Compute the scores of log-mel windows.

        Args:
            windows: float32, (batch, channels, n_mels, frames), dB; one channel counts
                as two equal ones.
            places: One for each window, those of a stream in order; the scores are the
                same without.

        Returns:
            Scores (batch, labels) and activity (batch, labels, columns), in [0, 1].

        Raises:
            EngineError: The compute device failed.
        """


MISSING = "is not there"


class EngineError(SoundMonitorError):
    """The compute device of an engine is missing, or failed."""
