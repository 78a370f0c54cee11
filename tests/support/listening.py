"""What a capture makes of the script of a source, on a clock of our own."""

from dataclasses import dataclass, field

from monitor.audio.capture import Capture
from monitor.audio.timeline import Block, Timeline
from monitor.config.audio import SourceSettings
from monitor.records import Gap, SourceState
from tests.support.clock import FakeClock
from tests.support.scripted import (
    FakeStop,
    ScriptedSource,
    Step,
)

RATE = 8_000
STALL_SECONDS = 2.0
SETTINGS = SourceSettings(name="street", stall_seconds=STALL_SECONDS)


@dataclass
class Listening:
    """What one capture made of a script."""

    source: ScriptedSource
    capture: Capture
    timeline: Timeline
    began: float
    pieces: list[Block | Gap | SourceState] = field(default_factory=list)

    @property
    def gaps(self) -> list[Gap]:
        return [piece for piece in self.pieces if isinstance(piece, Gap)]

    @property
    def blocks(self) -> list[Block]:
        return [piece for piece in self.pieces if isinstance(piece, Block)]

    @property
    def states(self) -> list[tuple[str, str]]:
        return [
            (piece.state, piece.detail)
            for piece in self.pieces
            if isinstance(piece, SourceState)
        ]

    @property
    def drawing(self) -> str:
        """Seconds of the timeline: `-` sound, the initial of the reason where lost."""
        letters = ["?"] * round(self.timeline.stop / RATE)
        for piece in self.pieces:
            if not isinstance(piece, SourceState):
                seconds = slice(round(piece.start / RATE), round(piece.stop / RATE))
                letter = "-" if isinstance(piece, Block) else piece.reason[0]
                letters[seconds] = letter * len(letters[seconds])
        return "".join(letters)


def listen(
    lives: list[list[Step]],
    *,
    live: bool = True,
    rate: int = RATE,
    ring_seconds: float = 600.0,
    stop_type: type[FakeStop] = FakeStop,
) -> Listening:
    """Run a capture over `lives` until the last of them is over."""
    clock = FakeClock()
    stop = stop_type(clock)
    source = ScriptedSource(clock, stop, lives, live=live, rate=rate)
    timeline = Timeline("street", RATE, ring_seconds)
    capture = Capture(source, timeline, SETTINGS, clock.monotonic)
    began = clock.monotonic()
    capture.run(stop)
    return Listening(source, capture, timeline, began, timeline.take())
