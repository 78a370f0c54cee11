"""The worker: takes what the sources delivered, analyses it, tells the sinks.

What a worker drives, from the timelines of the sources to the sinks.
"""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from monitor.audio.timeline import Block, Timeline
from monitor.clock import Clock, SampleClock
from monitor.records import (
    EVERY_SOURCE,
    EndReason,
    Event,
    Onset,
    PlacedRecord,
    Record,
    ScoreFrame,
    SourceState,
    Timed,
)
from monitor.runtime.health import HealthWatch
from monitor.runtime.pipeline import Arrival, Pipeline
from monitor.runtime.stats import Meter
from monitor.sinks.sink import Sink
from monitor.statistics import Statistics


@dataclass(frozen=True, slots=True)
class Lineup:
    """Feeds, pipeline and sinks that belong together; a reload makes another one."""

    pipeline: Pipeline
    """Prepared for the sources of `timelines`."""

    timelines: Mapping[str, Timeline]
    """By source."""

    sample_clocks: Mapping[str, SampleClock]
    """By source; a source without one is a recording whose time is unknown."""

    sinks: Sequence[Sink]
    """Called on the worker's thread, in this order, and closed at its end."""

    model: str = ""
    """Tells models apart: where it changes, no event goes on."""

    health: HealthWatch = field(default_factory=HealthWatch.idle)
    """Judges the sources of `timelines`."""

    def goes_on(self, source: str, after: "Lineup") -> bool:
        """Whether `after` goes on with the very samples of a source."""
        return after.timelines.get(source) is self.timelines[source]


REPORT_SECONDS = 0.25
IDLE_SECONDS = 1.0


