"""A capture on its own thread, and the items that it hands over."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from monitor.audio.capture import Capture
from monitor.audio.sources.source import build_source
from monitor.audio.timeline import Block, Item, Timeline
from monitor.config.audio import SourceSettings
from monitor.records import Gap, SourceState

DEADLINE_SECONDS = 20.0


class CaptureReader:
    """Takes the items of a capture until a condition holds."""

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._wakeup = threading.Event()
        timeline.wakeup = self._wakeup
        self.items: list[Item] = []

    @property
    def gaps(self) -> list[Gap]:
        return [item for item in self.items if isinstance(item, Gap)]

    @property
    def blocks(self) -> list[Block]:
        return [item for item in self.items if isinstance(item, Block)]

    @property
    def states(self) -> list[str]:
        """Return the states of the source, in order."""
        return [item.state for item in self.items if isinstance(item, SourceState)]

    @property
    def sentences(self) -> list[str]:
        return [item.detail for item in self.items if isinstance(item, SourceState)]

    def take(self) -> None:
        """Take what there is."""
        self.items += self._timeline.take()

    def wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            left = deadline - time.monotonic()
            assert left > 0, f"only {len(self.blocks)} blocks came, {self.sentences}"
            self._wakeup.wait(left)
            self._wakeup.clear()
            self.items += self._timeline.take()

    def wait_for_reopenings(self, count: int) -> None:
        """Wait for samples after so many interruptions."""
        self.wait_until(lambda: self._openings() > count and self._ends_with_samples())

    def _openings(self) -> int:
        return sum(
            isinstance(item, SourceState) and item.state == "listening"
            for item in self.items
        )

    def _ends_with_samples(self) -> bool:
        return isinstance(self.items[-1], Block)


@contextmanager
def running_capture(
    settings: SourceSettings,
    sample_rate: int,
    read_password: Callable[[], str] | None = None,
) -> Iterator[CaptureReader]:
    """Capture the source of `settings` while the block runs."""
    source = build_source(settings, "realtime", time.monotonic, read_password)
    timeline = Timeline(settings.name, sample_rate, 10.0)
    capture = Capture(source, timeline, settings, time.monotonic)
    stop = threading.Event()
    thread = threading.Thread(target=capture.run, args=(stop,), name="capture")
    reader = CaptureReader(timeline)
    thread.start()
    try:
        yield reader
    finally:
        stop.set()
        thread.join(DEADLINE_SECONDS)
        assert not thread.is_alive()
