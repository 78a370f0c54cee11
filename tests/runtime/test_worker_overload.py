"""A worker for which live sources are too much leaves out windows, and says so."""

import threading
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pytest

from monitor.audio.timeline import Timeline
from monitor.clock import SampleClock
from monitor.config.detection import DetectionSettings, LabelSettings
from monitor.detection.rules import resolve_rules
from monitor.model.classifier import Classification
from monitor.model.engines import WindowPlace
from monitor.model.frontend import Array
from monitor.records import Event, Gap, Health, Onset, Record, ScoreFrame
from monitor.runtime.overload import MOST_WINDOWS
from monitor.runtime.pipeline import Pipeline
from monitor.runtime.worker import LAST_WORK_SECONDS, Worker
from monitor.sinks.sink import MemorySink
from tests.support.clock import FakeClock
from tests.support.loudness_classifier import LOUD, SPEC, LoudnessClassifier
from tests.support.simulation import make_parts, source_input

HOP = 16 * SPEC.hop_length
HOP_SECONDS = HOP / SPEC.sample_rate
BLOCK = SPEC.sample_rate // 20
NOISE = np.random.default_rng(1).standard_normal((1, BLOCK)).astype(np.float32)


class SlowClassifier(LoudnessClassifier):
    """Takes its time: `passes` is called with the seconds of its work."""

    def __init__(self, seconds: float, passes: Callable[[float], None]) -> None:
        self.seconds = seconds
        self.passes = passes

    def classify(
        self, windows: Array, places: Sequence[WindowPlace] = ()
    ) -> Classification:
        self.passes(self.seconds * len(windows))
        return super().classify(windows, places)


class Street:
    """Sources that deliver in real time, and a worker that takes what it can."""

    def __init__(
        self, sources: Iterable[str], window_seconds: float, *, live: bool = True
    ) -> None:
        self.clock = FakeClock()
        self.sink = MemorySink()
        self.classifier = SlowClassifier(window_seconds, self._deliver_for)
        self.timelines = {
            name: Timeline(name, SPEC.sample_rate, 30) for name in sources
        }
        label = LabelSettings(preset="impulsive", smoothing_hops=1)
        rules = resolve_rules(
            self.classifier.labels,
            DetectionSettings(labels={LOUD: label}),
            self.classifier.thresholds,
            SPEC,
        )
        pipeline = Pipeline(
            self.classifier,  # has what a pipeline uses
            rules,
            hop_frames=16,
            level_gate_dbfs=-70.0,
            level_offsets_db=dict.fromkeys(self.timelines, 0.0),
            session="test",
        )
        self.inputs = {
            name: source_input(
                timeline, SampleClock(self.clock, SPEC.sample_rate), live=live
            )
            for name, timeline in self.timelines.items()
        }
        self.worker = Worker(
            make_parts(pipeline, self.inputs, [self.sink]),
            wakeup=threading.Event(),
            clock=self.clock,
        )
        for timeline in self.timelines.values():
            timeline.open(1)
            timeline.state("listening", "test signal")
        self.began = self.clock.monotonic()
        self.blocks = 0

    def passes(self, seconds: float, *, pause: float = 0.0) -> None:
        """Let time pass; the worker first pauses for a while."""
        until = self.clock.monotonic() + seconds
        self._deliver_for(pause)
        while self.clock.monotonic() < until:
            self._deliver_for(0.05)
            self.worker.step()

    def _deliver_for(self, seconds: float) -> None:
        """Let time pass, and deliver the blocks that are due."""
        self.clock.advance(seconds)
        passed = self.clock.monotonic() - self.began
        due = int(passed * SPEC.sample_rate / BLOCK + 1e-6)
        while self.blocks < due:
            self.blocks += 1
            seconds = self.blocks * BLOCK / SPEC.sample_rate
            block = NOISE * np.float32(0.3 if seconds % 10 < 6 else 0.001)
            for timeline in self.timelines.values():
                timeline.write(block, self.began + seconds)

    def end(self) -> None:
        """Stop the worker."""
        stop = threading.Event()
        stop.set()
        self.worker.run(stop)

    def records(self, kind: type[Record], source: str) -> list[Record]:
        records = (timed.record for timed in self.sink.records)
        return [it for it in records if isinstance(it, kind) and it.source == source]


NAMES = ("street", "yard", "roof", "hall")


