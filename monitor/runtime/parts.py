"""The parts that the worker drives: pipeline, inputs of the sources, and sinks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from monitor.audio.timeline import Timeline
from monitor.clock import SampleClock
from monitor.config.audio import HealthSettings
from monitor.records import SourceState
from monitor.runtime.health import SourceHealth
from monitor.runtime.pipeline import Arrival, Pipeline
from monitor.runtime.stats import SourceMeter
from monitor.sinks.sink import Sink

PlacedState = tuple[SourceState, int]
"""The new state of a source, and the sample at which it begins."""


@dataclass(frozen=True, slots=True)
class SourceInput:
    """The worker's objects for one source, for as long as it is open."""

    timeline: Timeline
    sample_clock: SampleClock | None
    """Clock of the samples; None: a recording whose time is unknown."""

    meter: SourceMeter
    health: SourceHealth
    is_live: bool = False
    """False for a recording, which waits for the worker: nothing is left out."""

    def take(self, most: int | None) -> tuple[list[Arrival], list[PlacedState]]:
        """Take what the source delivered: blocks and gaps, and its new states.

        At most the newest `most` samples; a gap stands for those before.
        """
        if self.sample_clock is not None:
            self.sample_clock.anchor(self.timeline.arrivals())
        arrivals: list[Arrival] = []
        states: list[PlacedState] = []
        position = self.timeline.taken
        for item in self.timeline.take(most):
            if isinstance(item, SourceState):
                states.append((item, position))
            else:
                arrivals.append((self.timeline.name, item))
                position = item.stop
        return arrivals, states


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that the worker drives; a reload replaces all of them at once."""

    pipeline: Pipeline
    """Prepared for the sources of `inputs`."""

    inputs: Mapping[str, SourceInput]
    """Sources by name."""

    health: HealthSettings
    session: str
    """Id of the session; within one, an open trouble continues."""

    continued: frozenset[str] = frozenset()
    """Sources that continue from the parts before, without losing a sample."""

    sinks: Sequence[Sink] = ()
    """Called on the worker's thread, in this order, and closed at its end."""

    @property
    def sample_rate(self) -> int:
        """Samples a second of the model."""
        return self.pipeline.models.spec.sample_rate
