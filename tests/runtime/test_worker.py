"""The worker reports everything to the sinks, in order and with its time."""

import threading
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from monitor.audio.timeline import Timeline
from monitor.clock import SampleClock
from monitor.errors import SoundMonitorError
from monitor.model.classifier import Classifier
from monitor.records import Event, Gap, ScoreFrame, SourceState, Timed
from monitor.runtime.worker import Worker
from monitor.sinks.sink import MemorySink
from monitor.spec import ModelSpec
from monitor.statistics import Loss
from tests.runtime.test_pipeline import make_pipeline
from tests.support.clock import FakeClock
from tests.support.models import stored_model
from tests.support.signals import noise
from tests.support.simulation import make_parts, source_input

SPEC = ModelSpec()
RATE = SPEC.sample_rate


class Bench:
    """A worker between one timeline and one sink, on a fake clock."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.wakeup = threading.Event()
        self.timeline = Timeline("street", RATE, 30.0)
        self.timeline.wakeup = self.wakeup
        self.sink = MemorySink()
        self.stop = threading.Event()
        street = source_input(self.timeline, SampleClock(self.clock, RATE))
        pipeline = make_pipeline(Classifier(stored_model(), "cpu"))
        self.parts = make_parts(pipeline, {"street": street}, [self.sink])
        self.worker = Worker(self.parts, wakeup=self.wakeup, clock=self.clock)

    def deliver(self, seconds: float, rms: float = 0.2) -> None:
        """Deliver sound that has just been captured."""
        self.clock.advance(seconds)
        self.timeline.write(noise(seconds, rms), self.clock.monotonic())


@pytest.fixture
def bench() -> Bench:
    bench = Bench()
    bench.timeline.open(1)
    bench.timeline.state("listening", "test signal")
    return bench


def test_a_recording_that_ends_ends_the_work_and_its_events(bench):
    bench.deliver(8)
    bench.timeline.state("ended", "the recording is over")
    bench.worker.run(bench.stop)
    records = [timed.record for timed in bench.sink.records]
    events = [record for record in records if isinstance(record, Event)]
    assert events
    assert {event.end_reason for event in events} == {"end-of-input"}
    assert isinstance(records[-1], SourceState)
    assert bench.stop.is_set()


def test_the_worker_is_woken_once_a_hop_also_before_the_first_window(bench):
    """Many sources that begin together would else be late at once."""
    hop = bench.parts.pipeline.grid.hop_samples
    bench.worker.step()
    bench.wakeup.clear()
    takes = []
    for _ in range(80):
        bench.deliver(0.1)
        if bench.wakeup.is_set():
            bench.wakeup.clear()
            takes.append(bench.timeline.stop - bench.timeline.taken)
            bench.worker.step()
    assert hop - 0.1 * RATE < min(takes)
    assert max(takes) < hop + 0.1 * RATE
    frames = [t.record for t in bench.sink.records if _is_frame(t)]
    assert {b.start - a.start for a, b in pairwise(frames)} == {hop}
    assert len(frames) == (8 * RATE - SPEC.window_samples) // hop + 1


def test_stopping_ends_open_events_as_stopped(bench):
    bench.deliver(8)
    bench.stop.set()
    bench.worker.run(bench.stop)
    events = [t.record for t in bench.sink.records if isinstance(t.record, Event)]
    assert events
    assert {event.end_reason for event in events} == {"stopped"}


def test_at_the_stop_an_outage_is_reported_as_far_as_its_capture_knows(bench):
    bench.deliver(8)
    bench.timeline.lose(RATE, "unplugged")
    waited = []

    def flush(seconds: float) -> None:
        waited.append(seconds)
        bench.timeline.lose(500 * RATE, "unplugged")

    worker = Worker(
        bench.parts,
        wakeup=bench.wakeup,
        clock=bench.clock,
        wait_for_captures=flush,
    )
    worker.step()
    bench.stop.set()
    worker.run(bench.stop)
    gaps = [t.record for t in bench.sink.records if isinstance(t.record, Gap)]
    assert [(gap.start, gap.stop) for gap in gaps] == [(8 * RATE, 509 * RATE)]
    assert waited == [1.0]


def test_records_carry_the_time_at_which_the_samples_were_sound(bench):
    bench.deliver(8)
    recorded = bench.clock.utc()
    bench.stop.set()
    bench.worker.run(bench.stop)
    frame = next(t for t in bench.sink.records if isinstance(t.record, ScoreFrame))
    assert frame.start_seconds == 0
    true_start = recorded - timedelta(seconds=8)
    assert abs(frame.start_utc - true_start) < timedelta(milliseconds=1)
    duration = frame.end_utc - frame.start_utc
    assert duration.total_seconds() == pytest.approx(4.0054, abs=1e-3)


def test_gaps_and_states_keep_their_place_between_the_samples(bench):
    bench.deliver(5)
    bench.timeline.lose(RATE, "stalled")
    bench.timeline.open(1)
    bench.deliver(5)
    bench.stop.set()
    bench.worker.run(bench.stop)
    records = [
        timed.record
        for timed in bench.sink.records
        if isinstance(timed.record, ScoreFrame | Gap)
    ]
    gap = records.index(Gap("street", 5 * RATE, 6 * RATE, "stalled"))
    assert 0 < gap < len(records) - 1
    assert all(record.stop <= 5 * RATE for record in records[:gap])
    assert all(record.start >= 6 * RATE for record in records[gap + 1 :])
    assert bench.worker.statistics.sources[0].lost_samples == RATE


def test_latency_is_counted_from_the_sound_to_its_record(bench):
    bench.deliver(8)
    bench.clock.advance(0.25)  # the worker is late
    bench.stop.set()
    bench.worker.run(bench.stop)
    stops = [t.end_seconds for t in bench.sink.records if _is_frame(t)]
    latencies = sorted(8.25 - stop for stop in stops)
    reported = bench.worker.statistics
    assert reported.latency_seconds_p50 == pytest.approx(latencies[len(latencies) // 2])
    assert reported.latency_seconds_p95 == pytest.approx(latencies[-1])


def _is_frame(timed: Timed) -> bool:
    return isinstance(timed.record, ScoreFrame)


def test_sinks_are_reopened_when_asked_and_closed_whatever_happens(bench):
    calls: list[str] = []

    class Failing(MemorySink):
        def reopen(self) -> None:
            calls.append("reopen")
            raise SoundMonitorError("broken on purpose")

        def close(self) -> None:
            calls.append("close")

    worker = Worker(
        replace(bench.parts, sinks=[Failing()]),
        wakeup=bench.wakeup,
        clock=bench.clock,
    )
    worker.ask(worker.reopen_sinks)
    with pytest.raises(SoundMonitorError):
        worker.run(bench.stop)
    assert calls == ["reopen", "close"]
    assert bench.stop.is_set()


def test_a_sink_that_cannot_be_closed_leaves_no_other_open(bench):
    closed = []

    class Failing(MemorySink):
        def close(self) -> None:
            raise RuntimeError("broken on purpose")

    class Closing(MemorySink):
        def close(self) -> None:
            closed.append(self)

    parts = replace(bench.parts, inputs={}, sinks=[Failing(), Closing()])
    worker = Worker(parts, wakeup=bench.wakeup, clock=bench.clock)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        worker.run(bench.stop)
    assert len(closed) == 1


class Finder(MemorySink):
    """A sink that finds a record when it is opened."""

    def __init__(self, found: Timed) -> None:
        super().__init__()
        self.found = [found]

    def take_recovered(self) -> list[Timed]:
        found, self.found = self.found, []
        return found


@pytest.fixture
def finding(bench):
    """A worker whose first sink found something, and both its sinks."""
    bench.deliver(8)
    bench.worker.step()
    finder, other = Finder(bench.sink.records[0]), MemorySink()
    parts = replace(bench.parts, inputs={}, sinks=[finder, other])
    worker = Worker(parts, wakeup=bench.wakeup, clock=bench.clock)
    return worker, finder, other


def test_records_that_a_sink_finds_go_to_the_others_once(finding):
    worker, finder, other = finding
    for _ in range(2):
        worker.step()
    assert len(other.records) == 1
    assert finder.records == []


def test_records_that_a_sink_finds_go_to_the_others_before_a_change(finding):
    worker, _, other = finding
    counts = []
    worker.ask(lambda: counts.append(len(other.records)))
    worker.step()
    assert counts == [1]


def test_records_that_a_sink_finds_go_to_the_others_of_a_worker_that_stops(
    bench, finding
):
    worker, _, other = finding
    bench.stop.set()
    worker.run(bench.stop)
    assert len(other.records) == 1


def test_many_short_losses_are_one_gap_and_all_are_counted(bench):
    lost = RATE // 1000
    for _ in range(100):
        bench.deliver(0.1)
        bench.timeline.lose(lost, "stalled")
        bench.worker.step()
    assert bench.worker.statistics.sources[0].lost_samples == 100 * lost
    bench.stop.set()
    bench.worker.run(bench.stop)
    (gap,) = [t.record for t in bench.sink.records if isinstance(t.record, Gap)]
    assert (gap.reason, gap.left_out) == ("stalled", 100 * lost)
    assert bench.worker.statistics.sources[0].losses == (
        Loss("stalled", 1, 100 * lost),
    )
