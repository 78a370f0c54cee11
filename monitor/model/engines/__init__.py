"""Inference engines: ONNX Runtime on the CPU, torch where it is installed."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.errors import SoundMonitorError

Array = NDArray[np.float32]


class WindowHistory:
    """The newest window of a source; an engine need not compute its overlap again."""

    def __init__(self) -> None:
        self.first_frame = 0
        """Absolute index of its first frame."""

        self.maps: Array | None = None
        """What the engine keeps of it, float32, (1, features, bands, columns); None:
        nothing."""


class WindowPlace(NamedTuple):
    """Where a window lies in the sound of its source."""

    history: WindowHistory
    """The windows of the source before it."""

    first_frame: int
    """Absolute index of its first frame."""


class Engine(Protocol):
    """A model that is ready to compute.  Used by one thread at a time."""

    name: str
    """`onnx` or `torch`."""

    compute_device: str
    """`cpu`, `cuda` or `mps`."""

    def run(
        self, windows: Array, places: Sequence[WindowPlace] = (), /
    ) -> tuple[Array, Array]:
        """Compute the scores of log-mel windows.

        Args:
            windows: float32, (batch, channels, n_mels, frames), dB; one channel counts
                as two equal ones.
            places: One for each window, those of a source in order; the scores are the
                same without.

        Returns:
            Scores (batch, labels) and activity (batch, labels, columns), in [0, 1].

        Raises:
            EngineError: The compute device failed.
        """


MISSING = "is not there"


class EngineError(SoundMonitorError):
    """The compute device of an engine is missing, or failed."""
