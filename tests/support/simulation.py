"""A monitor on a simulated clock, with a simulated sound card and its faults.

Capture, timeline, worker and pipeline are the real ones.  The capture runs on the
thread of the test; the worker has its own, and both take turns: every run is the same,
and a simulated week takes as long as its computation.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitor.audio.capture import Capture
from monitor.audio.ring import Samples
from monitor.audio.sources.source import Lost
from monitor.audio.timeline import Timeline
from monitor.clock import SampleClock
from monitor.config.audio import HealthSettings, SourceSettings
from monitor.errors import SourceError
from monitor.records import Event, Gap, Timed
from monitor.runtime.health import SourceHealth
from monitor.runtime.parts import Parts, SourceInput
from monitor.runtime.pipeline import Pipeline
from monitor.runtime.stats import SourceMeter
from monitor.runtime.worker import Worker
from monitor.sinks.sink import Sink
from monitor.statistics import Statistics
from tests.support.clock import FakeClock
from tests.support.scripted_source import FakeStop

PATIENCE_SECONDS = 60.0

Sound = Callable[[NDArray[np.float64]], NDArray[np.float32]]
"""The samples at some moments, in seconds from the beginning."""


class WorkerTurns(threading.Event):
    """The wakeup of a worker that works only when it is its turn."""

    def __init__(self) -> None:
        super().__init__()
        self._go = threading.Semaphore(0)
        self._waits = threading.Semaphore(0)
        self.is_over = False

    def wait(self, timeout: float | None = None) -> bool:
        """Runs on the worker's thread: hand over to the test."""
        self._waits.release()
        self._go.acquire()
        return True

    def begin(self) -> None:
        """Wait until the worker waits for the first time."""
        assert self._waits.acquire(timeout=PATIENCE_SECONDS), "the worker hangs"

    def give(self) -> None:
        """Let the worker work until it waits again, or ends."""
        if not self.is_over:
            self._go.release()
            self.begin()

    def end(self) -> None:
        """Runs on the worker's thread at its end."""
        self.is_over = True
        self._waits.release()


@dataclass
class SimulatedCard:
    """A sound card, the program that reads it, and the faults of both."""

    clock: FakeClock
    sound: Sound
    rate: int
    drift: float = 0.0
    """By how much its clock is fast."""

    block_seconds: float = 0.125
    live: bool = True
    opening_seconds: float = 6.0
    stall_seconds: float = 2.0
    description: str = "microphone 'simulated'"
    after_block: Callable[[], None] = lambda: None
    """Called when time has passed."""

    gone_until: float = 0.0
    """It cannot be opened before."""

    opened: int = 0
    was_opened: Callable[[], None] = lambda: None
    was_closed: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        self.began = self.clock.monotonic()
        self._taken = 0  # of its samples, read or gone
        self._next: deque[Samples | Lost | Exception | None] = deque()

    # Capture's side.

    @property
    def sample_rate(self) -> int:
        return self.rate

    @property
    def channels(self) -> int:
        return 1

    def open(self) -> "SimulatedCard":
        self.after_block()
        if self.clock.monotonic() < self.gone_until:
            raise SourceError("the microphone is gone")
        self._next.clear()
        self.opened += 1
        self._taken = self._position()
        self.was_opened()
        return self

    def read(self, timeout_seconds: float) -> Samples | Lost | None:
        self.after_block()
        if not self._next:
            self.clock.advance(self.block_seconds)
            return self._samples()
        item = self._next.popleft()
        if isinstance(item, Exception):
            raise item
        return item

    def close(self) -> None:
        self.was_closed()

    # Faults.

    def sleep(self, seconds: float) -> None:
        """The machine sleeps: time passes and nothing is recorded."""
        self.lose(seconds)
        self._next.append(None)

    def lose(self, seconds: float) -> None:
        """Samples are lost without a report."""
        self.clock.advance(seconds)
        self._taken = self._position()

    def overflow(self, seconds: float) -> None:
        """Samples are lost, and the device reports it."""
        self.clock.advance(seconds)
        position = self._position()
        self._next.append(Lost(position - self._taken))
        self._taken = position

    def hold(self, seconds: float) -> None:
        """The reader is delayed; the samples come all at once."""
        self.clock.advance(seconds)
        while self._taken < self._position():
            self._next.append(self._samples(self._taken + self.rate))

    def hang(self, seconds: float) -> None:
        """Nothing is delivered for some time; the sound of that time is lost."""
        for _ in range(round(seconds / self.block_seconds)):
            self._next.append(None)
        self.lose(seconds)

    def garbage(self, seconds: float) -> None:
        """The samples delivered are NaN."""
        self.clock.advance(seconds)
        self._next.append(np.full_like(self._samples(), np.nan))

    def end(self, seconds: float = 0.0) -> None:
        """The capture child dies, and the device is absent for some time."""
        self._next.append(SourceError("the capture process was killed by SIGKILL"))
        self.gone_until = self.clock.monotonic() + seconds

    def _position(self) -> int:
        seconds = self.clock.monotonic() - self.began
        return round(seconds * self.rate * (1 + self.drift))

    def _samples(self, most: int | None = None) -> Samples:
        stop = self._position() if most is None else min(most, self._position())
        moments = np.arange(self._taken, stop) / (self.rate * (1 + self.drift))
        self._taken = stop
        return self.sound(moments)[np.newaxis]


