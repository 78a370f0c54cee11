"""The worker: analyses the samples of all sources, and feeds the sinks."""

import queue
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import replace

from monitor.audio.timeline import Block
from monitor.clock import Clock, SampleClock
from monitor.records import (
    EVERY_SOURCE,
    EndReason,
    Gap,
    PlacedRecord,
    Record,
    ScoreFrame,
    SourceState,
    Timed,
)
from monitor.runtime.gaps import ShortLosses
from monitor.runtime.health import HealthReports, HealthWatch
from monitor.runtime.overload import LoadShedding, Turn, whole_turns
from monitor.runtime.parts import Parts, PlacedState
from monitor.runtime.pipeline import Arrival
from monitor.runtime.stats import WorkerMeter
from monitor.sinks.sink import Sink
from monitor.statistics import Statistics

REPORT_SECONDS = 0.25
IDLE_SECONDS = 1.0
LAST_CAPTURE_SECONDS = 1.0
"""Time at the stop for the captures to hand over the last of an outage."""

LAST_WORK_SECONDS = 1.0
"""Time for work that goes on at the stop; then the open events are written."""


class Worker:
    """Drives the pipeline with all sources, on one thread.

    When it falls behind, the due windows of all sources become one batch; when even
    that is too slow, windows of live sources are left out, and reported as a gap.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        wakeup: threading.Event,
        clock: Clock,
        reports: HealthReports | None = None,
        wait_for_captures: Callable[[float], object] = lambda _: None,
    ) -> None:
        """Prepare; nothing runs before `run`.  The timelines set `wakeup`.

        `wait_for_captures` waits for the end of the captures, so many seconds at most.
        """
        self.latest_turn = clock.monotonic()
        """Time of the latest look for work, monotonic seconds."""

        self._parts = parts
        self._wait_for_captures = wait_for_captures
        self._wakeup = wakeup
        self._clock = clock
        self._reports = reports or HealthReports()
        self._health = HealthWatch(self._reports)
        self._meter = WorkerMeter(clock)
        self._shedding = LoadShedding()
        self._short_losses = ShortLosses(parts.sample_rate)
        self._open = set(parts.inputs)
        self._began = clock.monotonic()
        self._own_clock = SampleClock(clock, parts.sample_rate)
        self._changes: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._reported = float("-inf")
        self._stop = threading.Event()
        self._work_until = float("inf")

    def ask(self, change: Callable[[], None]) -> None:
        """Run `change` between two steps, on the worker's thread.  Any thread.

        When the worker has ended, it never runs.
        """
        self._changes.put(change)
        self._wakeup.set()

    def reopen_sinks(self) -> None:
        """Reopen the files of the sinks.  Worker's thread: see `ask`."""
        for sink in self._parts.sinks:
            sink.reopen()

    def replace(self, after: Parts, open_sinks: Callable[[], Sequence[Sink]]) -> None:
        """End the parts in use, and go on with `after`.  Worker's thread.

        Continued sources go on with their next window.  The captures of the others
        have ended.  `open_sinks` opens the new sinks once those in use are closed.
        """
        before = self._parts
        self._work([name for name in before.inputs if name not in after.continued])
        for name in before.inputs:
            self._finish(name, "reloaded")
        self._end_health(before, after)
        for name, source in before.inputs.items():
            if name not in after.inputs:
                state = SourceState(name, "ended", "it is not configured any more")
                self._give_state(state, source.timeline.taken)
        for sink in before.sinks:
            sink.close()
        self._parts = after = replace(after, sinks=open_sinks())
        self._shedding = LoadShedding()
        self._short_losses = ShortLosses(after.sample_rate)
        self._open = (self._open & after.continued) | (
            after.inputs.keys() - after.continued
        )
        for name in after.continued:
            self._resume(name, before)

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set or every source is a recording that is over.

        Runs on the worker's thread.  Sets `stop` at the end; ends open events, and
        closes the sinks in any case.  Of recordings that were read ahead, only what can
        be analysed in `LAST_WORK_SECONDS` is.
        """
        self._stop = stop
        try:
            while self._open and not stop.is_set():
                self._wakeup.wait(IDLE_SECONDS)
                self._wakeup.clear()
                self.step()
            self._give_recovered()
            if stop.is_set():
                self._wait_for_captures(LAST_CAPTURE_SECONDS)
            self._work(self._parts.inputs)
            for source in self._parts.inputs:
                self._finish(source, "stopped")
            for source in (*self._parts.inputs, EVERY_SOURCE):
                self._finish_health(source, "the monitor was stopped")
        finally:
            stop.set()
            with ExitStack() as closing:  # which closes all, also when one fails
                for sink in reversed(self._parts.sinks):
                    closing.callback(sink.close)

    def step(self) -> None:
        """Do everything that is due now."""
        self._give_recovered()
        while not self._changes.empty():
            self._changes.get()()
        inputs = self._parts.inputs.items()
        self._work([name for name, source in inputs if source.timeline.is_due])
        self._report_if_due()

    @property
    def statistics(self) -> Statistics:
        """Figures of this moment.  Worker's thread."""
        meters = [source.meter for source in self._parts.inputs.values()]
        models = self._parts.pipeline.models
        return self._meter.statistics(meters, self._parts.sinks, models)

    def _report_if_due(self) -> None:
        self.latest_turn = now = self._clock.monotonic()
        if now - self._reported < REPORT_SECONDS:
            return
        self._reported = now
        statistics = self.statistics
        sources = {name: each.health for name, each in self._parts.inputs.items()}
        settings = self._parts.health
        self._give(
            self._health.look(settings, sources, statistics, now, self._newest_sample)
        )
        for sink in self._parts.sinks:
            sink.report(statistics)

    def _work(self, sources: Iterable[str]) -> None:
        """Analyse what `sources` delivered: all of it, or the newest if it is late."""
        grid = self._parts.pipeline.grid
        recordings: dict[str, int] = {}
        live: dict[str, int] = {}
        for name in sources:
            source = self._parts.inputs[name]
            due = live if source.is_live else recordings
            due[name] = round(source.timeline.pending_samples / grid.hop_samples)
        hop_seconds = grid.hop_samples / self._parts.sample_rate
        turns = [*self._shedding.turns(live, hop_seconds), *whole_turns(recordings)]
        for turn in turns:
            if turn.sources and not self._is_over_time():
                self._analyse(turn)
                self._report_if_due()

    def _is_over_time(self) -> bool:
        """Return True if the worker was stopped, and its time for work is over."""
        if not self._stop.is_set():
            return False
        now = self._clock.monotonic()
        self._work_until = min(self._work_until, now + LAST_WORK_SECONDS)
        return now >= self._work_until

    def _analyse(self, turn: Turn) -> None:
        began = self._clock.monotonic()
        inputs = {name: self._parts.inputs[name] for name in turn.sources}
        arrivals: list[Arrival] = []
        states: list[PlacedState] = []
        records: list[PlacedRecord] = []
        grid, most = self._parts.pipeline.grid, None
        if turn.most_windows is not None:
            # Twice the window: no sound is lost between windows for a single hop.
            most = 2 * grid.window_samples + turn.most_windows * grid.hop_samples
        for source in inputs.values():
            taken, changes = source.take(most)
            arrivals += taken
            states += changes
        if arrivals:
            records = self._parts.pipeline.process(arrivals, turn.most_windows)
            self._measure(began, arrivals, records)
        found = self._joined(records)
        for name, source in inputs.items():
            if not source.meter.outages.is_open:
                found += self._short_losses.complete(name, source.timeline.taken)
        self._give(found)
        for name, source in inputs.items():
            own = [record for record in records if record.source == name]
            intervals = source.timeline.take_statistics()
            self._give(self._health.judge(source.health, intervals, own))
            # A hop at a time also before the first window of a source is complete, or
            # after a gap: its frames would take several times as long as those of a
            # hop, for all sources at once.
            next_hop = source.timeline.taken + grid.hop_samples
            next_stop = self._parts.pipeline.next_stop(name)
            source.timeline.due_at = min(next_stop, next_hop)
        for state, position in states:
            self._follow(state, position)

    def _joined(self, records: Iterable[PlacedRecord]) -> list[PlacedRecord]:
        """Count the losses, and keep them back until their gap is known."""
        found: list[PlacedRecord] = []
        for record in records:
            meter, gaps = self._parts.inputs[record.source].meter, []
            if isinstance(record, ScoreFrame):
                gaps = meter.outages.cover(record)
            elif isinstance(record, Gap):
                meter.lose(record)
                gaps = [record]
                if record.reason != "overload":
                    start = self._parts.pipeline.contiguous_start(record.source)
                    gaps = meter.outages.lose(record, start)
            for gap in gaps:
                found += self._short_losses.add(gap)
            if not isinstance(record, Gap):
                found.append(record)
        return found

    def _finish(self, source: str, reason: EndReason) -> None:
        """End what goes on at a source."""
        ended = self._parts.pipeline.finish(source, reason)
        for gap in self._parts.inputs[source].meter.outages.take():
            self._give(self._short_losses.add(gap))
        self._give([*self._short_losses.take(source), *ended])

    def _follow(self, state: SourceState, position: int) -> None:
        if state.state == "ended":
            self._open.discard(state.source)
            self._finish(state.source, "end-of-input")
            self._finish_health(state.source, "the recording is over")
        self._give_state(state, position)

    def _resume(self, source: str, before: Parts) -> None:
        """Give the pipeline the newest samples of a source that continues."""
        pipeline, timeline = self._parts.pipeline, self._parts.inputs[source].timeline
        if timeline.sample_rate != self._parts.sample_rate:
            return  # a recording that is over
        start = max(
            pipeline.grid.history_start(timeline.taken),
            before.pipeline.contiguous_start(source),
        )
        first, samples = timeline.read(start, timeline.taken)
        pipeline.resume(source, before.pipeline, Block(first, samples))
        timeline.due_at = timeline.taken

    def _end_health(self, before: Parts, after: Parts) -> None:
        """Clear the troubles that nothing in `after` would clear."""
        detail = "there is a new configuration"
        for name, source in before.inputs.items():
            other = after.inputs.get(name)
            if other is None or other.health is not source.health:
                self._finish_health(name, detail)
        if after.session != before.session:
            self._finish_health(EVERY_SOURCE, detail)
            self._health = HealthWatch(self._reports)
            self._own_clock = SampleClock(self._clock, after.sample_rate)

    def _finish_health(self, source: str, detail: str) -> None:
        known = self._parts.inputs.get(source)
        health = None if known is None else known.health
        self._give(self._health.finish(source, health, detail, self._newest_sample))

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
            self._meter.add_step(now - began, samples / self._parts.sample_rate)
        frames = [record for record in records if isinstance(record, ScoreFrame)]
        windows = Counter(frame.source for frame in frames)
        computed = Counter(frame.source for frame in frames if frame.is_computed)
        self._shedding.add_turn(now - began, windows, computed)
        for frame in frames:
            sample_clock = self._parts.inputs[frame.source].sample_clock
            if sample_clock is not None:
                self._meter.add_latency(now - sample_clock.monotonic(frame.stop))

    def _newest_sample(self, source: str) -> int | None:
        """Index after the newest sample of a source; the monitor counts like one."""
        if source == EVERY_SOURCE:
            now = self._clock.monotonic()
            position = round((now - self._began) * self._parts.sample_rate)
            self._own_clock.anchor([(position, now)])
            return position
        known = self._parts.inputs.get(source)
        return None if known is None else known.timeline.taken

    def _give(self, records: Sequence[PlacedRecord]) -> None:
        self._write([self._timed(each, each.start, each.stop) for each in records])

    def _give_state(self, state: SourceState, position: int) -> None:
        self._write([self._timed(state, position, position)])

    def _write(self, batch: Sequence[Timed]) -> None:
        if not batch:
            return
        self._meter.take(batch)
        for timed in batch:
            source = self._parts.inputs.get(timed.record.source)
            if source is not None:
                source.meter.take(timed.record)
        for sink in self._parts.sinks:
            sink.write(batch)

    def _give_recovered(self) -> None:
        """Hand records that a sink recovered to the others, without measuring them."""
        for recovery in self._parts.sinks:
            recovered = recovery.take_recovered()
            for sink in self._parts.sinks if recovered else ():
                if sink is not recovery:
                    sink.write(recovered)

    def _timed(self, record: Record, start: int, stop: int) -> Timed:
        known = self._parts.inputs.get(record.source)
        sample_clock = self._own_clock if known is None else known.sample_clock
        rate = self._parts.sample_rate
        return Timed(
            record,
            start / rate,
            stop / rate,
            sample_clock.utc(start) if sample_clock is not None else None,
            sample_clock.utc(stop) if sample_clock is not None else None,
        )
