"""The columns of a source while it is captured, read from its timeline."""

from monitor.audio.columns import Columns, MelColumns
from monitor.audio.timeline import Timeline

BACK_SECONDS = 20.0
"""Sound before the first call that becomes columns too, if the ring holds it."""

RING_SHARE = 0.5
"""So much of the ring is read at most: the rest is overwritten during the copy."""


class TimelineColumns:
    """Columns of one timeline.  Used by one thread.

    Any thread but the worker's: it only reads.
    """

    def __init__(self, timeline: Timeline) -> None:
        """Begin a little before the newest sample."""
        self._timeline = timeline
        self._columns = MelColumns(timeline.sample_rate)
        self._next = self._origin = self._earliest(
            round(BACK_SECONDS * timeline.sample_rate)
        )
        self._channels = 0

    @property
    def stop(self) -> int:
        """Absolute index of the sample after the newest column."""
        return self._origin + self._columns.stop

    def read(self, most_samples: int) -> tuple[int, Columns]:
        """Read what has come since the last call; what was left comes with the next.

        Lost samples are silence; samples that are too old for the ring are left out.

        Returns:
            The number of samples that were read, and their columns, (n, BANDS).
        """
        timeline = self._timeline
        first = max(self._next, self._earliest(timeline.capacity))
        start, samples = timeline.read(first, min(timeline.stop, first + most_samples))
        channels, count = samples.shape
        if start != self._next or channels != self._channels:
            self._columns.restart()
            self._origin, self._channels = start, channels
        self._next = start + count
        return count, self._columns.push(samples)

    def _earliest(self, most_samples: int) -> int:
        timeline = self._timeline
        most = min(RING_SHARE * timeline.capacity, most_samples)
        return max(timeline.start, timeline.stop - int(most))
