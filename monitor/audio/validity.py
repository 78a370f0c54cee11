"""Keeps what is not sound out of the pipeline: NaN, infinity, absurd amplitudes."""

from itertools import pairwise

import numpy as np

from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost

_MOST_AMPLITUDE = 100.0
"""40 dB beyond full scale: bytes read as floats that are none, or a broken driver."""

_QUARANTINE_SECONDS = 0.5


class ValidityGate:
    """Takes invalid samples out of a stream, and what follows them too soon.

    Who delivers garbage is believed again after half a second of numbers.  Otherwise a
    source in the wrong format, in which some samples look like numbers by chance, would
    be a thousand gaps a second.  Not thread-safe.
    """

    def __init__(self, sample_rate: int) -> None:
        self._quarantine = round(_QUARANTINE_SECONDS * sample_rate)
        self._clear = self._quarantine  # samples since the last invalid one

    def push(self, block: Samples) -> list[Samples | Lost]:
        """Divide the samples that follow into what is sound and what is lost, in order.

        Whether a sample is lost does not depend on the sizes of the blocks.

        Args:
            block: float32, shape (channels, n), any n; a sample is lost if it is
                invalid in any channel.
        """
        count = block.shape[1]
        if count == 0:
            return []
        # A comparison with NaN is false: one pass for all that can be wrong.
        if self._clear == self._quarantine and np.abs(block).max() <= _MOST_AMPLITUDE:
            return [block]
        valid = (np.abs(block) <= _MOST_AMPLITUDE).all(axis=0)
        index = np.arange(count)
        latest_invalid = np.maximum.accumulate(np.where(valid, -self._clear - 1, index))
        clear = index - latest_invalid
        self._clear = min(int(clear[-1]), self._quarantine)
        lost = clear <= self._quarantine
        edges = [0, *(np.flatnonzero(np.diff(lost)) + 1), count]
        return [
            Lost(int(stop - start)) if lost[start] else block[:, start:stop]
            for start, stop in pairwise(edges)
        ]
