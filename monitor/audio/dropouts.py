"""The pace of a live stream: what it lost without a word shows against the clock.

Lost samples on their way from the capture thread to the timeline.
"""

from monitor.audio.timeline import Timeline
from monitor.records import GapReason

_NONE = float("inf")
"""The delay of nothing."""

_WINDOW_SECONDS = 2.5

_DRIFT = 0.01
"""A sound card errs by a thousandth at most, a program that keeps time itself by
more: what comes slower than this is losing samples."""

_STEADY_SECONDS = _DRIFT * _WINDOW_SECONDS

_LEAST_SHARE = 0.3
"""Of the time, that must have come as sound for the delays to mean something."""

_LEAST_SECONDS = 0.2
"""Shorter losses cannot be told from delays, and move no event by much."""


class Pace:
    """Compares how many samples of one stream came with the time that passed.

    A block comes when its last sample has been sound, plus a delay.  What was only held
    up comes in the end, faster than sound does, and the delay falls back; after a loss
    it stays what it has become.  So samples are missing if the least delay of 2.5 s
    has risen, and that of the next 2.5 s is the same.  Who loses again and again is
    never steady: there it is enough that the delay keeps growing, and is as long as a
    silence that counts as a stall.

    Used by the capture thread.
    """

    def __init__(self, sample_rate: int, stall_seconds: float) -> None:
        """Begin a stream.

        Args:
            sample_rate: Of the stream.
            stall_seconds: Silence that counts as a stall.
        """
        self._rate = sample_rate
        self._stall_seconds = stall_seconds
        self._position = 0
        self._window_began: float | None = None
        self._count = 0  # samples in this window
        self._lowest = _NONE  # delay in this window
        self._lowest_before = _NONE  # in the one before
        self._usual = _NONE  # least delay while nothing is missing

    def restart(self) -> None:
        """Forget what was usual: the stream had to wait for its reader."""
        self._usual = self._lowest_before = _NONE
        self._begin_window(None)

    def missing(self, count: int, now: float) -> int:
        """Take note of the next samples; return how many are missing before them.

        Args:
            count: Samples that came at once, or that the source said it lost.
            now: Monotonic seconds at which they came.
        """
        self._position += count
        self._count += count
        self._lowest = min(self._lowest, now - self._position / self._rate)
        if self._window_began is None:
            self._window_began = now
        seconds = now - self._window_began
        if seconds < _WINDOW_SECONDS:
            return 0
        lowest = self._lowest
        if self._count < _LEAST_SHARE * seconds * self._rate:
            # A pause, and what comes first after it: that is late in any case.
            lowest = _NONE
        missing = round(self._missing_seconds(lowest, seconds) * self._rate)
        self._position += missing
        self._lowest_before = lowest - missing / self._rate
        self._begin_window(now)
        return missing

    def heard_until(self, now: float) -> float:
        """When the newest sample was sound; `now` if none has come yet.

        Earlier than it came, if it was held up or samples before it are missing.
        """
        usual = self._lowest if self._usual == _NONE else self._usual
        return min(now, usual + self._position / self._rate)

    def _begin_window(self, now: float | None) -> None:
        self._window_began = now
        self._lowest = _NONE
        self._count = 0

    def _missing_seconds(self, lowest: float, window_seconds: float) -> float:
        before = self._lowest_before
        if self._usual == _NONE or lowest - self._usual <= _LEAST_SECONDS:
            # A slow clock is followed slowly; a fast one, or a shorter delay, at once.
            self._usual = min(self._usual + _DRIFT * window_seconds, lowest)
            return 0.0
        if _NONE in (lowest, before):
            return 0.0
        late = min(lowest, before) - self._usual
        is_steady = abs(lowest - before) <= _STEADY_SECONDS
        grows = lowest > before and late >= self._stall_seconds
        return late if late > _LEAST_SECONDS and (is_steady or grows) else 0.0


_FIRST_SECONDS = 1.0
"""A loss that goes on is told after this time, so that open events end soon."""

_AGAIN_SECONDS = 600.0
"""And then so often: one outage is a few gaps, but statistics do not lag for hours."""


class Losses:
    """Gathers what is lost, so that one loss is not a gap for each of its pieces.

    Used by the capture thread, before it writes to the same timeline.
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._count = 0
        self._reason: GapReason = "ended"
        self._limit_seconds = _FIRST_SECONDS

    def add(self, count: int, reason: GapReason) -> None:
        """Lose `count` more samples, at the rate of the timeline."""
        if self._count and reason != self._reason:
            self._tell()
        self._reason = reason
        self._count += count
        if self._count >= self._limit_seconds * self._timeline.sample_rate:
            self._tell()
            self._limit_seconds = _AGAIN_SECONDS

    def settle(self) -> None:
        """Tell what is still untold: sound follows, or the end."""
        self._tell()
        self._limit_seconds = _FIRST_SECONDS

    def _tell(self) -> None:
        if self._count:
            self._timeline.lose(self._count, self._reason)
            self._count = 0
