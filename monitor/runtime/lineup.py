"""What a worker drives, from the feeds of the sources to the sinks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from monitor.audio.feed import Feed
from monitor.runtime.clock import SampleClock
from monitor.runtime.health_watch import HealthWatch
from monitor.runtime.pipeline import Pipeline
from monitor.sinks.sink import Sink


@dataclass(frozen=True, slots=True)
class Lineup:
    """Feeds, pipeline and sinks that belong together; a reload makes another one."""

    pipeline: Pipeline
    """Prepared for the sources of `feeds`."""

    feeds: Mapping[str, Feed]
    """By source."""

    sample_clocks: Mapping[str, SampleClock]
    """By source; a source without one is a recording whose time is unknown."""

    sinks: Sequence[Sink]
    """Called on the worker's thread, in this order, and closed at its end."""

    model: str = ""
    """Tells models apart: where it changes, no event goes on."""

    health: HealthWatch = field(default_factory=HealthWatch.idle)
    """Judges the sources of `feeds`."""

    def goes_on(self, source: str, after: "Lineup") -> bool:
        """Whether `after` goes on with the very samples of a source."""
        return after.feeds.get(source) is self.feeds[source]