@pytest.fixture(scope="module")
def overloaded() -> Street:
    """Four sources, each of which would take three quarters of the time."""
    street = Street(NAMES, 0.75 * HOP_SECONDS)
    street.passes(90.0)
    return street


def test_latency_is_bounded_by_two_hops_and_a_round(overloaded: Street) -> None:
    latency = overloaded.worker.statistics.latency_seconds_p95
    assert latency <= 2 * HOP_SECONDS + 4 * 0.75 * HOP_SECONDS


def test_each_source_gets_its_share_and_no_sound_is_lost(overloaded: Street) -> None:
    found = overloaded.worker.statistics.sources
    for source in found:
        assert 0.28 < source.listened.share < 0.36
        assert 0.64 < source.left_out < 0.72
        assert {loss.reason for loss in source.losses} == {"overload"}


def test_events_go_on_while_windows_are_left_out(overloaded: Street) -> None:
    for name in NAMES:
        events = overloaded.records(Event, name)
        assert len(events) >= 8
        assert {event.end_reason for event in events} == {"offset"}
        seconds = [(it.stop - it.start) / SPEC.sample_rate for it in events]
        assert seconds == pytest.approx([6.0] * len(events), abs=1.1)


def test_an_overload_is_a_health_record(overloaded: Street) -> None:
    (health,) = overloaded.records(Health, "*")
    assert (health.kind, health.state) == ("overload", "raised")


def test_gaps_are_few_and_sum_up_to_what_was_left_out() -> None:
    street = Street(NAMES, 0.75 * HOP_SECONDS)
    street.passes(90.0)
    street.end()
    for name in NAMES:
        gaps = street.records(Gap, name)
        assert len(gaps) <= 5
        assert {gap.reason for gap in gaps} == {"overload"}
        frames = street.records(ScoreFrame, name)
        every = (frames[-1].stop - frames[0].stop) // HOP + 1
        left_out = sum(gap.left_out for gap in gaps)
        assert left_out == (every - len(frames)) * HOP
        (loss,) = street.inputs[name].meter.losses
        assert (loss.gaps, loss.samples) == (len(gaps), left_out)


def test_with_too_many_sources_the_newest_sound_is_still_analysed_in_time() -> None:
    names = [f"source-{number}" for number in range(40)]
    street = Street(names, 0.75 * HOP_SECONDS)
    street.passes(110.0)  # the latency is of the latest 500 windows
    assert street.worker.statistics.latency_seconds_p95 <= 3 * HOP_SECONDS
    counts = [len(street.records(ScoreFrame, name)) for name in names]
    assert min(counts) >= max(counts) - 1 > 0


@pytest.mark.parametrize("pause", [1.0, 5.0, 25.0])
def test_a_pause_that_can_be_caught_up_on_loses_nothing(pause: float) -> None:
    street = Street(NAMES, 0.001)
    street.passes(20.0)
    street.passes(40.0, pause=pause)
    for name in NAMES:
        assert street.records(Gap, name) == []
        stops = [frame.stop for frame in street.records(ScoreFrame, name)]
        assert set(np.diff(stops)) == {HOP}


def test_a_recording_is_never_left_out() -> None:
    street = Street(NAMES, 0.75 * HOP_SECONDS, live=False)
    street.passes(10.0)
    street.end()
    for name in NAMES:
        assert street.records(Gap, name) == []
        stops = [frame.stop for frame in street.records(ScoreFrame, name)]
        assert set(np.diff(stops)) == {HOP}


def test_an_onset_is_found_in_time_although_most_windows_are_left_out(
    overloaded: Street,
) -> None:
    for name in NAMES:
        assert len(overloaded.records(Onset, name)) >= 9


def test_at_the_stop_recordings_that_were_read_ahead_take_limited_time() -> None:
    """The open events are written in any case."""
    names = [f"tape-{number}" for number in range(10)]
    tapes = Street(names, window_seconds=0.0, live=False)
    tapes.passes(2.0)
    tapes.passes(0.0, pause=5.0)  # read ahead
    tapes.classifier.seconds = 0.1
    began = tapes.clock.monotonic()
    tapes.end()
    assert tapes.clock.monotonic() - began < LAST_WORK_SECONDS + 0.1 * MOST_WINDOWS
    records = [timed.record for timed in tapes.sink.records]
    begun = {each.id for each in records if isinstance(each, Onset)}
    ended = [each for each in records if isinstance(each, Event)]
    assert {each.id for each in ended} == begun
    assert "stopped" in {each.end_reason for each in ended}
