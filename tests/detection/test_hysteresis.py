"""Begins and ends of a label, drawn in windows that do not overlap.

# at or above the onset threshold   + between the thresholds   . below the offset one
"""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.detection.detector import Detector
from monitor.detection.hysteresis import Horizon, MovingAverage
from tests.support.detection import (
    GATE_DBFS,
    Detected,
    detected,
    detector,
    intervals,
    onsets,
    rule,
)
from tests.support.scores import drawn


@pytest.mark.parametrize(
    ("scores", "events"),
    [
        ("..........", []),
        ("..+++++...", []),  # never reaches the onset threshold
        ("..#.......", []),  # shorter than min_duration_on
        ("..##......", [(2, 4)]),
        ("..##.##...", [(2, 7)]),  # a lull shorter than min_duration_off
        ("..##..##..", [(2, 4), (6, 8)]),  # as long as it
        ("..##++##..", [(2, 8)]),  # hovering between the thresholds
        ("..##++....", [(2, 6)]),
        ("++##......", [(2, 4)]),  # what was below the onset threshold before
        ("##........", [(0, 2)]),
        ("........##", [(8, 10)]),
        ("##########", [(0, 10)]),
        ("..#+......", [(2, 4)]),  # it need not stay up for min_duration_on
        ("..#.+.....", [(2, 5)]),
        ("..#..#..#.", []),  # blips, each too short and a lull apart
    ],
)
def test_two_thresholds_and_two_durations_make_events(
    scores: str, events: list[tuple[int, int]]
):
    tested = detector(rule(min_duration_on=2, min_duration_off=2))
    assert intervals(detected(tested, drawn(scores))) == events


@pytest.mark.parametrize(
    ("scores", "reported_at"),
    [
        ("..####....", 5),  # after min_duration_on
        ("..#+#.....", 5),
        ("..#.#.....", 5),  # the lull belongs to the sound
    ],
)
def test_the_onset_is_reported_as_soon_as_it_can_be(scores: str, reported_at: int):
    tested = detector(rule(min_duration_on=3, min_duration_off=2))
    assert onsets(detected(tested, drawn(scores))) == [(2, reported_at)]


def test_the_event_is_reported_when_the_lull_is_long_enough():
    tested = detector(rule(min_duration_off=3))
    frames = drawn("..##.......")
    event = detected(tested, frames)[-1]
    assert (event.record.stop, event.reported_at) == (4, 7)


@pytest.mark.parametrize(
    ("scores", "events"),
    [
        ("..##..#...", [(2, 4)]),
        ("..##...##.", [(2, 4), (7, 9)]),
        ("..##.####.", [(2, 4), (7, 9)]),  # begins when it may, if it still sounds
        ("..#.#.#.#.", [(2, 3), (6, 7)]),
    ],
)
def test_no_event_begins_in_the_refractory_time(
    scores: str, events: list[tuple[int, int]]
):
    tested = detector(rule(refractory=3))
    assert intervals(detected(tested, drawn(scores))) == events


def test_a_sound_too_short_to_be_reported_has_no_refractory_time():
    tested = detector(rule(refractory=5, min_duration_on=2, min_duration_off=1))
    assert intervals(detected(tested, drawn("..#..##..."))) == [(5, 7)]


@pytest.mark.parametrize(
    ("scores", "events"),
    [
        ("..9.......", []),  # one window of three
        ("..99......", []),  # 0.6 of 0.7
        ("..999.....", [(2, 5)]),  # begins where the averaged windows do
        ("..9.99....", []),
        ("..8.98....", []),
        (".59999....", [(1, 6)]),  # a window in the average, above offset
        ("..999.9...", [(2, 7)]),
        ("999..9....", [(0, 3)]),  # the scores of an event help no other
        ("999..999..", [(0, 3), (5, 8)]),
        ("9.........", [(0, 1)]),  # at the start there is nothing else to average
    ],
)
def test_thresholds_apply_to_averaged_scores(
    scores: str, events: list[tuple[int, int]]
):
    tested = detector(rule(smoothing_hops=3, min_duration_off=2))
    assert intervals(detected(tested, drawn(scores))) == events


def test_the_windows_of_an_event_make_no_second_one():
    tested = detector(rule(smoothing_hops=4, onset_threshold=0.45))
    records = detected(tested, drawn("99.99...."))
    assert intervals(records) == [(0, 2), (3, 5)]
    assert records[-1].record.mean_score == 0.9


@pytest.mark.parametrize(
    ("scores", "stop"),
    [("..999..5......", 5), ("..999..8......", 5), ("..999..88.....", 9)],
)
def test_a_window_does_not_count_while_the_average_is_below_the_offset_threshold(
    scores: str, stop: int
):
    tested = detector(rule(smoothing_hops=3, min_duration_off=4))
    assert intervals(detected(tested, drawn(scores))) == [(2, stop)]


@pytest.mark.parametrize(
    ("this", "other", "events"),
    [
        ("..88..", "..66..", []),  # nearer than the margin
        ("..88..", "..55..", [(2, 4)]),
        ("..88..", "..65..", [(3, 4)]),
        ("..888.", "..589.", [(2, 5)]),  # it matters for the begin alone
    ],
)
def test_a_label_begins_only_a_margin_above_every_other(
    this: str, other: str, events: list[tuple[int, int]]
):
    tested = detector(rule(margin=0.25), rule(onset_threshold=0.95))
    assert intervals(detected(tested, drawn(this, other))) == events


