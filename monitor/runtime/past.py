"""What the rings still hold of the sound of every source."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

# `check` builds one without sound, and numpy takes its time.
if TYPE_CHECKING:
    from monitor.audio.feed import Feed
    from monitor.audio.ring import Samples


class Past:
    """Looks back at the newest seconds of the sources, by absolute sample index."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}

    def follow(self, feeds: "Iterable[Feed]") -> None:
        """Look at these from now on."""
        self._feeds = {feed.name: feed for feed in feeds}

    def stop(self, source: str) -> int:
        """Absolute index after the newest sample of a source."""
        return self._feeds[source].stop

    def capacity(self, source: str) -> int:
        """Samples that can be looked back at."""
        return self._feeds[source].capacity

    def source_rate(self, source: str) -> int | None:
        """Samples a second that a source itself delivers; None before it does."""
        return self._feeds[source].source_rate

    def read(self, source: str, start: int, stop: int) -> "tuple[int, Samples]":
        """Copy what there still is of the samples [start, stop); see `Feed.past`."""
        return self._feeds[source].past(start, stop)
