"""Inference engines: ONNX Runtime on the CPU, torch where it is installed."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from monitor.errors import SoundMonitorError
from monitor.model.background import Background
from monitor.spec import ModelSpec

Array = NDArray[np.float32]


class Classification(NamedTuple):
    """What a model says of a batch of windows, float32."""

    scores: Array
    """(batch, labels), in [0, 1], of whole windows."""

    activity: Array
    """(batch, labels, columns), in [0, 1]: scores of single columns."""

    columns: Array | None = None
    """(batch, features, columns): their mean over the columns is the embedding.  None:
    the model file has an older graph, without them."""


class WindowHistory:
    """The windows of a source so far: the newest one, and the background.

    An engine need not compute their overlap again.
    """

    def __init__(self) -> None:
        self.first_frame = 0
        """Absolute index of the first frame of the newest one."""

        self.maps: Array | None = None
        """What the engine keeps of it, float32, (1, features, bands, columns); None:
        nothing."""

        self.is_silent = False
        """True if the newest one was below the level gate, and not computed."""

        self.background: Background | None = None
        """None: no window of a model that takes a background was computed."""


class WindowPlace(NamedTuple):
    """Where a window lies in the sound of its source."""

    history: WindowHistory
    """The windows of the source before it."""

    first_frame: int
    """Absolute index of its first frame."""

    follows_silence: bool = False
    """True if a window between it and the one before it was below the level gate."""

    def background(self, spec: ModelSpec) -> Background:
        """Return the background of the source, up to this window."""
        history = self.history
        if history.background is None:
            history.background = Background(spec)
        if self.follows_silence:
            history.background.end_hold()
        return history.background


class Engine(Protocol):
    """A model that is ready to compute.  Used by one thread at a time."""

    name: str
    """`onnx` or `torch`."""

    compute_device: str
    """`cpu`, `cuda` or `mps`."""

    def run(
        self, windows: Array, places: Sequence[WindowPlace] = (), /
    ) -> Classification:
        """Compute the scores of log-mel windows.

        Args:
            windows: float32, (batch, channels, n_mels, frames), dB; one channel counts
                as two equal ones.
            places: One for each window, those of a source in order.  A model without a
                background gives the same scores without; one with a background gives
                those of a source where nothing changes.

        Raises:
            EngineError: The compute device failed.
        """

    def views(
        self, windows: Array, places: Sequence[WindowPlace] = (), /
    ) -> tuple[Array, Array]:
        """Compute what the head of a model with a background compares.

        Args:
            windows: See `run`.
            places: See `run`.  Histories speed it up; their background is neither used
                nor changed.

        Returns:
            Embedding and recent view, float32, both (batch, features).

        Raises:
            EngineError: The compute device failed.
        """


MISSING = "is not there"


class EngineError(SoundMonitorError):
    """The compute device of an engine is missing, or failed."""
