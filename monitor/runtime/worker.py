"""The worker: takes what the sources delivered, analyses it, tells the sinks."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Sequence

from monitor.audio.feed import Block, Feed
from monitor.records import (
    EVERY_SOURCE,
    EndReason,
    Event,
    Onset,
    PlacedRecord,
    Record,
    ScoreFrame,
    SourceState,
    Statistics,
    Timed,
)
from monitor.runtime.clock import Clock, SampleClock
from monitor.runtime.lineup import Lineup
from monitor.runtime.pipeline import Arrival
from monitor.runtime.stats import Meter
from monitor.sinks.sink import Finding, Sink

REPORT_SECONDS = 0.25
IDLE_SECONDS = 1.0


class Worker:
    """Drives the pipeline with all sources, on one thread.

    When it falls behind, the due windows of all sources become one batch; when even
    that is too slow, the feed reports the overrun as a gap.
    """

    def __init__(
        self, lineup: Lineup, *, wakeup: threading.Event, clock: Clock
    ) -> None:
        """Connect feeds and sinks.

        Args:
            lineup: What to drive; the `wakeup` of its feeds is `wakeup`.
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
        self._meter.follow(lineup.feeds.values())
        self._listening = set(lineup.feeds)
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
        gone = [name for name in before.feeds if not before.goes_on(name, after)]
        self._work([before.feeds[name] for name in gone])
        for name in gone if after.model == before.model else before.feeds:
            self._tell(before.pipeline.finish(name, "reloaded"))
        for name in gone:
            self._listening.discard(name)
            detail = "there is a new configuration"
            self._tell(before.health.finish(name, detail, self._place))
            if name not in after.feeds:
                state = SourceState(name, "ended", "it is not configured any more")
                position = before.feeds[name].taken
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
        self._meter.follow(after.feeds.values())
        for sink in before.sinks:
            if not any(sink is each for each in after.sinks):
                sink.close()
        for sink in newcomers if self._going_on else ():
            sink.write(list(self._going_on.values()))
        after.health.go_on_from(before.health)
        again: list[Arrival] = []
        for name, feed in after.feeds.items():
            if name not in before.feeds or not before.goes_on(name, after):
                self._listening.add(name)
                continue
            after.health.take_over(name, before.health)
            first = after.pipeline.take_over(
                name, before.pipeline, is_same_model=after.model == before.model
            )
            start, samples = feed.past(first, feed.taken)
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
            self._work(list(self._lineup.feeds.values()))
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
            [feed for feed in self._lineup.feeds.values() if self._has_work(feed)]
        )
        if began - self._reported >= REPORT_SECONDS:
            self._reported = began
            statistics = self.statistics
            self._tell(self._lineup.health.look(statistics, began, self._place))
            for sink in self._lineup.sinks:
                sink.report(statistics)

    def _work(self, feeds: Sequence[Feed]) -> None:
        """Analyse what `feeds` delivered, and tell what was heard."""
        began = self._clock.monotonic()
        arrivals: list[Arrival] = []
        states: list[tuple[SourceState, int]] = []
        records: list[PlacedRecord] = []
        for feed in feeds:
            self._take(feed, arrivals, states)
        if arrivals:
            records = self._lineup.pipeline.process(arrivals)
            self._measure(began, arrivals, records)
            self._tell(records)
        self._tell(self._lineup.health.hear(feeds, records))
        for state, position in states:
            self._follow(state, position)

    def _has_work(self, feed: Feed) -> bool:
        """Whether a window is complete, or something but sound waits.

        Taking every small block at once would compute the frames in small batches.
        """
        next_stop = self._lineup.pipeline.next_stop(feed.name)
        return feed.has_marks or feed.stop >= next_stop

    def _take(
        self,
        feed: Feed,
        arrivals: list[Arrival],
        states: list[tuple[SourceState, int]],
    ) -> None:
        """Take what `feed` delivered; its states with the sample at which they hold."""
        sample_clock = self._lineup.sample_clocks.get(feed.name)
        if sample_clock is not None:
            sample_clock.anchor(feed.arrivals())
        position = feed.taken
        for item in feed.take():
            if isinstance(item, SourceState):
                states.append((item, position))
            else:
                arrivals.append((feed.name, item))
                position = item.stop

    def _follow(self, state: SourceState, position: int) -> None:
        if state.state == "ended":
            self._listening.discard(state.source)
            self._tell(self._lineup.pipeline.finish(state.source, "end-of-input"))
            detail = "the recording is over"
            self._tell(self._lineup.health.finish(state.source, detail, self._place))
        self._give([self._timed(state, position, position)])

    def _finish(self, reason: EndReason) -> None:
        for source in self._lineup.feeds:
            self._tell(self._lineup.pipeline.finish(source, reason))
        for source in (*self._lineup.feeds, EVERY_SOURCE):
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
        feed = self._lineup.feeds.get(source)
        return None if feed is None else feed.taken

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
            found = finder.take_found() if isinstance(finder, Finding) else ()
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
