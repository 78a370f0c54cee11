"""The columns of a source while it is captured, read from its timeline."""

import numpy as np

from monitor.audio.columns import BANDS, COLUMNS_PER_SECOND, Columns, MelColumns
from monitor.audio.timeline import Timeline

MOST_SECONDS = 2.0
"""Sound that one call transforms: a reader that was away takes several."""


class TimelineColumns:
    """Columns of one timeline, from the newest sample on.  Used by one thread.

    Any thread but the worker's: it only reads.
    """

    def __init__(self, timeline: Timeline, most_columns: int) -> None:
        """Begin at the newest sample.

        `most_columns` is how far back the reader looks: what is older is not computed.
        """
        self._timeline = timeline
        self._most = most_columns * timeline.sample_rate // COLUMNS_PER_SECOND
        self._columns = MelColumns(timeline.sample_rate)
        self._next = timeline.stop
        self._channels = 0

    def read(self) -> Columns:
        """Return the columns that have come since the last call, (n, BANDS).

        Lost samples are silence; samples that the ring has not any more are left out.
        """
        stop = self._timeline.stop
        if stop - self._next > self._most:
            self._restart(stop - self._most)
        most = round(MOST_SECONDS * self._timeline.sample_rate)
        start, samples = self._timeline.read(self._next, min(stop, self._next + most))
        if not samples.shape[1]:
            if start > self._next:
                self._restart(start)
            return np.zeros((0, BANDS), np.uint8)
        if start != self._next or samples.shape[0] != self._channels:
            self._restart(start)
            self._channels = samples.shape[0]
        self._next = start + samples.shape[1]
        return self._columns.push(samples)

    def _restart(self, start: int) -> None:
        self._columns.restart()
        self._next = start