def test_a_distance_that_equals_the_margin_is_enough():
    tested = detector(rule(margin=0.8 - 0.5), rule(onset_threshold=0.95))
    assert intervals(detected(tested, drawn("..88..", "..55.."))) == [(2, 4)]


def test_without_a_margin_labels_sound_together():
    records = detected(detector(rule(), rule()), drawn("..88..", "..99.."))
    assert intervals(records, "a") == intervals(records, "b") == [(2, 4)]


@pytest.mark.parametrize(
    ("scores", "gate", "events"),
    [
        ("..######..", "__________", []),
        ("..######..", "____......", [(4, 8)]),
        ("..######..", "......____", [(2, 6)]),  # silence does not prolong
        ("..######..", "...._.....", [(2, 8)]),
    ],
)
def test_scores_below_the_level_gate_do_not_count(
    scores: str, gate: str, events: list[tuple[int, int]]
):
    tested = detector(rule(min_duration_off=2))
    assert intervals(detected(tested, drawn(scores, gate=gate))) == events


def test_scores_of_silence_do_not_raise_the_average():
    tested = detector(rule(smoothing_hops=3))
    assert detected(tested, drawn("9995....", gate="___.....")) == []


def test_no_label_begins_in_silence_when_its_rival_falls_silent():
    tested = detector(
        rule(smoothing_hops=3, onset_threshold=0.5, margin=0.2),
        rule(onset_threshold=0.95),
    )
    scores = (".99..", "99...")
    assert detected(tested, drawn(*scores, gate="...__")) == []


drawings = st.text("0123456789", max_size=60)


@given(
    drawings,
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(0, 4),
    st.integers(0, 4),
)
def test_a_higher_onset_threshold_never_yields_more(
    scores: str, low: int, more: int, min_on: int, min_off: int
):
    def sounding(onset: float) -> set[int]:
        tested = detector(
            rule(
                onset_threshold=onset,
                offset_threshold=min(0.1, onset),
                min_duration_on=min_on,
                min_duration_off=min_off,
            )
        )
        found = intervals(detected(tested, drawn(scores)))
        return {moment for start, stop in found for moment in range(start, stop)}

    assert sounding(min(low + more, 10) / 10) <= sounding(low / 10)


def followed(scores: str, at: int, **changes: float) -> list[tuple[int, int]]:
    """Events when another detector, of a changed rule, follows before window `at`."""
    before = detector(rule(min_duration_off=2))
    frames = drawn(scores)
    found = [Detected(r, None) for f in frames[:at] for r in before.push(f)]
    found += [Detected(r, None) for r in before.finish("reloaded")]
    after = Detector(
        "street",
        ["a"],
        {"a": rule(**{"min_duration_off": 2, **changes})},
        GATE_DBFS,
        "m",
        "session",
        seen_until=before.seen_until,
        horizons=before.horizons,
    )
    return intervals(found + detected(after, frames[at:]))


@pytest.mark.parametrize(
    ("scores", "at", "changes", "events"),
    [
        ("..####.....", 2, {}, [(2, 6)]),
        ("..####.....", 7, {}, [(2, 6)]),
        ("..########.", 5, {}, [(2, 5), (7, 10)]),  # it goes on as another event
        ("..####.....", 6, {}, [(2, 6)]),  # what is over begins nothing
        ("..########.", 5, {"onset_threshold": 0.95}, [(2, 5)]),
        ("..########.", 5, {"min_duration_on": 3}, [(2, 5), (7, 10)]),
        ("..########.", 5, {"min_duration_on": 4}, [(2, 5)]),
    ],
)
def test_a_detector_that_follows_another_repeats_no_event(
    scores: str, at: int, changes: dict[str, float], events: list[tuple[int, int]]
):
    assert followed(scores, at, **changes) == events


def test_a_sound_that_was_not_reported_yet_is_reported_by_the_detector_that_follows():
    before = detector(rule(min_duration_on=3))
    frames = drawn("..#####....")
    assert [record for frame in frames[:3] for record in before.push(frame)] == []
    assert before.finish("reloaded") == []
    assert before.horizons == {"a": Horizon()}


def test_the_refractory_time_goes_on_in_the_detector_that_follows():
    before = detector(rule(refractory=4))
    for frame in drawn("..##..."):
        before.push(frame)
    after = Detector(
        "street", ["a"], {"a": rule()}, GATE_DBFS, "m", "s", horizons=before.horizons
    )
    assert intervals(detected(after, drawn(".....#####.")[5:])) == [(8, 10)]


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(1, 12))
def test_the_average_is_the_mean_of_the_newest_scores(scores: list[float], hops: int):
    average = MovingAverage(hops)
    means = [average.push(score) for score in scores]
    wanted = [np.mean(scores[max(0, n - hops + 1) : n + 1]) for n in range(len(scores))]
    assert means == pytest.approx(wanted)


def test_a_restarted_average_forgets_its_scores():
    average = MovingAverage(3)
    average.push(1.0)
    average.restart()
    assert average.push(0.2) == 0.2


def test_silenced_scores_count_as_zeros():
    average = MovingAverage(3)
    average.push(1.0)
    average.push(1.0)
    average.silence()
    assert average.push(0.9) == pytest.approx(0.3)
