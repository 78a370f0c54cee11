"""Lost samples on their way from the capture thread to the feed."""

from monitor.audio.feed import Feed
from monitor.records import GapReason

_FIRST_SECONDS = 1.0
"""A loss that goes on is told after this time, so that open events end soon."""

_AGAIN_SECONDS = 600.0
"""And then so often: one outage is a few gaps, but statistics do not lag for hours."""


class Losses:
    """Gathers what is lost, so that one loss is not a gap for each of its pieces.

    Used by the capture thread, before it writes to the same feed.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._count = 0
        self._reason: GapReason = "ended"
        self._limit_seconds = _FIRST_SECONDS

    def add(self, count: int, reason: GapReason) -> None:
        """Lose `count` more samples, at the rate of the feed."""
        if self._count and reason != self._reason:
            self._tell()
        self._reason = reason
        self._count += count
        if self._count >= self._limit_seconds * self._feed.sample_rate:
            self._tell()
            self._limit_seconds = _AGAIN_SECONDS

    def settle(self) -> None:
        """Tell what is still untold: sound follows, or the end."""
        self._tell()
        self._limit_seconds = _FIRST_SECONDS

    def _tell(self) -> None:
        if self._count:
            self._feed.lose(self._count, self._reason)
            self._count = 0
