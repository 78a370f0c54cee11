"""Inference engines: ONNX Runtime on the CPU, torch where it is installed."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.errors import SoundMonitorError

Array = NDArray[np.float32]


class Engine(Protocol):
    """A model that is ready to compute.  Used by one thread at a time."""

    name: str
    """`onnx` or `torch`."""

    compute_device: str
    """`cpu`, `cuda` or `mps`."""

    def run(self, windows: Array) -> tuple[Array, Array]:
        """Compute the scores of log-mel windows.

        Args:
            windows: float32, (batch, channels, n_mels, frames), dB; one channel counts
                as two equal ones.

        Returns:
            Scores (batch, labels) and activity (batch, labels, columns), in [0, 1].

        Raises:
            EngineError: The compute device failed.
        """


MISSING = "is not there"


class EngineError(SoundMonitorError):
    """The compute device of an engine is missing, or failed."""
