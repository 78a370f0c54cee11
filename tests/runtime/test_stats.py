"""What the meter gathers of the worker's steps and of its records."""

import math
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from monitor.audio.timeline import Timeline
from monitor.model.classifier import Classifier
from monitor.model.models import as_models
from monitor.records import Gap, GapReason, Health
from monitor.runtime.stats import DAY_SECONDS, SourceMeter, WorkerMeter
from monitor.sinks.sink import MemorySink
from monitor.statistics import Levels, Listened, Loss, SourceStatistics, Statistics
from tests.support.clock import FakeClock
from tests.support.health import hop
from tests.support.models import stored_model
from tests.support.timed import SAMPLE_RATE, event, frame, samples, state, timed


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(stored_model(), "cpu")


class Bench:
    """A meter and the timeline of one source, on a fake clock."""

    def __init__(self, classifier: Classifier) -> None:
        self.clock = FakeClock()
        self.classifier = classifier
        self.models = as_models(classifier)
        self.meter = WorkerMeter(self.clock)
        self.timeline = Timeline("street", SAMPLE_RATE, 30.0)
        self.source_meter = SourceMeter(self.timeline)
        self.timeline.open(1)
        self.timeline.state("listening", "test signal")

    def capture(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)
            block = np.zeros((1, SAMPLE_RATE), np.float32)
            self.timeline.write(block, self.clock.monotonic())
            self._take()

    def lose(self, seconds: float, reason: GapReason) -> None:
        self.clock.advance(seconds)
        self.timeline.lose(samples(seconds), reason)
        self._take()

    def _take(self) -> None:
        for item in self.timeline.take():
            if hasattr(item, "reason"):
                self.source_meter.lose(item)
                self.source_meter.take(item)

    @property
    def statistics(self) -> Statistics:
        return self.meter.statistics([self.source_meter], [MemorySink()], self.models)

    @property
    def source(self) -> SourceStatistics:
        (source,) = self.statistics.sources
        return source


@pytest.fixture
def bench(classifier: Classifier) -> Bench:
    return Bench(classifier)


def test_gaps_are_counted_by_reason_and_add_up(bench: Bench) -> None:
    bench.capture(10)
    bench.lose(2, "unplugged")
    bench.lose(3, "unplugged")  # the same loss goes on
    bench.capture(10)
    bench.lose(1, "overrun")
    bench.capture(10)
    bench.lose(1, "unplugged")
    source = bench.source
    assert source.losses == (
        Loss("unplugged", 2, samples(6)),
        Loss("overrun", 1, samples(1)),
    )
    assert source.gaps == sum(loss.gaps for loss in source.losses)
    assert source.lost_samples == sum(loss.samples for loss in source.losses)
    assert source.listened == Listened(37.0, 30 / 37)


def test_losses_count_at_once_and_their_joined_gap_adds_no_samples(
    bench: Bench,
) -> None:
    bench.capture(20)
    for start in (4, 8, 12):
        stop = samples(start + 2)
        bench.source_meter.lose(Gap("street", samples(start), stop, "overload"))
    assert bench.source.losses == (Loss("overload", 0, samples(6)),)
    assert bench.source.gaps == 1
    joined = Gap("street", samples(4), samples(14), "overload", samples(6))
    bench.source_meter.take(joined)
    assert bench.source.losses == (Loss("overload", 1, samples(6)),)
    assert bench.source.listened == Listened(20.0, 14 / 20)


def test_the_share_that_was_left_out_is_of_the_latest_minute(bench: Bench) -> None:
    assert bench.source.left_out == 0
    for second in range(0, 60, 2):
        bench.capture(2)
        gap = Gap("street", samples(second), samples(second + 1), "overload")
        bench.source_meter.lose(gap)
        found = bench.source
    assert found.left_out == pytest.approx(0.5)
    for _ in range(70):
        bench.capture(1)
        found = bench.source
    assert found.left_out == 0
    assert found.listened.share == pytest.approx(100 / 130)


def test_the_last_sample_is_the_last_that_was_captured(bench: Bench) -> None:
    assert bench.source.last_sample is None
    bench.capture(1)
    recorded = bench.clock.utc()
    bench.lose(60, "stalled")
    assert bench.source.last_sample == recorded


