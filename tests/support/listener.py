"""A capture on its own thread, and what it hands over."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from monitor.audio.capture import Capture
from monitor.audio.sources.source import build_source
from monitor.audio.timeline import Block, Timeline
from monitor.config.audio import SourceSettings
from monitor.records import Gap, SourceState

PATIENCE_SECONDS = 20.0


class Listener:
    """Takes what a capture hands over, until something has come."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._wakeup = threading.Event()
        timeline.wakeup = self._wakeup
        self.pieces: list[Block | Gap | SourceState] = []

    @property
    def gaps(self) -> list[Gap]:
        return [piece for piece in self.pieces if isinstance(piece, Gap)]

    @property
    def blocks(self) -> list[Block]:
        return [piece for piece in self.pieces if isinstance(piece, Block)]

    @property
    def states(self) -> list[str]:
        """What the source was doing, in order."""
        return [piece.state for piece in self.pieces if isinstance(piece, SourceState)]

    @property
    def sentences(self) -> list[str]:
        return [piece.detail for piece in self.pieces if isinstance(piece, SourceState)]

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, f"only {len(self.blocks)} blocks came, {self.sentences}"
            self._wakeup.wait(left)
            self._wakeup.clear()
            self.pieces += self._timeline.take()

    def wait_for_reopenings(self, count: int) -> None:
        """Until it is heard again after so many interruptions."""
        self.wait_until(lambda: self._openings() > count and self._sounds_last())

    def _openings(self) -> int:
        return sum(
            isinstance(piece, SourceState) and piece.state == "listening"
            for piece in self.pieces
        )

    def _sounds_last(self) -> bool:
        return isinstance(self.pieces[-1], Block)


@contextmanager
def listening(settings: SourceSettings, sample_rate: int) -> Iterator[Listener]:
    """Capture the source of `settings` at `sample_rate` for as long as the block."""
    source = build_source(settings, "realtime", time.monotonic)
    timeline = Timeline(settings.name, sample_rate, 10.0)
    capture = Capture(source, timeline, settings, time.monotonic)
    stop = threading.Event()
    thread = threading.Thread(target=capture.run, args=(stop,), name="capture")
    listener = Listener(timeline)
    thread.start()
    try:
        yield listener
    finally:
        stop.set()
        thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
