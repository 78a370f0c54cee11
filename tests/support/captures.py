"""A capture of a scripted source, on a fake clock."""

from dataclasses import dataclass, field

from monitor.audio.capture import Capture
from monitor.audio.timeline import Block, Item, Timeline
from monitor.config.audio import SourceSettings
from monitor.records import Gap, SourceState
from tests.support.clock import FakeClock
from tests.support.scripted_source import (
    FakeStop,
    ScriptedSource,
    Step,
)

RATE = 8_000
STALL_SECONDS = 2.0
SETTINGS = SourceSettings(name="street", stall_seconds=STALL_SECONDS)
RECORDING = SourceSettings(name="street", input="demo:")


@dataclass
class Captured:
    """The items that a capture made of a script."""

    source: ScriptedSource
    capture: Capture
    timeline: Timeline
    began: float
    items: list[Item] = field(default_factory=list)

    @property
    def gaps(self) -> list[Gap]:
        return [item for item in self.items if isinstance(item, Gap)]

    @property
    def blocks(self) -> list[Block]:
        return [item for item in self.items if isinstance(item, Block)]

    @property
    def states(self) -> list[tuple[str, str]]:
        return [
            (item.state, item.detail)
            for item in self.items
            if isinstance(item, SourceState)
        ]

    @property
    def drawing(self) -> str:
        """Seconds of the timeline: `-` samples, the initial of the reason of a gap."""
        letters = ["?"] * round(self.timeline.stop / RATE)
        for item in self.items:
            if not isinstance(item, SourceState):
                seconds = slice(round(item.start / RATE), round(item.stop / RATE))
                letter = "-" if isinstance(item, Block) else item.reason[0]
                letters[seconds] = letter * len(letters[seconds])
        return "".join(letters)


def run_capture(
    lives: list[list[Step]],
    *,
    settings: SourceSettings = SETTINGS,
    rate: int = RATE,
    ring_seconds: float = 600.0,
    stop_type: type[FakeStop] = FakeStop,
) -> Captured:
    """Run a capture over `lives` until the last of them is over."""
    clock = FakeClock()
    stop = stop_type(clock)
    source = ScriptedSource(clock, stop, lives, rate=rate)
    timeline = Timeline("street", RATE, ring_seconds)
    capture = Capture(source, timeline, settings, clock.monotonic)
    began = clock.monotonic()
    capture.run(stop)
    return Captured(source, capture, timeline, began, timeline.take())
