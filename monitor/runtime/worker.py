"""The worker: takes what the sources delivered, analyses it, tells the sinks."""

import threading
from collections.abc import Mapping, Sequence

from monitor.audio.feed import Block, Feed
from monitor.records import (
    EndReason,
    PlacedRecord,
    Record,
    ScoreFrame,
    SourceState,
    Statistics,
    Timed,
)
from monitor.runtime.clock import Clock, SampleClock
from monitor.runtime.pipeline import Arrival, Pipeline
from monitor.runtime.stats import Meter
from monitor.sinks.sink import Sink

REPORT_SECONDS = 0.25
IDLE_SECONDS = 1.0


class Worker:
    """Drives the pipeline with all sources, on one thread.

    When it falls behind, the due windows of all sources become one batch; when even
    that is too slow, the feed reports the overrun as a gap.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        feeds: Sequence[Feed],
        sinks: Sequence[Sink],
        *,
        wakeup: threading.Event,
        clock: Clock,
        sample_clocks: Mapping[str, SampleClock],
        sample_rate: int,
    ) -> None:
        """Connect feeds and sinks.

        Args:
            pipeline: Prepared for the sources of `feeds`.
            feeds: Their `wakeup` is `wakeup`.
            sinks: Called on the worker's thread, and closed at its end.
            wakeup: Set whenever there may be something to do.
            clock: Of the machine.
            sample_clocks: By source; a source without one is a recording whose time
                is unknown.
            sample_rate: Of the model.
        """
        self.latest_turn = clock.monotonic()
        """When the thread last began to look for work, monotonic seconds."""

        self._pipeline = pipeline
        self._feeds = {feed.name: feed for feed in feeds}
        self._sinks = sinks
        self._wakeup = wakeup
        self._clock = clock
        self._sample_clocks = sample_clocks
        self._sample_rate = sample_rate
        self._meter = Meter(sample_rate, clock)
        self._meter.follow(feeds)
        self._listening = set(self._feeds)
        self._reopen = threading.Event()
        self._reported = float("-inf")

    def reopen_sinks(self) -> None:
        """Have the sinks open their files anew.  Any thread, also a signal handler."""
        self._reopen.set()
        self._wakeup.set()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set or every source is a recording that is over.

        Runs on the worker's thread.  Sets `stop` at the end; ends open events, and
        closes the sinks in any case.
        """
        try:
            while self._listening and not stop.is_set():
                self._wakeup.wait(IDLE_SECONDS)
                self._wakeup.clear()
                self.latest_turn = self._clock.monotonic()
                self._step()
            self._step(take_all=True)
            self._finish("stopped")
        finally:
            stop.set()
            for sink in self._sinks:
                sink.close()

    @property
    def statistics(self) -> Statistics:
        """How the monitor is doing."""
        return self._meter.statistics(self._sinks, self._pipeline.classifier)

    def _step(self, *, take_all: bool = False) -> None:
        if self._reopen.is_set():
            self._reopen.clear()
            for sink in self._sinks:
                sink.reopen()
        began = self._clock.monotonic()
        arrivals: list[Arrival] = []
        states: list[tuple[SourceState, int]] = []
        for feed in self._feeds.values():
            if take_all or self._has_work(feed):
                self._take(feed, arrivals, states)
        if arrivals:
            records = self._pipeline.process(arrivals)
            self._measure(began, arrivals, records)
            self._tell(records)
        for state, position in states:
            self._follow(state, position)
        if began - self._reported >= REPORT_SECONDS:
            self._reported = began
            statistics = self.statistics
            for sink in self._sinks:
                sink.report(statistics)

    def _has_work(self, feed: Feed) -> bool:
        """Whether a window is complete, or something but sound waits.

        Taking every small block at once would compute the frames in small batches.
        """
        return feed.has_marks or feed.stop >= self._pipeline.next_stop(feed.name)

    def _take(
        self,
        feed: Feed,
        arrivals: list[Arrival],
        states: list[tuple[SourceState, int]],
    ) -> None:
        """Take what `feed` delivered; its states with the sample at which they hold."""
        sample_clock = self._sample_clocks.get(feed.name)
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
            self._tell(self._pipeline.finish(state.source, "end-of-input"))
        self._give([self._timed(state, position, position)])

    def _finish(self, reason: EndReason) -> None:
        for source in self._feeds:
            self._tell(self._pipeline.finish(source, reason))

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
            self._meter.add_step(now - began, samples)
        for record in records:
            if isinstance(record, ScoreFrame):
                sample_clock = self._sample_clocks.get(record.source)
                if sample_clock is not None:
                    self._meter.add_latency(now - sample_clock.monotonic(record.stop))

    def _tell(self, records: Sequence[PlacedRecord]) -> None:
        self._give(
            [self._timed(record, record.start, record.stop) for record in records]
        )

    def _give(self, batch: Sequence[Timed]) -> None:
        if batch:
            self._meter.take(batch)
            for sink in self._sinks:
                sink.write(batch)

    def _timed(self, record: Record, start: int, stop: int) -> Timed:
        sample_clock = self._sample_clocks.get(record.source)
        return Timed(
            record,
            start / self._sample_rate,
            stop / self._sample_rate,
            sample_clock.utc(start) if sample_clock is not None else None,
            sample_clock.utc(stop) if sample_clock is not None else None,
        )
