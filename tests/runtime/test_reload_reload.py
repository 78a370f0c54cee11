"""The worker goes from one lineup to another, and the reload waits for nobody."""

import threading
from dataclasses import replace
from itertools import pairwise
from typing import cast

import pytest

from monitor.audio.timeline import Timeline
from monitor.clock import SampleClock
from monitor.model.classifier import Classifier
from monitor.records import Event, Gap, Onset, Record, ScoreFrame, SourceState
from monitor.runtime.worker import Lineup, Worker
from monitor.sinks.sink import MemorySink
from monitor.spec import ModelSpec
from tests.runtime.test_pipeline import make_pipeline
from tests.support.clock import FakeClock
from tests.support.models import seeded_model
from tests.support.signals import noise

RATE = 44_100
HOP = 48 * 512


class Bench:
    """A worker that listens to noise, on a clock that moves when told."""

    def __init__(self, classifier: Classifier) -> None:
        self.clock = FakeClock()
        self.wakeup = threading.Event()
        self.sink = MemorySink()
        self.stop = threading.Event()
        self.delivered = 0
        self.timeline = self.opened("street")
        self.lineup = Lineup(
            make_pipeline(classifier), {"street": self.timeline}, {}, [self.sink], "one"
        )
        self.worker = Worker(self.lineup, wakeup=self.wakeup, clock=self.clock)

    def opened(self, name: str, start: int = 0) -> Timeline:
        timeline = Timeline(name, RATE, 30.0, start)
        timeline.wakeup = self.wakeup
        timeline.open(1)
        timeline.state("listening", "noise")
        return timeline

    def deliver(self, seconds: float) -> None:
        """Deliver the next of a noise that is the same every time."""
        self.clock.advance(seconds)
        count = round(seconds * RATE)
        sound = noise(40, 0.2)[:, self.delivered : self.delivered + count]
        self.delivered += count
        self.timeline.write(sound, self.clock.monotonic())

    def go_on_with(self, after: Lineup, *newcomers: MemorySink) -> None:
        """What a reload asks of the worker."""
        self.worker.conclude(after)
        self.worker.adopt(after, newcomers)
        self.lineup = after

    def work(self) -> None:
        """One turn of the worker, as its thread would do it."""
        self.worker._step()

    def finish(self) -> list[Record]:
        self.stop.set()
        self.worker.run(self.stop)
        return [timed.record for timed in self.sink.records]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(seeded_model(), "cpu")


@pytest.fixture(scope="module")
def undisturbed(classifier: Classifier) -> list[Record]:
    """What 20 seconds of noise give without a reload."""
    bench = Bench(classifier)
    bench.deliver(20)
    return bench.finish()


@pytest.mark.parametrize("first_seconds", [0.0, 1.0, 4.0, 7.3, 11.1])
def test_the_same_configuration_again_changes_nothing(
    classifier: Classifier, undisturbed: list[Record], first_seconds: float
) -> None:
    bench = Bench(classifier)
    bench.deliver(first_seconds)
    bench.work()
    bench.go_on_with(replace(bench.lineup, pipeline=make_pipeline(classifier)))
    bench.deliver(20 - first_seconds)
    assert placed(bench.finish()) == placed(undisturbed)
    assert any(isinstance(record, Event) for record in undisturbed)


def placed(records: list[Record], source: str = "street") -> list[Record]:
    """All of a source but its states, which stand where the worker came by."""
    return [
        record
        for record in records
        if record.source == source and not isinstance(record, SourceState)
    ]


def frames(records: list[Record], source: str = "street") -> list[ScoreFrame]:
    return [r for r in records if isinstance(r, ScoreFrame) and r.source == source]


@pytest.mark.parametrize("first_seconds", [6.0, 12.3])
def test_another_hop_moves_the_windows_and_ends_nothing(
    classifier: Classifier, first_seconds: float
) -> None:
    bench = Bench(classifier)
    bench.deliver(first_seconds)
    bench.work()
    before = len(frames([t.record for t in bench.sink.records]))
    coarse = make_pipeline(classifier, hop_frames=96)
    bench.go_on_with(replace(bench.lineup, pipeline=coarse))
    bench.deliver(20 - first_seconds)
    records = bench.finish()
    starts = [frame.start for frame in frames(records)]
    assert {b - a for a, b in pairwise(starts[:before])} <= {HOP}
    # The next window of the coarse grid, which half of the sound is already in.
    assert HOP <= starts[before] - starts[before - 1] <= 2 * HOP
    assert {b - a for a, b in pairwise(starts[before:])} == {2 * HOP}
    reasons = {r.end_reason for r in records if isinstance(r, Event)}
    assert reasons <= {"offset", "stopped"}


def test_another_model_goes_on_with_the_next_window(classifier: Classifier) -> None:
    other = Classifier(seeded_model(seed=1), "cpu")
    bench = Bench(classifier)
    bench.deliver(9)
    bench.work()
    told = [timed.record for timed in bench.sink.records]
    going_on = {r.label for r in told if isinstance(r, Onset)} - {
        r.label for r in told if isinstance(r, Event)
    }
    assert going_on
    bench.go_on_with(
        replace(bench.lineup, pipeline=make_pipeline(other), model="other")
    )
    bench.deliver(11)
    records = bench.finish()
    starts = [frame.start for frame in frames(records)]
    assert {b - a for a, b in pairwise(starts)} == {HOP}
    ended = [r for r in records if isinstance(r, Event) and r.end_reason == "reloaded"]
    assert {event.label for event in ended} == going_on
    for event in ended:
        later = [
            r.start
            for r in records[records.index(event) :]
            if isinstance(r, Onset) and r.label == event.label
        ]
        assert all(start >= event.stop for start in later)
    assert not [r for r in records if isinstance(r, Gap)]


