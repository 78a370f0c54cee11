"""The head of a taught label: its direction, its threshold and its alarms."""

import numpy as np
import pytest

from monitor.model.head_fit import (
    LEAST_THRESHOLD,
    MARGIN,
    MOST_ABOVE,
    Discriminant,
    alarm_starts,
    levels_of,
    other_sound,
    quiet_deviation,
)

RNG = np.random.default_rng(3)
SPREAD = np.array([5.0, 1.0, 1.0, 0.2])
NEGATIVES = RNG.standard_normal((500, 4)) * SPREAD


def test_deviations_of_the_negatives_have_mean_0_and_variance_1() -> None:
    head = Discriminant([NEGATIVES]).fit(np.array([[3.0, 2.0, 0.0, 1.0]]))
    deviations = head(NEGATIVES)
    assert deviations.mean() == pytest.approx(0, abs=1e-9)
    assert deviations.std() == pytest.approx(1, abs=1e-9)


def test_a_kind_of_negatives_weighs_the_same_however_many_it_has() -> None:
    other = RNG.standard_normal((300, 4)) + 2
    once = Discriminant([NEGATIVES, other]).fit(np.ones((1, 4)))
    often = Discriminant([NEGATIVES, np.tile(other, (5, 1))]).fit(np.ones((1, 4)))
    assert once.weights == pytest.approx(often.weights)


def test_the_head_looks_where_negatives_do_not_differ_anyway() -> None:
    # The example lies as far along the wide direction as along the narrow one.
    head = Discriminant([NEGATIVES]).fit(np.array([[2.0, 0.0, 0.0, 2.0]]))
    assert head.weights[3] > 3 * head.weights[0] > 0


def test_an_example_left_out_does_not_help_itself() -> None:
    clips = [np.array([[0.0, 0.0, 8.0, 0.0]])] * 4 + [np.array([[0.0, 8.0, 0.0, 0.0]])]
    left_out = Discriminant([NEGATIVES]).leave_one_out(clips)
    assert (left_out[:4] > 3).all()
    assert left_out[4] < 1


def test_two_sounds_are_told_apart_and_one_is_not() -> None:
    discriminant = Discriminant([NEGATIVES])
    one = np.array([0.0, 6.0, 0.0, 0.0]) + 0.3 * RNG.standard_normal((5, 4)) * SPREAD
    two = np.array([0.0, -1.0, 6.0, 0.0]) + 0.3 * RNG.standard_normal((2, 4)) * SPREAD
    assert other_sound(discriminant.cosines(one)) == ()
    assert other_sound(discriminant.cosines(np.vstack([one, two]))) == (5, 6)


def test_of_two_equal_groups_the_later_one_is_the_other_sound() -> None:
    cosines = np.kron(np.eye(2), np.ones((2, 2)))
    assert other_sound(cosines) == (2, 3)


def test_the_threshold_lies_between_quiet_places_and_the_examples() -> None:
    levels = levels_of(np.array([9.0, 10.0, 11.0, 12.0, 13.0]), quiet=3.0)
    assert levels.is_supported
    assert 3.0 + MARGIN < levels.threshold < 10.0
    assert levels.lowest < levels.threshold < levels.highest


def test_examples_from_a_quiet_room_do_not_carry_the_threshold_away() -> None:
    levels = levels_of(np.full(5, 100.0), quiet=3.0)
    assert levels.threshold == 3.0 + MARGIN + MOST_ABOVE


def test_half_of_the_examples_are_detected_where_places_are_loud() -> None:
    left_out = np.array([4.0, 5.0, 6.0, 7.0])
    levels = levels_of(left_out, quiet=20.0)
    assert not levels.is_supported
    assert (left_out >= levels.threshold).sum() == 2


def test_the_threshold_is_never_among_ordinary_sounds() -> None:
    assert levels_of(np.array([-1.0, 0.0, 1.0]), quiet=0.0).threshold == LEAST_THRESHOLD


@pytest.mark.parametrize(
    ("drawing", "starts"),
    [
        # '#' at or above the threshold, '|' the next place; a window a second
        (".##..#...|...", [1]),
        (".#..|.#......", [1, 6]),
        (".#......#|...", [1, 8]),
        ("........#|#..", [8, 10]),
        ("......", []),
    ],
)
def test_alarms_are_runs_of_windows_in_one_place(
    drawing: str, starts: list[int]
) -> None:
    places = np.cumsum([sign == "|" for sign in drawing])
    deviations = np.array([float(sign == "#") for sign in drawing])
    seconds = np.arange(len(drawing), dtype=np.float64)
    found = alarm_starts(deviations, places, seconds, 0.5, 6.0)
    assert found.tolist() == starts


def test_quiet_is_what_all_but_the_permitted_alarms_reach() -> None:
    deviations = np.array([1.0, 9.0, 8.0, 1.0, 5.0, 1.0, 3.0])
    places, seconds = np.arange(7) // 3, np.arange(7.0)
    assert quiet_deviation(deviations, places, seconds, 0, 2.0) == 9.0
    # 8 belongs to the alarm of 9.
    assert quiet_deviation(deviations, places, seconds, 1, 2.0) == 5.0
    assert quiet_deviation(np.ones(3), places[:3], seconds[:3], 5, 2.0) == 1.0
