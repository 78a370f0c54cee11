"""A program that plays bursts of noise at known times, as raw PCM on stdout.

`python -m monitor.runtime.drills.noise_bursts`.  Like a sound card, it drops samples
that are not read in time.  A burst begins whenever the time of day in seconds is a
multiple of `PERIOD_SECONDS`, so that every process knows when.
"""

import contextlib
import os
import sys
import time

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 44_100
PERIOD_SECONDS = 7
BURST_SECONDS = 1.0
BURST_DBFS = -20.0
QUIET_DBFS = -80.0

_BLOCK_SECONDS = 0.1
_LATE_SECONDS = 0.5
"""A reader that is later than this loses samples."""


def main() -> None:
    """Write until the reader is gone."""
    count = round(_BLOCK_SECONDS * SAMPLE_RATE)
    generator = np.random.default_rng(1)
    origin = time.time() - time.monotonic()
    position = time.monotonic()
    with contextlib.suppress(BrokenPipeError):
        while True:
            # New noise each time: the same again would be a stuck source.
            pcm = render(origin + position, generator.standard_normal(count))
            position += _BLOCK_SECONDS
            time.sleep(max(0.0, position - time.monotonic()))
            _write(pcm)
            if time.monotonic() - position > _LATE_SECONDS:
                position = time.monotonic()


def render(moment: float, noise: NDArray[np.float64]) -> bytes:
    """Return the samples from `moment`, seconds since 1970, on, as 16-bit PCM.

    `noise` has the shape (samples,) and power 1.
    """
    moments = moment + np.arange(noise.size) / SAMPLE_RATE
    is_loud = moments % PERIOD_SECONDS < BURST_SECONDS
    level_db = np.where(is_loud, BURST_DBFS, QUIET_DBFS)
    samples = np.clip(noise * 10 ** (level_db / 20), -1, 1)
    return (samples * 32_767).astype("<i2").tobytes()


def _write(data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(sys.stdout.fileno(), view) :]


if __name__ == "__main__":
    main()
