"""A reload replaces all parts of the worker; a source that is kept loses nothing."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from monitor.audio.timeline import Timeline
from monitor.clock import SampleClock
from monitor.model.classifier import Classifier
from monitor.records import (
    EVERY_SOURCE,
    Event,
    Gap,
    Health,
    Onset,
    Record,
    ScoreFrame,
    SourceState,
    Timed,
)
from monitor.runtime.health import HealthReport, HealthReports
from monitor.runtime.worker import Worker
from monitor.sinks.sink import MemorySink, Sink
from monitor.spec import ModelSpec
from tests.runtime.test_pipeline import make_pipeline
from tests.support.bench import Bench
from tests.support.models import WITH_BACKGROUND, stored_model
from tests.support.signals import noise
from tests.support.simulation import make_parts, source_input

RATE = 44_100
HOP = 48 * 512
DEADLINE_SECONDS = 20.0


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(stored_model(), "cpu")


@pytest.fixture(scope="module")
def undisturbed(classifier: Classifier) -> list[Record]:
    """What 20 seconds of noise give without a reload."""
    bench = Bench(classifier)
    bench.deliver(20)
    return bench.finish()


@pytest.mark.parametrize("first_seconds", [0.0, 1.0, 4.0, 7.3, 11.1])
def test_the_windows_go_on_as_without_a_reload(
    classifier: Classifier, undisturbed: list[Record], first_seconds: float
) -> None:
    """None is missing, none comes twice, and their scores and levels are the same."""
    bench = Bench(classifier)
    bench.deliver(first_seconds)
    bench.work()
    bench.replace(make_pipeline(classifier))
    bench.deliver(20 - first_seconds)
    expected = [values(frame) for frame in frames(undisturbed)]
    assert [values(frame) for frame in frames(bench.finish())] == expected


def values(frame: ScoreFrame) -> tuple[Any, ...]:
    levels = frame.level_dbfs, frame.peak_level_dbfs, frame.laeq_db
    rounded = [pytest.approx(each, abs=1e-4) for each in (*frame.scores, *levels)]
    return frame.start, frame.stop, rounded


@pytest.mark.parametrize("first_seconds", [7.3, 11.1])
def test_open_events_end_as_reloaded_and_the_sound_begins_another(
    classifier: Classifier, first_seconds: float
) -> None:
    bench = Bench(classifier)
    bench.deliver(first_seconds)
    bench.work()
    begun = ongoing(bench.records)
    assert begun
    bench.replace(make_pipeline(classifier))
    ended = [r for r in bench.records if isinstance(r, Event)]
    assert {e.id for e in ended if e.end_reason == "reloaded"} == begun
    assert ongoing(bench.records) == set()
    bench.deliver(20 - first_seconds)
    records = bench.finish()
    onsets = [record for record in records if isinstance(record, Onset)]
    assert len({onset.id for onset in onsets}) == len(onsets)
    for event in ended:
        later = [
            onset
            for onset in onsets
            if onset.label == event.label and onset.start > event.start
        ]
        assert all(onset.start >= event.stop for onset in later)
    goes_on = first_seconds * RATE
    again = {onset.label for onset in onsets if onset.stop > goes_on}
    assert again == {event.label for event in ended}


def ongoing(records: list[Record]) -> set[str]:
    begun = {record.id for record in records if isinstance(record, Onset)}
    return begun - {record.id for record in records if isinstance(record, Event)}


def frames(records: list[Record], source: str = "street") -> list[ScoreFrame]:
    return [r for r in records if isinstance(r, ScoreFrame) and r.source == source]


@pytest.mark.parametrize("first_seconds", [6.0, 12.3])
def test_another_hop_moves_the_windows(
    classifier: Classifier, first_seconds: float
) -> None:
    bench = Bench(classifier)
    bench.deliver(first_seconds)
    bench.work()
    before = len(frames(bench.records))
    bench.replace(make_pipeline(classifier, hop_frames=96))
    bench.deliver(20 - first_seconds)
    starts = [frame.start for frame in frames(bench.finish())]
    assert {b - a for a, b in pairwise(starts[:before])} <= {HOP}
    # The next window of the coarse grid, which half of the sound is already in.
    assert HOP <= starts[before] - starts[before - 1] <= 2 * HOP
    assert {b - a for a, b in pairwise(starts[before:])} == {2 * HOP}


def test_another_model_goes_on_with_the_next_window(classifier: Classifier) -> None:
    other = Classifier(stored_model(seed=1), "cpu")
    alone = Bench(other)
    alone.deliver(20)
    expected = {frame.start: values(frame) for frame in frames(alone.finish())}
    bench = Bench(classifier)
    bench.deliver(9)
    bench.work()
    before = len(frames(bench.records))
    bench.replace(make_pipeline(other), session="other")
    bench.deliver(11)
    records = bench.finish()
    starts = [frame.start for frame in frames(records)]
    assert {b - a for a, b in pairwise(starts)} == {HOP}
    for frame in frames(records)[before:]:
        assert values(frame) == expected[frame.start]
    assert not [record for record in records if isinstance(record, Gap)]


def test_the_background_goes_on_with_the_same_model_alone() -> None:
    comparing = Classifier(stored_model("mobile", WITH_BACKGROUND), "cpu")
    # The same numbers, so that only the background can differ.
    another = Classifier(stored_model("mobile", WITH_BACKGROUND), "cpu")
    another.network_digest = "0" * 64
    sound = noise(20, 0.001)
    sound[:, 9 * RATE :] *= 100
    found = []
    for next_one, session in (
        (None, "test"),
        (comparing, "test"),
        (comparing, "other"),
        (another, "other"),
    ):
        bench = Bench(comparing, sound)
        bench.deliver(9)
        bench.work()
        if next_one is not None:
            bench.replace(make_pipeline(next_one), session=session)
        bench.deliver(11)
        found.append({frame.start: frame.scores for frame in frames(bench.finish())})
    undisturbed, same, new_session, other = found
    assert same == new_session == undisturbed
    # A second model knows nothing of the time before; its own background comes later.
    changed = {at for at in undisturbed if other[at] != undisturbed[at]}
    assert 5 <= len(changed) < len(undisturbed)
    assert min(changed) > 4 * RATE


def test_the_samples_before_a_gap_are_not_analysed_again(
    classifier: Classifier,
) -> None:
    bench = Bench(classifier)
    bench.deliver(6)
    bench.timeline.lose(RATE, "stalled")
    bench.timeline.open(1)
    bench.deliver(2)
    bench.work()
    before = len(bench.records)
    bench.replace(make_pipeline(classifier))
    bench.deliver(8)
    later = frames(bench.finish()[before:])
    assert later
    assert min(frame.start for frame in later) >= 7 * RATE


def test_a_reload_right_after_a_gap_loses_nothing_more(classifier: Classifier) -> None:
    bench = Bench(classifier)
    bench.deliver(6)
    bench.timeline.lose(RATE, "stalled")
    bench.work()
    bench.replace(make_pipeline(classifier))
    bench.timeline.open(1)
    bench.deliver(8)
    starts = [frame.start for frame in frames(bench.finish())]
    first = min(start for start in starts if start >= 7 * RATE)
    assert first < 7 * RATE + HOP


def test_sources_come_and_go_beside_one_that_stays(
    classifier: Classifier, undisturbed: list[Record]
) -> None:
    bench = Bench(classifier)
    bench.deliver(5)
    bench.work()
    yard = bench.opened("yard", start=1_000_000)
    both = {
        "street": bench.street,
        "yard": source_input(yard, SampleClock(bench.clock, RATE)),
    }
    bench.replace(make_pipeline(classifier, ("street", "yard")), inputs=both)
    yard.write(noise(9, 0.2), bench.clock.monotonic())
    bench.deliver(5)
    bench.work()
    yard.write(noise(2, 0.2), bench.clock.monotonic())
    bench.replace(make_pipeline(classifier))
    bench.deliver(10)
    records = bench.finish()
    expected = [values(frame) for frame in frames(undisturbed)]
    assert [values(frame) for frame in frames(records)] == expected
    yards = [record for record in records if record.source == "yard"]
    assert min(frame.start for frame in frames(yards, "yard")) >= 1_000_000
    # The last samples of a source that is removed are analysed too.
    assert max(frame.stop for frame in frames(yards, "yard")) > 1_000_000 + 10 * RATE
    events = [record for record in yards if isinstance(record, Event)]
    assert {event.end_reason for event in events} == {"reloaded"}
    last = yards[-1]
    assert isinstance(last, SourceState)
    assert last.state == "ended"


def test_the_work_ends_when_only_ended_recordings_are_left(
    classifier: Classifier,
) -> None:
    bench = Bench(classifier)
    inputs = {"street": bench.street, "yard": source_input(bench.opened("yard"))}
    parts = make_parts(make_pipeline(classifier, ("street", "yard")), inputs)
    worker = bench.worker = Worker(parts, wakeup=bench.wakeup, clock=bench.clock)
    bench.timeline.state("ended", "the recording is over")
    worker.step()
    bench.replace(make_pipeline(classifier))
    ending = threading.Thread(target=worker.run, args=(bench.stop,))
    ending.start()
    ending.join(DEADLINE_SECONDS)
    has_ended = not ending.is_alive()
    bench.stop.set()
    ending.join(DEADLINE_SECONDS)
    assert has_ended


def test_an_added_source_keeps_the_worker_at_work(classifier: Classifier) -> None:
    bench = Bench(classifier)
    bench.timeline.state("ended", "the recording is over")
    bench.work()
    yard = bench.opened("yard")
    both = {"street": bench.street, "yard": source_input(yard)}
    bench.replace(make_pipeline(classifier, ("street", "yard")), inputs=both)
    yard.write(noise(9, 0.2), bench.clock.monotonic())
    yard.state("ended", "the recording is over")
    bench.worker.run(bench.stop)
    reasons = {r.end_reason for r in bench.records if isinstance(r, Event)}
    assert reasons == {"end-of-input"}


def test_a_sound_after_a_reload_has_the_bounds_of_any_other(
    classifier: Classifier,
) -> None:
    def events(*, reloads: bool) -> list[tuple[Any, ...]]:
        bench = Bench(classifier)
        sound = noise(16, 0.2)
        sound[:, : round(7.1 * RATE)] *= 1e-6
        bench.timeline.write(sound[:, : 7 * RATE], bench.clock.monotonic())
        bench.work()
        if reloads:
            bench.replace(make_pipeline(classifier))
        bench.timeline.write(sound[:, 7 * RATE :], bench.clock.monotonic())
        return [
            (event.label, event.start, event.stop)
            for event in bench.finish()
            if isinstance(event, Event)
        ]

    assert events(reloads=True) == events(reloads=False) != []


def test_the_old_sinks_are_closed_before_the_new_ones_open(
    classifier: Classifier,
) -> None:
    calls: list[str] = []

    class Noting(MemorySink):
        def write(self, batch: Sequence[Timed]) -> None:
            calls.append("write")

        def close(self) -> None:
            calls.append("close")

    def open_sinks() -> Sequence[Sink]:
        calls.append("open")
        return [bench.sink]

    bench = Bench(classifier)
    parts = replace(bench.parts, sinks=[Noting()])
    bench.worker = Worker(parts, wakeup=bench.wakeup, clock=bench.clock)
    bench.deliver(9)
    bench.work()
    calls.clear()
    kept = frozenset({"street"})
    inputs = {"street": bench.street}
    after = make_parts(make_pipeline(classifier), inputs, continued=kept)
    bench.worker.replace(after, open_sinks)
    # The events that end are written to the sinks that know of their onset.
    assert calls == ["write", "close", "open"]
    assert bench.records == []


def test_a_removed_source_takes_its_troubles_along_and_a_kept_one_keeps_them(
    classifier: Classifier,
) -> None:
    bench = Bench(classifier)
    reports = HealthReports()
    yard = source_input(bench.opened("yard"))
    parts = make_parts(
        make_pipeline(classifier, ("street", "yard")),
        {"street": bench.street, "yard": yard},
        [bench.sink],
    )
    worker = Worker(parts, wakeup=bench.wakeup, clock=bench.clock, reports=reports)
    for source in ("street", "yard", EVERY_SOURCE):
        reports.post(HealthReport("canary", "raised", "no event", source))
    worker.step()
    bench.sink.records.clear()
    after = make_parts(
        make_pipeline(classifier),
        {"street": bench.street},
        continued=frozenset({"street"}),
    )
    worker.replace(after, lambda: [bench.sink])
    cleared = [record for record in bench.records if isinstance(record, Health)]
    assert [(each.source, each.state) for each in cleared] == [("yard", "cleared")]


def test_a_model_of_another_rate_reopens_the_sources(classifier: Classifier) -> None:
    other = Classifier(stored_model(spec=ModelSpec(sample_rate=32_000)), "cpu")
    bench = Bench(classifier)
    bench.deliver(9)
    bench.work()
    timeline = Timeline("street", 32_000, 30.0)
    timeline.lose(3200, "reloaded")
    timeline.open(1)
    bench.replace(
        make_pipeline(other),
        inputs={"street": source_input(timeline)},
        continued=frozenset(),
        session="other",
    )
    timeline.write(noise(9, 0.2, 32_000), bench.clock.monotonic())
    records = bench.finish()
    gap = next(timed for timed in bench.sink.records if isinstance(timed.record, Gap))
    assert gap.end_seconds == pytest.approx(0.1)
    reasons = [r.end_reason for r in records if isinstance(r, Event)]
    assert "reloaded" in reasons