def test_what_is_heard_again_is_what_the_other_model_alone_would_have_heard(
    classifier: Classifier,
) -> None:
    other = Classifier(seeded_model(seed=1), "cpu")
    alone = Bench(other)
    alone.deliver(20)
    expected = {frame.start: frame for frame in frames(alone.finish())}
    bench = Bench(classifier)
    bench.deliver(9)
    bench.work()
    before = len(frames([t.record for t in bench.sink.records]))
    bench.go_on_with(
        replace(bench.lineup, pipeline=make_pipeline(other), model="other")
    )
    bench.deliver(11)
    for frame in frames(bench.finish())[before:]:
        assert frame.scores == pytest.approx(expected[frame.start].scores, abs=1e-5)
        assert frame.level_dbfs == pytest.approx(expected[frame.start].level_dbfs)


def test_after_a_gap_nothing_before_it_is_heard_again(classifier: Classifier) -> None:
    bench = Bench(classifier)
    bench.deliver(6)
    bench.timeline.lose(RATE, "stalled")
    bench.timeline.open(1)
    bench.deliver(2)
    bench.work()
    gap = next(t.record for t in bench.sink.records if isinstance(t.record, Gap))
    before = len(bench.sink.records)
    other = Classifier(seeded_model(seed=1), "cpu")
    bench.go_on_with(
        replace(bench.lineup, pipeline=make_pipeline(other), model="other")
    )
    bench.deliver(8)
    later = frames(bench.finish()[before:])
    assert later
    assert min(frame.start for frame in later) >= gap.stop


def test_sources_come_and_go_beside_one_that_stays(
    classifier: Classifier, undisturbed: list[Record]
) -> None:
    bench = Bench(classifier)
    bench.deliver(5)
    bench.work()
    yard = bench.opened("yard", start=1_000_000)
    bench.go_on_with(
        replace(
            bench.lineup,
            pipeline=make_pipeline(classifier, ("street", "yard")),
            timelines={"street": bench.timeline, "yard": yard},
            sample_clocks={"yard": SampleClock(bench.clock, RATE)},
        )
    )
    yard.write(noise(9, 0.2), bench.clock.monotonic())
    bench.deliver(5)
    bench.work()
    bench.go_on_with(
        replace(
            bench.lineup,
            pipeline=make_pipeline(classifier),
            timelines={"street": bench.timeline},
            sample_clocks={},
        )
    )
    bench.deliver(10)
    records = bench.finish()
    assert placed(records, "street") == placed(undisturbed)
    yards = [r for r in records if r.source == "yard"]
    assert min(frame.start for frame in frames(yards, "yard")) >= 1_000_000
    events = [r for r in yards if isinstance(r, Event)]
    assert {event.end_reason for event in events} == {"reloaded"}
    last = yards[-1]
    assert isinstance(last, SourceState)
    assert last.state == "ended"


def test_sinks_that_are_gone_are_closed_and_newcomers_learn_what_is_going_on(
    classifier: Classifier,
) -> None:
    closed: list[str] = []

    class Closing(MemorySink):
        def close(self) -> None:
            closed.append("closed")

    bench = Bench(classifier)
    bench.lineup = replace(bench.lineup, sinks=[bench.sink, Closing()])
    bench.worker = Worker(bench.lineup, wakeup=bench.wakeup, clock=bench.clock)
    bench.deliver(9)
    bench.work()
    newcomer, file = MemorySink(), MemorySink()
    bench.go_on_with(
        replace(
            bench.lineup,
            pipeline=make_pipeline(classifier),
            sinks=[bench.sink, newcomer, file],
        ),
        newcomer,
    )
    assert closed == ["closed"]
    assert newcomer.records
    assert all(isinstance(timed.record, Onset) for timed in newcomer.records)
    assert file.records == []


def test_what_a_sink_finds_is_told_to_the_others_once(classifier: Classifier) -> None:
    bench = Bench(classifier)
    bench.deliver(9)
    bench.work()
    found = [t for t in bench.sink.records if isinstance(t.record, Onset)][:1]

    class Finder(MemorySink):
        def take_found(self) -> list[object]:
            taken, found[:] = list(found), []
            return cast("list[object]", taken)

    finder, other = Finder(), MemorySink()
    worker = Worker(
        replace(bench.lineup, sinks=[finder, other], timelines={}),
        wakeup=bench.wakeup,
        clock=bench.clock,
    )
    for _ in range(2):
        worker._step()
    assert len(other.records) == 1
    assert finder.records == []


def test_a_model_of_another_rate_takes_the_sources_anew(classifier: Classifier) -> None:
    other = Classifier(seeded_model(spec=ModelSpec(sample_rate=32_000)), "cpu")
    bench = Bench(classifier)
    bench.deliver(9)
    bench.work()
    timeline = Timeline("street", 32_000, 30.0)
    timeline.lose(3200, "reloaded")
    timeline.open(1)
    bench.go_on_with(
        replace(
            bench.lineup,
            pipeline=make_pipeline(other),
            timelines={"street": timeline},
            model="other",
        )
    )
    timeline.write(noise(9, 0.2, 32_000), bench.clock.monotonic())
    records = bench.finish()
    gap = next(timed for timed in bench.sink.records if isinstance(timed.record, Gap))
    assert gap.end_seconds == pytest.approx(0.1)
    reasons = [r.end_reason for r in records if isinstance(r, Event)]
    assert "reloaded" in reasons
