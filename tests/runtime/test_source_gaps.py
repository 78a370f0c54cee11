"""A gap is one for an outage, and says what no window covers."""

import threading
from collections.abc import Iterable
from datetime import UTC
from itertools import pairwise
from pathlib import Path

import pytest

from monitor.audio.timeline import Timeline
from monitor.clock import SampleClock
from monitor.model.classifier import Classifier
from monitor.records import Gap, GapReason, Health, ScoreFrame
from monitor.runtime.gaps import NEAR_SECONDS, OUTAGE_PART_SECONDS
from monitor.runtime.worker import Worker
from monitor.sinks.sink import MemorySink, Sink
from monitor.sinks.store.day_report import report_day
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.selection import Selection
from monitor.statistics import FRESH_SECONDS, SourceStatistics
from tests.runtime.test_pipeline import make_pipeline
from tests.support.clock import FakeClock
from tests.support.models import stored_model
from tests.support.signals import noise
from tests.support.simulation import make_parts, source_input
from tests.support.store import make_store

RATE = 44_100
NOISE = noise(60.0, 0.2)


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier(stored_model(), "cpu")


class Street:
    """A worker, and the timeline of a source that loses sound."""

    def __init__(self, classifier: Classifier) -> None:
        self.clock = FakeClock()
        self.timeline = Timeline("street", RATE, 30.0)
        self.sink = MemorySink()
        street = source_input(self.timeline, SampleClock(self.clock, RATE), live=True)
        self.sinks: list[Sink] = [self.sink]
        parts = make_parts(make_pipeline(classifier), {"street": street}, self.sinks)
        self.worker = Worker(parts, wakeup=threading.Event(), clock=self.clock)
        self.timeline.open(1)
        self.timeline.state("listening", "test signal")

    def hears(self, seconds: float) -> None:
        samples = round(seconds * RATE)
        for start in range(0, samples, RATE // 2):
            block = NOISE[:, start : min(start + RATE // 2, samples)]
            self.clock.advance(block.shape[1] / RATE)
            self.timeline.write(block, self.clock.monotonic())
            self.worker.step()

    def loses(self, seconds: float, reason: GapReason = "stalled") -> None:
        self.clock.advance(seconds)
        self.timeline.lose(round(seconds * RATE), reason)
        self.worker.step()

    def is_away(self, losses: Iterable[tuple[float, GapReason]]) -> None:
        self.timeline.state("waiting", "it is gone")
        for seconds, reason in losses:
            self.loses(seconds, reason)
        assert not self.figures.is_analysed()
        self.timeline.state("listening", "test signal")

    def end(self) -> None:
        stop = threading.Event()
        stop.set()
        self.worker.run(stop)

    @property
    def figures(self) -> SourceStatistics:
        (street,) = self.worker.statistics.sources
        return street

    @property
    def gaps(self) -> list[Gap]:
        records = (timed.record for timed in self.sink.records)
        return [record for record in records if isinstance(record, Gap)]

    @property
    def covered(self) -> float:
        """The share of the time that at least one window covers."""
        records = (timed.record for timed in self.sink.records)
        frames = [record for record in records if isinstance(record, ScoreFrame)]
        reached = samples = 0
        for frame in frames:
            samples += frame.stop - max(reached, frame.start)
            reached = frame.stop
        return samples / self.timeline.stop


@pytest.fixture
def street(classifier: Classifier) -> Street:
    return Street(classifier)


# The sound before the first loss is no gap, though without a window if it is short.
@pytest.mark.parametrize(("every", "before"), [(3.9, 3.78), (5.1, 0.0), (20.0, 0.0)])
def test_the_report_of_a_day_counts_the_same(
    street: Street, tmp_path: Path, every: float, before: float
) -> None:
    path, day = tmp_path / "monitor.db", street.clock.utc()
    street.sinks.append(make_store(path, clock=street.clock))
    while street.timeline.stop < 120 * RATE:
        street.hears(every - 0.12)
        street.loses(0.12)
    covered = street.covered * street.timeline.stop / RATE
    street.end()
    with open_to_read(path) as reader:
        now = street.clock.utc()
        report = report_day(reader, Selection(day.date(), day.date(), now, UTC))
    found = report.sources["street"]
    assert found.listened_seconds == pytest.approx(covered, abs=0.1)
    passed = (now - day).total_seconds()
    lost = sum(found.lost_seconds.values())
    assert passed - lost == pytest.approx(covered + before, abs=1.0)


@pytest.mark.parametrize("every", [2.0, 3.9, 4.3, 4.7, 5.1, 8.0, 20.0])
def test_what_counts_as_listened_is_what_a_window_covers(
    street: Street, every: float
) -> None:
    while street.timeline.stop < 300 * RATE:
        street.hears(every - 0.12)
        street.loses(0.12)
    street.hears(11)
    figures = street.figures
    assert figures.listened.share == pytest.approx(street.covered, abs=0.02)
    missed = sum(gap.left_out or gap.stop - gap.start for gap in street.gaps)
    assert 1 - missed / street.timeline.stop == pytest.approx(street.covered, abs=0.02)
    assert figures.lost_samples == missed
    assert all(one.stop <= other.start for one, other in pairwise(street.gaps))


def test_losses_without_a_window_between_are_one_gap_with_its_own_reason(
    street: Street,
) -> None:
    street.hears(10)
    for _ in range(20):
        street.loses(0.12)
        street.hears(3.78)
        assert street.figures.listened.share < 1
    assert street.figures.listened.share == pytest.approx(10 / 88, abs=0.06)
    street.hears(10)
    (gap,) = street.gaps
    assert gap == Gap("street", 10 * RATE, gap.stop, "fragmented")
    assert gap.stop == pytest.approx((10 + 19 * 3.9 + 0.12) * RATE, abs=1)


def test_why_it_is_deaf_then_is_no_silence(street: Street) -> None:
    street.hears(10)
    for _ in range(40):
        street.loses(0.12)
        street.hears(3.78)
    records = (timed.record for timed in street.sink.records)
    (deaf,) = [record for record in records if isinstance(record, Health)]
    assert deaf.kind == "deaf"
    assert "too short between losses" in deaf.detail
    assert not street.figures.is_analysed()


def test_an_outage_is_one_gap_whatever_its_parts(street: Street) -> None:
    street.hears(10)
    street.is_away([(1.0, "ended"), (0.25, "ended"), (58.75, "unplugged")])
    assert street.gaps == []
    street.hears(5)
    assert street.gaps == [Gap("street", 10 * RATE, 70 * RATE, "unplugged")]
    assert street.figures.gaps == 1


def test_a_short_return_that_no_window_covers_does_not_divide_it(
    street: Street,
) -> None:
    street.hears(10)
    street.is_away([(20.0, "stalled")])
    street.hears(2)
    street.is_away([(20.0, "unplugged")])
    street.hears(5)
    assert street.gaps == [Gap("street", 10 * RATE, 52 * RATE, "stalled")]


def test_a_night_is_reported_in_parts_that_adjoin_and_count_as_one(
    street: Street,
) -> None:
    street.hears(10)
    street.is_away([(1.0, "ended"), *[(OUTAGE_PART_SECONDS, "unplugged")] * 6])
    assert len(street.gaps) == 6
    street.hears(5)
    gaps = street.gaps
    assert gaps[0].start == 10 * RATE
    assert all(one.stop == other.start for one, other in pairwise(gaps))
    assert {gap.reason for gap in gaps} == {"unplugged"}
    assert street.figures.gaps == 1


def test_a_gap_that_is_not_over_is_reported_at_the_end(street: Street) -> None:
    street.hears(10)
    street.is_away([(5.0, "ended")])
    street.hears(1)
    street.end()
    assert street.gaps == [Gap("street", 10 * RATE, 15 * RATE, "ended")]


def test_what_was_bridged_is_a_gap_of_its_own_also_soon_after_another(
    street: Street,
) -> None:
    street.hears(NEAR_SECONDS + 10)
    street.loses(1.0)
    street.hears(2)
    street.loses(0.02)
    street.hears(10)
    first, bridged = street.gaps
    assert first.stop - first.start == RATE
    assert bridged.stop - bridged.start == round(0.02 * RATE)
    assert street.figures.listened.share == pytest.approx(street.covered, abs=0.03)


def test_a_source_is_analysed_as_soon_as_its_sound_is_back(street: Street) -> None:
    street.hears(10)
    street.is_away([(60.0, "unplugged")])
    street.hears(0.5)
    assert street.figures.is_analysed()


def test_it_is_believed_once_until_a_window_was_analysed(street: Street) -> None:
    street.hears(0.5)
    assert not street.figures.is_analysed()  # it has not begun to work yet
    street.hears(10)
    believed = 0.0
    for _ in range(20):
        street.is_away([(5.0, "ended")])
        for _ in range(6):
            street.hears(0.5)
            believed += 0.5 * street.figures.is_analysed()
    assert 1 < believed <= FRESH_SECONDS
