"""Properties of the records, whatever the scores."""

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detection.rules import LabelRule
from monitor.records import Event, Gap, Onset, ScoreFrame
from tests.support.detection import detector, rule

WINDOW, HOP = 22, 3
LABELS = 2

Step = ScoreFrame | Gap


@st.composite
def rules(draw: st.DrawFn) -> LabelRule:
    onset = draw(st.floats(0.1, 1))
    samples = st.integers(0, 40)
    return rule(
        onset_threshold=onset,
        offset_threshold=draw(st.floats(0.05, 1)) * onset,
        smoothing_hops=draw(st.integers(1, 5)),
        min_duration_on=draw(samples),
        min_duration_off=draw(samples),
        refractory=draw(samples),
        margin=draw(st.sampled_from([0.0, 0.2])),
    )


score = st.sampled_from([0.0, 0.3, 0.5, 0.8, 1.0])
edge = st.integers(0, WINDOW)
level = st.sampled_from([-30.0, -31.0, -32.0, -33.0, -100.0])
contents = st.lists(st.tuples(score, edge, edge, score, edge, edge, level), max_size=25)


def frame_at(start: int, content: tuple[float, ...]) -> ScoreFrame:
    score_a, *edges_a, score_b, first_b, last_b, dbfs = content
    spans = tuple(
        (start + int(min(edges)), start + int(max(edges)))
        for edges in (edges_a, (first_b, last_b))
    )
    stop = start + WINDOW
    return ScoreFrame("street", start, stop, (score_a, score_b), spans, *[dbfs] * 3)


def frames_from(first: int, interval: list[tuple[float, ...]]) -> list[ScoreFrame]:
    return [frame_at(first + k * HOP, each) for k, each in enumerate(interval)]


def frames(first: int = 0) -> st.SearchStrategy[list[ScoreFrame]]:
    return contents.map(lambda interval: frames_from(first, interval))


@st.composite
def streams(draw: st.DrawFn) -> list[Step]:
    """Two intervals of frames with a gap between them."""
    before = draw(frames())
    stop = before[-1].stop if before else 0
    gap = Gap("street", stop, stop + draw(st.integers(1, 50)), "overrun")
    return [*before, gap, *draw(frames(gap.stop))]


@dataclass(frozen=True)
class Found:
    onsets: list[tuple[Onset, ScoreFrame]]
    events: list[Event]
    order: list[Onset | Event]


def find(two: tuple[LabelRule, LabelRule], steps: list[Step]) -> Found:
    tested = detector(*two)
    found = Found([], [], [])
    for step in steps:
        records = tested.gap(step) if isinstance(step, Gap) else tested.push(step)
        found.order.extend(records)
        for record in records:
            if isinstance(record, Onset):
                assert isinstance(step, ScoreFrame)
                found.onsets.append((record, step))
    found.order.extend(tested.finish("stopped"))
    found.events.extend(each for each in found.order if isinstance(each, Event))
    return found


two_rules = st.tuples(rules(), rules())


@given(two_rules, streams())
def test_each_onset_has_its_event_and_each_event_its_onset(
    two: tuple[LabelRule, LabelRule], steps: list[Step]
):
    found = find(two, steps)
    ids = [onset.id for onset, _ in found.onsets]
    assert len(set(ids)) == len(ids)
    assert sorted(ids) == sorted(event.id for event in found.events)
    for event in found.events:
        kinds = [type(each) for each in found.order if each.id == event.id]
        assert kinds == [Onset, Event]


@given(two_rules, streams())
def test_events_of_a_label_are_ordered_apart_and_nothing_begins_in_refractory_time(
    two: tuple[LabelRule, LabelRule], steps: list[Step]
):
    found = find(two, steps)
    for label, its_rule in zip("ab", two, strict=True):
        events = [event for event in found.events if event.label == label]
        starts = {onset.id: onset.start for onset, _ in found.onsets}
        assert all(event.start < event.stop for event in events)
        for before, after in pairwise(events):
            earliest = before.stop + its_rule.refractory
            assert min(after.start, starts[after.id]) >= earliest


@given(two_rules, streams())
def test_an_onset_lies_before_the_end_of_its_window_and_within_it_if_reported_at_once(
    two: tuple[LabelRule, LabelRule], steps: list[Step]
):
    for onset, frame in find(two, steps).onsets:
        its_rule = two["ab".index(onset.label)]
        assert 0 <= onset.start < onset.stop == frame.stop
        if its_rule.min_duration_on == 0:
            averaged = (its_rule.smoothing_hops - 1) * HOP
            assert frame.start - averaged <= onset.start


@given(two_rules, streams())
def test_every_record_has_a_window_above_its_threshold(
    two: tuple[LabelRule, LabelRule], steps: list[Step]
):
    for record in find(two, steps).order:
        index = "ab".index(record.label)
        counted = [
            frame.scores[index]
            for frame in steps
            if isinstance(frame, ScoreFrame)
            and frame.peak_level_dbfs > -70
            and frame.scores[index] >= two[index].offset_threshold
        ]
        assert record.peak_score in counted
        assert min(counted) - 1e-9 <= record.mean_score <= record.peak_score + 1e-9
        assert len(record.top) == LABELS
        assert (record.label, record.peak_score) in record.top


def hops_of(steps: list[Step]) -> list[tuple[int, int, float]]:
    """Start, stop and level of each frame's hop; the first is a whole window."""
    hops = []
    seen_until = 0
    for step in steps:
        if isinstance(step, Gap):
            seen_until = step.stop
        else:
            hops.append((seen_until, step.stop, step.level_dbfs))
            seen_until = step.stop
    return hops


@given(two_rules, streams())
def test_levels_are_those_of_the_hops_with_a_sample_in_the_event(
    two: tuple[LabelRule, LabelRule], steps: list[Step]
):
    for event in find(two, steps).events:
        levels = [
            level
            for start, stop, level in hops_of(steps)
            if start < event.stop and stop > event.start
        ]
        assert event.level_dbfs == max(levels)
        energies = [10 ** (level / 10) for level in levels]
        mean = 10 * math.log10(sum(energies) / len(energies))
        assert event.laeq_db == pytest.approx(mean)


@given(two_rules, frames(), frames(first=500))
def test_after_a_gap_and_the_refractory_time_the_detector_is_as_new(
    two: tuple[LabelRule, LabelRule], before: list[ScoreFrame], after: list[ScoreFrame]
):
    gap = Gap("street", 400, 500, "stalled")
    fresh = find(two, list(after)).order
    behind = [
        each for each in find(two, [*before, gap, *after]).order if each.start > 400
    ]
    assert behind == fresh


@given(two_rules, frames())
def test_records_do_not_depend_on_the_place_of_an_interval_on_the_timeline(
    two: tuple[LabelRule, LabelRule], interval: list[ScoreFrame]
):
    def moved(frame: ScoreFrame) -> ScoreFrame:
        spans = tuple((start + 999, stop + 999) for start, stop in frame.spans)
        return replace(
            frame, start=frame.start + 999, stop=frame.stop + 999, spans=spans
        )

    here = find(two, list(interval)).order
    there = find(two, [moved(frame) for frame in interval]).order
    assert [(each.start + 999, each.stop + 999, each.mean_score) for each in here] == [
        (each.start, each.stop, each.mean_score) for each in there
    ]
