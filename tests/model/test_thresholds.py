"""The curve of a label is checked, interpolated in logits, and moved with care."""

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model.thresholds import CurvePoint, Thresholds, highest_rate
from tests.support.curves import curve_of, thresholds_on_curve

ONSETS = (0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2)


def logit(score: float) -> float:
    return math.log(score / (1 - score))


def test_a_card_of_before_has_no_curve():
    before = Thresholds.model_validate_json('{"onset": 0.7, "offset": 0.5}')
    assert before.curve == ()
    assert before.onset_at(0.5) is None
    assert before.expected_at(0.7) is None
    assert before.curve_through(0.7) == ()


@pytest.mark.parametrize(
    ("onset", "changes", "rule"),
    [
        (0.6, {}, "its onset at sensitivity 0.5 is 0.7, and that of the label 0.6"),
        (0.7, {10: None}, "has 10 points, not 11"),
        (0.7, {3: {"onset": 0.9}}, "an onset rises with the sensitivity"),
        (0.7, {3: {"onset": 1.0}}, "less than or equal to 0.999999"),
        (0.7, {3: {"onset": 1e-300}}, "greater than or equal to 0.000001"),
        (0.7, {3: {"detected_near": 1.01}}, "less than or equal to 1"),
        (0.7, {3: {"detected_far": -0.01}}, "greater than or equal to 0"),
        (0.7, {3: {"detected_far": math.nan}}, "finite"),
        (0.7, {3: {"latency_seconds": math.inf}}, "finite"),
        (0.7, {3: {"latency_seconds": -1.0}}, "greater than or equal to 0"),
        (0.7, {3: {"false_alarms_per_hour": 1e300}}, "less than or equal to 1000000"),
        (0.7, {3: {"false_alarms_per_hour": 99.0}}, "99.0 is above their limit"),
        (0.7, {3: {"recall": 0.5}}, "Extra inputs"),
    ],
)
def test_a_curve_that_breaks_a_rule_is_rejected(
    onset: float, changes: dict[int, dict[str, Any] | None], rule: str
):
    points = [point.model_dump() for point in curve_of(ONSETS)]
    for index, change in changes.items():
        if change is None:
            del points[index]
        else:
            points[index].update(change)
    with pytest.raises(ValidationError, match=rule) as caught:
        Thresholds.model_validate({"onset": onset, "offset": 0.1, "curve": points})
    assert caught.value.error_count() == 1


def test_neighbours_may_have_the_same_threshold_and_no_latency():
    onsets = (0.9,) * 5 + (0.7,) * 6
    assert thresholds_on_curve(onsets).onset_at(1) == 0.7
    silent = [
        {**point.model_dump(), "latency_seconds": None} for point in curve_of(ONSETS)
    ]
    Thresholds.model_validate({"onset": 0.7, "offset": 0.1, "curve": silent})


def test_the_points_are_read_as_they_are():
    found = thresholds_on_curve(ONSETS)
    assert [found.onset_at(index / 10) for index in range(11)] == list(ONSETS)
    assert [found.expected_at(onset) for onset in ONSETS] == list(found.curve)


def test_between_two_points_onsets_are_interpolated_in_logits():
    onset = thresholds_on_curve(ONSETS).onset_at(0.925)
    assert onset == pytest.approx(
        1 / (1 + math.exp(-(0.75 * logit(0.3) + 0.25 * logit(0.2))))
    )


def test_figures_between_two_points_are_interpolated():
    found = thresholds_on_curve(ONSETS)
    onset = found.onset_at(0.625)
    assert onset is not None
    expected = found.expected_at(onset)
    assert expected is not None
    for name in set(CurvePoint.model_fields) - {"onset"}:
        left, right = (getattr(found.curve[index], name) for index in (6, 7))
        value = 0.75 * left + 0.25 * right
        assert getattr(expected, name) == pytest.approx(value), name


def test_a_latency_is_known_as_soon_as_something_is_detected():
    points = list(curve_of(ONSETS))
    for index in range(3):
        points[index] = points[index].model_copy(update={"latency_seconds": None})
    found = Thresholds(onset=0.7, offset=0.5, curve=tuple(points))
    for onset, latency in ((0.87, None), (0.82, points[3].latency_seconds)):
        expected = found.expected_at(onset)
        assert expected is not None
        assert expected.latency_seconds == latency


