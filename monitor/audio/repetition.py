"""Exact repetition: finds a stream that delivers the same samples over and over.

A driver or a program that is stuck repeats its buffer to the last bit.  No microphone
does: its own noise is never the same twice.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from monitor.audio.ring import Samples

LONGEST_SECONDS = 5.0
"""Longest period that is found."""

_PATTERN = 64
"""Samples that are searched for in those that follow."""

_MOST_PLACES = 8
"""Places of the pattern that are examined in one push: a hum of the last bit has many.
"""

# Odd numbers whose multiples spread the bits of a float over the highest eight.
_FACTORS = (np.uint32(0x9E37_79B1), np.uint32(0x85EB_CA77))


class RepetitionDetector:
    """Finds the period of a stream, of any length up to `LONGEST_SECONDS`.

    Keeps a byte for each sample instead of the sample: a fingerprint of all channels.
    It waits for a pattern, some samples of the recent past, to come again; their
    distance is the period if everything since then is the same as well.
    Not thread-safe.
    """

    def __init__(self, sample_rate: int) -> None:
        self._longest = round(LONGEST_SECONDS * sample_rate)
        self._most = self._longest + sample_rate  # an interval is half a second
        self._past = b""
        self._pattern = b""
        self._pattern_age = 0  # samples from its begin to the end of the past
        self._period: int | None = None

    def push(self, samples: Samples) -> int | None:
        """Add the samples that follow; return the period in which they all repeat.

        Samples of one value have no period, unless they are part of a longer one.

        Args:
            samples: float32, shape (1 or 2, n), n > 0.
        """
        new = _fingerprints(samples)
        count = len(new)
        self._past = (self._past + new)[-self._most :]
        self._pattern_age += count
        if self._period is None or not self._repeats(count, self._period):
            self._period = next(self._periods(count), None)
        if self._period is not None and self._repeats(count, self._period):
            return self._period
        is_old = self._pattern_age > self._longest + count
        if self._period is None and (is_old or not self._pattern):
            self._choose_pattern()
        return None

    def _periods(self, count: int) -> Iterator[int]:
        """Yield the periods that hold from the pattern's return to the newest sample.

        Only places that end in the newest `count` samples are examined.
        """
        if not self._pattern:
            return
        length = len(self._past)
        begin = length - self._pattern_age
        place = max(begin, length - count - len(self._pattern))
        for _ in range(_MOST_PLACES):
            place = self._past.find(self._pattern, place + 1)
            if place < 0:
                return
            if self._repeats(length - place, place - begin):
                yield place - begin

    def _repeats(self, count: int, period: int) -> bool:
        """Return True if the newest samples are those of a period before."""
        stop = len(self._past)
        start = stop - count
        if start < period:
            return False
        return self._past[start:] == self._past[start - period : stop - period]

    def _choose_pattern(self) -> None:
        newest = self._past[-_PATTERN:]
        # One value comes again at once, and says nothing.
        self._pattern = newest if len(set(newest)) > 1 else b""
        self._pattern_age = len(newest)


def _fingerprints(samples: Samples) -> bytes:
    bits: NDArray[np.uint32] = samples.view(np.uint32)
    mixed = bits[0] * _FACTORS[0]
    if len(bits) > 1:
        mixed += bits[1] * _FACTORS[1]
    return bytes((mixed >> np.uint32(24)).astype(np.uint8))
