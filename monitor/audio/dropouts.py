"""Dropouts of a live stream: found against the clock, and joined into few gaps."""

from math import inf

from monitor.audio.timeline import Timeline
from monitor.records import GapReason

_WINDOW_SECONDS = 2.5

_DRIFT = 0.01
"""A sound card errs by a thousandth at most, a program that keeps time itself by
more: a stream that is slower than this is losing samples."""

_STEADY_SECONDS = _DRIFT * _WINDOW_SECONDS

_LEAST_SHARE = 0.3
"""Least share of the time covered by samples for a steady delay to be meaningful."""

_LEAST_SECONDS = 0.2
"""Shorter losses look like delays, and move no event by much."""

_PART_SECONDS = 1.0
"""Length at which a continuing loss is passed on: open events end soon, and a monitor
that is stopped has lost no more of it."""


class DropoutDetector:
    """Compares the number of samples of one stream with the time that passed.

    A block comes when its last sample was captured, plus a delay.  Samples that were
    only held up come in the end, faster than real time, and the delay falls back; after
    a loss it stays.  So samples are missing if the least delay of 2.5 s has risen, and
    that of the next 2.5 s is the same.  A stream that loses again and again is never
    steady: there it is enough that the delay keeps growing, and is as long as a silence
    that counts as a stall.

    Used by the capture thread.
    """

    def __init__(self, sample_rate: int, stall_seconds: float) -> None:
        """Begin a stream; `stall_seconds` of silence count as a stall."""
        self._rate = sample_rate
        self._stall_seconds = stall_seconds
        self._position = 0
        self._window_began: float | None = None
        self._count = 0  # samples in this window
        self._lowest = inf  # delay in this window
        self._lowest_before = inf  # in the one before
        self._was_sparse = False  # the one before
        self._usual = inf  # least delay while nothing is missing

    def restart(self) -> None:
        """Forget the usual delay: the stream had to wait for its reader."""
        self._usual = self._lowest_before = inf
        self._begin_window(None)

    def missing(self, count: int, now: float) -> int:
        """Add `count` samples that came at `now`; return those missing before."""
        self._position += count
        self._count += count
        self._lowest = min(self._lowest, now - self._position / self._rate)
        if self._window_began is None:
            self._window_began = now
        seconds = now - self._window_began
        if seconds < _WINDOW_SECONDS:
            return 0
        lowest = self._lowest
        is_sparse = self._count < _LEAST_SHARE * seconds * self._rate
        # After a pause, the first samples are late in any case, and prove nothing.
        may_be_steady = not (is_sparse or self._was_sparse)
        missing_seconds = self._missing_seconds(lowest, seconds, may_be_steady)
        missing = round(missing_seconds * self._rate)
        self._position += missing
        self._lowest_before = lowest - missing / self._rate
        self._was_sparse = is_sparse
        self._begin_window(now)
        return missing

    def captured_at(self, now: float) -> float:
        """Return the capture time of the newest sample; `now` if none has come yet.

        It is earlier than its arrival if it was held up or samples are missing before.
        """
        usual = self._lowest if self._usual == inf else self._usual
        return min(now, usual + self._position / self._rate)

    def _begin_window(self, now: float | None) -> None:
        self._window_began = now
        self._lowest = inf
        self._count = 0

    def _missing_seconds(
        self, lowest: float, window_seconds: float, may_be_steady: bool
    ) -> float:
        before = self._lowest_before
        if self._usual == inf or lowest - self._usual <= _LEAST_SECONDS:
            # A slow clock is followed slowly; a fast one, or a shorter delay, at once.
            self._usual = min(self._usual + _DRIFT * window_seconds, lowest)
            return 0.0
        if before == inf:
            return 0.0
        late = min(lowest, before) - self._usual
        is_steady = may_be_steady and abs(lowest - before) <= _STEADY_SECONDS
        grows = lowest > before and late >= self._stall_seconds
        return late if late > _LEAST_SECONDS and (is_steady or grows) else 0.0


class GapJoiner:
    """Joins the parts of one loss to gaps of a second.

    Used by the capture thread, before it writes to the same timeline.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._count = 0
        self._reason: GapReason = "ended"

    def add(self, count: int, reason: GapReason) -> None:
        """Lose `count` more samples, at the rate of the timeline."""
        if reason != self._reason:
            self.flush()
        self._reason = reason
        self._count += count
        if self._count >= _PART_SECONDS * self._timeline.sample_rate:
            self.flush()

    def flush(self) -> None:
        """Pass on the rest of the loss: samples follow, or the end."""
        self._timeline.lose(self._count, self._reason)
        self._count = 0