@dataclass
class TimedSink(Sink):
    """A sink that notes when the events were, by the clock that never steps.

    The age of a time of day is known when the record arrives.
    """

    clock: FakeClock
    events: list[tuple[float, float, Event]] = field(default_factory=list)
    gaps: list[tuple[float, float, Gap]] = field(default_factory=list)
    statistics: Statistics | None = None

    def write(self, batch: Sequence[Timed]) -> None:
        for timed in batch:
            if isinstance(timed.record, Event):
                self.events.append((*self._seconds(timed), timed.record))
            elif isinstance(timed.record, Gap):
                self.gaps.append((*self._seconds(timed), timed.record))

    def report(self, statistics: Statistics) -> None:
        self.statistics = statistics

    def _seconds(self, timed: Timed) -> tuple[float, float]:
        assert timed.start_utc is not None
        assert timed.end_utc is not None
        now, wall = self.clock.monotonic(), self.clock.utc()
        start, end = (
            now - (wall - each).total_seconds()
            for each in (timed.start_utc, timed.end_utc)
        )
        return start, end


def source_input(
    timeline: Timeline, sample_clock: SampleClock | None = None, *, live: bool = False
) -> SourceInput:
    """A source as the worker sees it, in good health."""
    health = SourceHealth(
        timeline.name,
        timeline.sample_rate,
        HealthSettings(),
        level_gate_dbfs=-70.0,
        session="test",
        live=live,
    )
    return SourceInput(timeline, sample_clock, SourceMeter(timeline), health, live)


def make_parts(
    pipeline: Pipeline,
    inputs: Mapping[str, SourceInput],
    sinks: Sequence[Sink] = (),
    **facts: Any,
) -> Parts:
    """All parts of a worker."""
    health, session = HealthSettings(), facts.pop("session", "test")
    return Parts(pipeline, inputs, health, session, sinks=sinks, **facts)


Incident = tuple[float, Callable[[], None]]
"""Seconds from the beginning, and the function to call then."""


class Simulation:
    """One source, one worker and their clock."""

    def __init__(
        self,
        card: SimulatedCard,
        pipeline: Pipeline,
        sinks: Sequence[Sink],
        *,
        ring_seconds: float = 30.0,
        turn_seconds: float = 0.0,
        live: bool = False,
    ) -> None:
        """Build capture, timeline and worker.

        Args:
            card: Its clock is that of the simulation.
            pipeline: For the source "street".
            sinks: Of the worker.
            ring_seconds: Of the timeline.
            turn_seconds: Time between two turns of the worker; 0: after each block.
            live: A worker that is late may leave out windows.
        """
        self.card = card
        self.clock = card.clock
        self.turns = WorkerTurns()
        rate = pipeline.models.spec.sample_rate
        self.timeline = Timeline("street", rate, ring_seconds)
        self.timeline.wakeup = self.turns
        settings = SourceSettings(name="street")
        self._stop = FakeStop(self.clock)
        self._capture = Capture(card, self.timeline, settings, self.clock.monotonic)
        self.input = source_input(
            self.timeline, SampleClock(self.clock, rate), live=live
        )
        parts = make_parts(pipeline, {"street": self.input}, sinks)
        self.worker = Worker(parts, wakeup=self.turns, clock=self.clock)
        self.worker_busy_until = 0.0
        self.cost = 0.0
        """Seconds of work for a second of sound."""

        self._turn_seconds = turn_seconds
        self._next_turn = 0.0
        self._incidents: deque[Incident] = deque()
        self._end = 0.0
        card.after_block = self._pass

    def run(self, seconds: float, incidents: Iterable[Incident] = ()) -> None:
        """Let time pass, with `incidents` in it, in their order."""
        began = self.clock.monotonic()
        self._end = began + seconds
        self._incidents.extend((began + at, happen) for at, happen in incidents)
        worker_stop = threading.Event()
        errors: list[Exception] = []

        def work() -> None:
            try:
                self.worker.run(worker_stop)
            except Exception as error:  # noqa: BLE001 - raised where the test waits
                errors.append(error)
            finally:
                self.turns.end()

        thread = threading.Thread(target=work, name="worker")
        thread.start()
        try:
            self.turns.begin()
            self._capture.run(self._stop)
        finally:
            worker_stop.set()
            self.turns.give()
            thread.join(PATIENCE_SECONDS)
        assert not thread.is_alive()
        for error in errors:
            raise error

    def delay_worker(self, seconds: float) -> None:
        """Keep the worker from working for some time."""
        self.worker_busy_until = self.clock.monotonic() + seconds

    def step_wall_clock(self, seconds: float) -> None:
        self.clock.wall += timedelta(seconds=seconds)

    @property
    def _analysed_samples(self) -> int:
        losses = self.input.meter.losses
        return self.timeline.taken - sum(it.samples for it in losses)

    def _pass(self) -> None:
        now = self.clock.monotonic()
        if self._incidents and now >= self._incidents[0][0]:
            self._incidents.popleft()[1]()
            now = self.clock.monotonic()
        if now >= max(self.worker_busy_until, self._next_turn):
            self._next_turn = now + self._turn_seconds
            before = self._analysed_samples
            self.turns.give()
            fresh = self._analysed_samples - before
            work = self.cost * fresh / self.timeline.sample_rate
            self.worker_busy_until = max(self.worker_busy_until, now + work)
        if now >= self._end:
            self._stop.set()