class Worker:
    """Drives the pipeline with all sources, on one thread.

    When it falls behind, the due windows of all sources become one batch; when even
    that is too slow, the timeline reports the overrun as a gap.
    """

    def __init__(
        self, lineup: Lineup, *, wakeup: threading.Event, clock: Clock
    ) -> None:
        """Connect timelines and sinks.

        Args:
            lineup: What to drive; the `wakeup` of its timelines is `wakeup`.
            wakeup: Set whenever there may be something to do.
            clock: Of the machine.
        """
        self.latest_turn = clock.monotonic()
        """When the thread last began to look for work, monotonic seconds."""

        self.wakeup = wakeup
        """Set whenever there may be something to do."""

        self._lineup = lineup
        self._going_on: dict[str, Timed] = {}  # onsets without their event
        self._clock = clock
        self._meter = Meter(clock)
        self._meter.follow(lineup.timelines.values())
        self._listening = set(lineup.timelines)
        self._began = clock.monotonic()
        self._own_clock = SampleClock(clock, self._sample_rate)
        self._changes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._reported = float("-inf")

    def ask(self, change: Callable[[], None]) -> None:
        """Have `change` run between two steps, on the worker's thread.  Any thread.

        When the worker has ended, it never runs.
        """
        self._changes.put(change)
        self.wakeup.set()

    def reopen_sinks(self) -> None:
        """Have the sinks open their files anew.  Worker's thread: see `ask`."""
        for sink in self._lineup.sinks:
            sink.reopen()

    def conclude(self, after: Lineup) -> None:
        """End what does not go on in `after`, and tell it.  Worker's thread: see `ask`.

        The captures of sources that do not go on have ended.
        """
        before = self._lineup
        gone = [name for name in before.timelines if not before.goes_on(name, after)]
        self._work([before.timelines[name] for name in gone])
        for name in gone if after.model == before.model else before.timelines:
            self._tell(before.pipeline.finish(name, "reloaded"))
        for name in gone:
            self._listening.discard(name)
            detail = "there is a new configuration"
            self._tell(before.health.finish(name, detail, self._place))
            if name not in after.timelines:
                state = SourceState(name, "ended", "it is not configured any more")
                position = before.timelines[name].taken
                self._give([self._timed(state, position, position)])

    def adopt(self, after: Lineup, newcomers: Iterable[Sink]) -> None:
        """Go on with `after`.  Worker's thread: see `ask`; `conclude` stands before.

        Where another model or another hop needs it, sound that was analysed before is
        heard again, so that the next window is complete as soon as it would have been.

        Args:
            after: What to drive from now on.
            newcomers: Of its sinks those that are to learn what is going on.
        """
        before, self._lineup = self._lineup, after
        self._meter.follow(after.timelines.values())
        for sink in before.sinks:
            if not any(sink is each for each in after.sinks):
                sink.close()
        for sink in newcomers if self._going_on else ():
            sink.write(list(self._going_on.values()))
        after.health.go_on_from(before.health)
        again: list[Arrival] = []
        for name, timeline in after.timelines.items():
            if name not in before.timelines or not before.goes_on(name, after):
                self._listening.add(name)
                continue
            after.health.take_over(name, before.health)
            first = after.pipeline.take_over(
                name, before.pipeline, is_same_model=after.model == before.model
            )
            start, samples = timeline.past(first, timeline.taken)
            if samples.shape[1]:
                again.append((name, Block(start, samples)))
        self._tell(after.pipeline.process(again))

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set or every source is a recording that is over.

        Runs on the worker's thread.  Sets `stop` at the end; ends open events, and
        closes the sinks in any case.
        """
        try:
            while self._listening and not stop.is_set():
                self.wakeup.wait(IDLE_SECONDS)
                self.wakeup.clear()
                self.latest_turn = self._clock.monotonic()
                self._step()
            self._work(list(self._lineup.timelines.values()))
            self._finish("stopped")
        finally:
            stop.set()
            for sink in self._lineup.sinks:
                sink.close()

    @property
    def statistics(self) -> Statistics:
        """How the monitor is doing."""
        lineup = self._lineup
        return self._meter.statistics(lineup.sinks, lineup.pipeline.classifier)

    def _step(self) -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                self._changes.get_nowait()()
        self._tell_found()
        began = self._clock.monotonic()
        self._work(
            [
                timeline
                for timeline in self._lineup.timelines.values()
                if self._has_work(timeline)
            ]
        )
        if began - self._reported >= REPORT_SECONDS:
            self._reported = began
            statistics = self.statistics
            self._tell(self._lineup.health.look(statistics, began, self._place))
            for sink in self._lineup.sinks:
                sink.report(statistics)

    def _work(self, timelines: Sequence[Timeline]) -> None:
        """Analyse what `timelines` delivered, and tell what was heard."""
        began = self._clock.monotonic()
        arrivals: list[Arrival] = []
        states: list[tuple[SourceState, int]] = []
        records: list[PlacedRecord] = []
        for timeline in timelines:
            self._take(timeline, arrivals, states)
        if arrivals:
            records = self._lineup.pipeline.process(arrivals)
            self._measure(began, arrivals, records)
            self._tell(records)
        self._tell(self._lineup.health.hear(timelines, records))
        for state, position in states:
            self._follow(state, position)

    def _has_work(self, timeline: Timeline) -> bool:
        """Whether a window is complete, or something but sound waits.

        Taking every small block at once would compute the frames in small batches.
        """
        next_stop = self._lineup.pipeline.next_stop(timeline.name)
        return timeline.is_urgent or timeline.stop >= next_stop

    def _take(
        self,
        timeline: Timeline,
        arrivals: list[Arrival],
        states: list[tuple[SourceState, int]],
    ) -> None:
        """Take what a source delivered; its states with the sample where they hold."""
        sample_clock = self._lineup.sample_clocks.get(timeline.name)
        if sample_clock is not None:
            sample_clock.anchor(timeline.arrivals())
        position = timeline.taken
        for item in timeline.take():
            if isinstance(item, SourceState):
                states.append((item, position))
            else:
                arrivals.append((timeline.name, item))
                position = item.stop

    def _follow(self, state: SourceState, position: int) -> None:
        if state.state == "ended":
            self._listening.discard(state.source)
            self._tell(self._lineup.pipeline.finish(state.source, "end-of-input"))
            detail = "the recording is over"
            self._tell(self._lineup.health.finish(state.source, detail, self._place))
        self._give([self._timed(state, position, position)])

    def _finish(self, reason: EndReason) -> None:
        for source in self._lineup.timelines:
            self._tell(self._lineup.pipeline.finish(source, reason))
        for source in (*self._lineup.timelines, EVERY_SOURCE):
            detail = "the monitor was stopped"
            self._tell(self._lineup.health.finish(source, detail, self._place))

    def _measure(
        self,
        began: float,
        arrivals: Sequence[Arrival],
        records: Sequence[PlacedRecord],
    ) -> None:
        now = self._clock.monotonic()
        samples = sum(
            item.samples.shape[1] for _, item in arrivals if isinstance(item, Block)
        )
        if samples:
            self._meter.add_step(now - began, samples / self._sample_rate)
        for record in records:
            if isinstance(record, ScoreFrame):
                sample_clock = self._lineup.sample_clocks.get(record.source)
                if sample_clock is not None:
                    self._meter.add_latency(now - sample_clock.monotonic(record.stop))

    def _place(self, source: str) -> int | None:
        """The newest sample of a source; of the monitor, as if it were one."""
        if source == EVERY_SOURCE:
            now = self._clock.monotonic()
            position = round((now - self._began) * self._sample_rate)
            self._own_clock.anchor([(position, now)])
            return position
        timeline = self._lineup.timelines.get(source)
        return None if timeline is None else timeline.taken

    @property
    def _sample_rate(self) -> int:
        return self._lineup.pipeline.classifier.spec.sample_rate

    def _tell(self, records: Sequence[PlacedRecord]) -> None:
        self._give(
            [self._timed(record, record.start, record.stop) for record in records]
        )

    def _give(self, batch: Sequence[Timed]) -> None:
        if batch:
            self._meter.take(batch)
            self._remember(batch)
            for sink in self._lineup.sinks:
                sink.write(batch)

    def _remember(self, batch: Sequence[Timed]) -> None:
        for timed in batch:
            if isinstance(timed.record, Onset):
                self._going_on[timed.record.id] = timed
            elif isinstance(timed.record, Event):
                self._going_on.pop(timed.record.id, None)

    def _tell_found(self) -> None:
        """Tell what a sink came upon itself: nothing of this run, so not measured."""
        for finder in self._lineup.sinks:
            found = finder.take_found()
            for sink in self._lineup.sinks if found else ():
                if sink is not finder:
                    sink.write(found)

    def _timed(self, record: Record, start: int, stop: int) -> Timed:
        sample_clock = self._lineup.sample_clocks.get(record.source)
        if record.source == EVERY_SOURCE:
            sample_clock = self._own_clock
        rate = self._sample_rate
        return Timed(
            record,
            start / rate,
            stop / rate,
            sample_clock.utc(start) if sample_clock is not None else None,
            sample_clock.utc(stop) if sample_clock is not None else None,
        )
