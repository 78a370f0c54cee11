"""A worker that listens to noise, on a fake clock, turn by turn."""

import threading
from typing import Any

from monitor.audio.ring import Samples
from monitor.audio.timeline import Timeline
from monitor.model.classifier import Classifier
from monitor.records import Record
from monitor.runtime.pipeline import Pipeline
from monitor.runtime.worker import Worker
from monitor.sinks.sink import MemorySink, Sink
from tests.runtime.test_pipeline import make_pipeline
from tests.support.clock import FakeClock
from tests.support.signals import noise
from tests.support.simulation import make_parts, source_input

RATE = 44_100


class Bench:
    """A worker that listens to noise, on a fake clock."""

    def __init__(self, classifier: Classifier, sound: Samples | None = None) -> None:
        self.sound = noise(40, 0.2) if sound is None else sound
        self.clock = FakeClock()
        self.wakeup = threading.Event()
        self.sink = MemorySink()
        self.stop = threading.Event()
        self.delivered = 0
        self.timeline = self.opened("street")
        self.street = source_input(self.timeline)
        self.parts = make_parts(
            make_pipeline(classifier), {"street": self.street}, [self.sink]
        )
        self.worker = Worker(self.parts, wakeup=self.wakeup, clock=self.clock)

    def opened(self, name: str, start: int = 0) -> Timeline:
        timeline = Timeline(name, RATE, 30.0, start)
        timeline.wakeup = self.wakeup
        timeline.open(1)
        timeline.state("listening", "noise")
        return timeline

    def deliver(self, seconds: float) -> None:
        """Deliver the next of a sound that is the same every time."""
        self.clock.advance(seconds)
        count = round(seconds * RATE)
        sound = self.sound[:, self.delivered : self.delivered + count]
        self.delivered += count
        self.timeline.write(sound, self.clock.monotonic())

    def replace(self, pipeline: Pipeline, *sinks: Sink, **facts: Any) -> None:
        """Go on with other parts, as a reload does."""
        facts = {
            "inputs": {"street": self.street},
            "continued": frozenset({"street"}),
            **facts,
        }
        after = make_parts(pipeline, sinks=(), **facts)
        self.worker.replace(after, lambda: sinks or [self.sink])

    def work(self) -> None:
        """One turn of the worker, as its thread would do it."""
        self.worker.step()

    @property
    def records(self) -> list[Record]:
        return [timed.record for timed in self.sink.records]

    def finish(self) -> list[Record]:
        self.stop.set()
        self.worker.run(self.stop)
        return self.records