def test_a_source_is_idle_while_no_window_of_it_is_scored(bench: Bench) -> None:
    """However many samples come: between many gaps no window is whole."""
    bench.capture(1)
    assert bench.source.idle_seconds == math.inf
    bench.source_meter.take(hop(samples(1), 40.0))
    assert bench.source.idle_seconds == 0
    for _ in range(4):
        bench.capture(3)
        bench.lose(1, "stalled")
        idle = bench.source.idle_seconds
    assert idle == 16
    bench.source_meter.take(hop(samples(17), 40.0))
    assert bench.source.idle_seconds == 0


def test_an_outage_counts_as_lost_before_it_is_reported(bench: Bench) -> None:
    bench.capture(60)
    bench.timeline.state("waiting", "it is gone")
    bench.clock.advance(60)
    assert bench.source.listened == Listened(120.0, 0.5)
    bench.timeline.lose(samples(60), "unplugged")
    bench._take()
    bench.timeline.state("listening", "it is back")
    assert bench.source.listened == Listened(120.0, 0.5)


def test_the_share_of_the_latest_day_forgets_what_is_older(bench: Bench) -> None:
    assert math.isnan(bench.source.listened_day.share)
    bench.lose(3600, "unplugged")
    for _ in range(24):
        before = bench.source.listened_day.share
        bench.capture(20)
        bench.clock.advance(3580)
    assert before < 0.2
    bench.clock.advance(600)
    bench.capture(1)
    source = bench.source
    assert source.listened_day.share == 1
    assert source.listened.share < 0.2
    assert source.listened_day.seconds <= DAY_SECONDS


def test_levels_are_of_the_newest_hop_and_the_floor_of_ten_minutes(
    bench: Bench,
) -> None:
    assert math.isnan(bench.source.level.dbfs)
    # A passing car every ten seconds; between them, quiet.
    for second in range(5, 1200):
        loud = second % 10 < 4
        quiet = -50.0 if second < 600 else -60.0
        window = frame(stop_seconds=second, level_dbfs=-20 if loud else quiet)
        bench.source_meter.take(window.record)
        if second == 599:
            assert bench.source.noise_floor.dbfs == -50
    source = bench.source
    assert source.level == Levels(-60.0, 24.5)
    assert source.noise_floor == Levels(-60.0, 24.5)


def test_events_are_counted_by_label(bench: Bench) -> None:
    for each in (event(), event(label="car_horn", number=2), event(number=3)):
        bench.source_meter.take(each.record)
    assert bench.source.events == (("car_horn", 1), ("siren", 2))


def test_the_state_has_its_reason(bench: Bench) -> None:
    bench.source_meter.take(
        state(name="waiting", detail="no device matches 'USB'").record
    )
    assert bench.source.detail == "no device matches 'USB'"


def test_trouble_is_reported_until_it_is_over(bench: Bench) -> None:
    health = Health("street", 0, samples(5), "clipping", "raised", "too loud", "id-1")
    raised = timed(health)
    bench.meter.take([raised])
    (trouble,) = bench.statistics.troubles
    assert (trouble.source, trouble.kind) == ("street", "clipping")
    assert (trouble.since, trouble.detail) == (raised.start_utc, "too loud")
    bench.meter.take([timed(replace(health, state="cleared"))])
    assert bench.statistics.troubles == ()


def test_latencies_are_counted_by_their_seconds_for_ever(bench: Bench) -> None:
    for seconds in (0.05, 0.1, 0.3, 0.3, 99.0):
        bench.meter.add_latency(seconds)
    latencies = bench.statistics.latencies
    assert latencies is not None
    counts = dict(zip(latencies.bounds, latencies.counts, strict=False))
    assert (counts[0.1], counts[0.25], counts[0.5], latencies.counts[-1]) == (
        2,
        0,
        2,
        1,
    )
    assert latencies.total_seconds == pytest.approx(99.75)
    assert bench.statistics.latency_seconds_p50 == 0.3


def test_what_waits_in_the_sinks_is_reported(bench: Bench) -> None:
    class Busy(MemorySink):
        @property
        def queues(self) -> dict[str, int]:
            return {"letters": 3}

    reported = bench.meter.statistics([], [MemorySink(), Busy()], bench.models)
    assert reported.queues == (("letters", 3),)


def test_the_model_and_where_it_runs_is_reported(bench: Bench) -> None:
    model = bench.statistics.model
    assert model is not None
    assert model.labels == bench.classifier.labels
    assert (model.compute_device, model.failed_compute_device) == ("cpu", None)


def test_the_clock_on_the_wall_may_step(bench: Bench) -> None:
    bench.capture(1)
    bench.clock.wall += timedelta(hours=1)
    assert bench.source.last_sample == bench.clock.utc()