@pytest.mark.parametrize("onset", [0.951, 0.199])
def test_nothing_is_known_beyond_the_ends(onset: float):
    found = thresholds_on_curve(ONSETS)
    assert found.expected_at(onset) is None
    assert found.curve_through(onset) == ()


def test_a_curve_moves_to_another_threshold_and_keeps_its_ends():
    found = thresholds_on_curve(ONSETS)
    moved = found.curve_through(0.5)  # the old point 7
    assert moved[5] == found.curve[7]
    assert (moved[0], moved[10]) == (found.curve[0], found.curve[10])
    assert moved[1].onset == pytest.approx(found.onset_at(0.14))
    assert moved[6].onset == pytest.approx(found.onset_at(0.76))
    assert found.curve_through(0.7) == found.curve


def test_the_threshold_itself_moves_nothing_among_equal_ones():
    found = thresholds_on_curve((0.9,) * 3 + (0.7,) * 5 + (0.5,) * 3)
    assert found.curve_through(0.7) == found.curve
    assert found.expected_at(0.7) == found.curve[5]


@pytest.mark.parametrize("towards", [0.0, 1.0])
@pytest.mark.parametrize("index", range(11))
def test_rounding_does_not_turn_a_curve_around(index: int, towards: float):
    found = thresholds_on_curve(ONSETS)
    onset = ONSETS[index]
    for _ in range(20):
        onset = math.nextafter(onset, towards)
        points = [point.model_dump() for point in found.curve_through(onset)]
        Thresholds.model_validate({"onset": onset, "offset": 0.01, "curve": points})


scores = st.floats(0.01, 0.99)


@example([0.5] * 9 + [0.01, math.nextafter(0.01, 1)], 0, 0.01)  # their logits are equal
@given(st.lists(scores, min_size=11, max_size=11), st.floats(0, 1), scores)
def test_whatever_the_curve_it_falls_and_moves_to_a_valid_one(
    onsets: list[float], sensitivity: float, onset: float
):
    found = thresholds_on_curve(sorted(onsets, reverse=True))
    chosen = found.onset_at(sensitivity)
    assert chosen is not None
    assert found.curve[-1].onset <= chosen <= found.curve[0].onset
    assert found.expected_at(chosen) is not None
    assert chosen > (found.onset_at(min(1.0, sensitivity + 0.01)) or 1) - 1e-12
    for at in (onset, chosen):
        points = [point.model_dump() for point in found.curve_through(at)]
        Thresholds.model_validate({"onset": at, "offset": 0.01, "curve": points})


def test_what_is_interpolated_lies_between_its_neighbours():
    """A share a hair above 1 would be refused when the file is read."""
    onsets = [0.94, 0.91, 0.84, 0.77, 0.73, 0.6519, 0.5877, 0.5266, 0.43, 0.39, 0.3369]
    found = thresholds_on_curve(onsets)
    last = found.curve[-1].model_copy(update={"detected_near": 1.0})
    found = found.model_copy(update={"curve": (*found.curve[:-1], last)})
    for thousandth in range(338, 939):
        onset = thousandth / 1000
        points = [point.model_dump() for point in found.curve_through(onset)]
        Thresholds.model_validate({"onset": onset, "offset": 0.01, "curve": points})


def test_a_threshold_that_detection_cannot_use_is_refused():
    with pytest.raises(ValidationError, match=r"greater than or equal to 0\.000001"):
        Thresholds(onset=0.5, offset=5e-324)


@pytest.mark.parametrize(
    ("count", "limit"), [(0, 2.996), (1, 4.744), (10, 16.962), (1000, 1053.60)]
)
def test_the_upper_limit_of_a_rate_is_that_of_the_tables(
    count: int, limit: float
) -> None:
    # 95 % one-sided limits of a Poisson mean: half of the quantile of chi-squared.
    assert highest_rate(count, 1.0) == pytest.approx(limit, rel=2e-4)
    assert highest_rate(count, 4.0) == highest_rate(count, 1.0) / 4
