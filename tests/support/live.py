"""A live feed behind a status socket, with real timelines and columns."""

import json
import socket
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from monitor.audio.columns import band_centres
from monitor.audio.timeline import Timeline
from monitor.audio.timeline_columns import TimelineColumns
from monitor.clock import SystemClock
from monitor.sinks.live import ColumnFormat, LiveSink
from monitor.sinks.live_readers import LiveReaders
from monitor.sinks.recent import Recent
from monitor.sinks.status_socket import StatusSocket
from tests.support.clock import DEADLINE_SECONDS, wait_until
from tests.support.signals import Samples
from tests.support.status import FakeMonitor
from tests.support.timed import LABELS, statistics

RATE = 16_000
Line = dict[str, Any]


def follow_live(path: Path, timeout_seconds: float = 10.0) -> Iterator[Line]:
    """Yield the lines that a monitor sends on a request of the live feed."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout_seconds)
        connection.connect(str(path))
        connection.sendall(b'{"request": "live"}\n')
        with connection.makefile("rb") as lines:
            yield from map(json.loads, lines)


@dataclass
class Feed:
    """A live feed behind a status socket, and the timelines that it reads."""

    path: Path
    sources: Sequence[str] = ("street",)
    readers: LiveReaders = field(default_factory=LiveReaders)
    recent: Recent = field(default_factory=Recent)
    explained: list[bool] = field(default_factory=list)
    formats: int = 0

    def __post_init__(self) -> None:
        self.monitor = FakeMonitor(self.path.parent)
        self.timelines: dict[str, Timeline] = {}
        for source in self.sources:
            self.timelines[source] = Timeline(source, RATE, 30.0)
        self.sink = LiveSink(
            dict.fromkeys(self.sources, LABELS),
            self.monitor.tracker,
            self.readers,
            self.recent,
            self.timelines,
            self.load_format,
            SystemClock(),
            self.explained.append,
        )
        self.socket = StatusSocket(
            self.monitor.tracker,
            self.path,
            follow=self.readers.add,
            recent=self.recent.document,
        )
        self.socket.report(self.monitor.report())
        wait_until(self.path.exists)

    def load_format(self) -> ColumnFormat:
        self.formats += 1
        return ColumnFormat(
            RATE,
            band_centres(RATE),
            lambda source: TimelineColumns(self.timelines[source]),
        )

    def play(self, samples: Samples, source: str = "street") -> None:
        """Let samples arrive now."""
        timeline = self.timelines[source]
        timeline.open(len(samples))
        for first in range(0, samples.shape[1], RATE // 10):
            block = samples[:, first : first + RATE // 10]
            timeline.write(block, SystemClock().monotonic())

    def lines(self) -> Iterator[Line]:
        """Follow; the worker reports meanwhile, as it always does."""
        found = follow_live(self.path, DEADLINE_SECONDS)
        over = threading.Event()

        def report() -> None:
            while not over.wait(0.05):
                self.sink.report(statistics(*self.sources))

        worker = threading.Thread(target=report)
        worker.start()
        try:
            yield from found
        finally:
            over.set()
            worker.join()

    def close(self) -> None:
        self.socket.close()
        self.sink.close()
        self.readers.close()
