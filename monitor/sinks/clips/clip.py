"""A clip: the sound of one event, in memory."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""float32, shape (1 or 2, n), nominally in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Clip:
    """The sound of one event, and what is to be known of it."""

    event_id: str
    source: str
    label: str
    begins: datetime
    """Time of the first sample, UTC."""

    ends: datetime
    sample_rate: int
    samples: Samples
    event_start: int
    """Where the event begins in `samples`."""

    event_stop: int
    cut: str
    """What is missing of the event, a sentence; empty: nothing."""

    @property
    def name(self) -> str:
        """Name of its files without their ending: time, source and label."""
        time = self.begins.astimezone(UTC).isoformat(timespec="milliseconds")
        time = time.removesuffix("+00:00").replace(":", "-")
        # A label is whatever a folder was called.
        label = re.sub(r"[^A-Za-z0-9_-]+", "-", self.label)[:60]
        return f"{time}Z_{self.source}_{label}"
