"""A label is judged on what neither fitted its head nor set its threshold."""

import numpy as np
import pytest

from monitor.model.negatives import Negatives, NegativesCard
from monitor.model.taught_fit import detected_left_out, fit, unseen_places

FEATURES = 4
WINDOWS = 200
"""Of each of the sounds and places."""


def negatives(loud_place: float = 0.0) -> Negatives:
    """Noise; the last of four places has windows of the label, at a level."""
    rng = np.random.default_rng(2)
    values = rng.standard_normal((5 * WINDOWS, FEATURES))
    values[-WINDOWS::50, 0] += loud_place
    card = NegativesCard(
        model="world",
        network="0" * 64,
        sounds=("all",),
        places=("one", "two", "three", "four"),
        hop_seconds=5.0,
    )
    kinds = np.arange(5).repeat(WINDOWS)
    return Negatives(card, values.astype(np.float32), kinds)


def clips(*levels: float) -> list[np.ndarray]:
    """Examples that differ in their level alone."""
    return [level * np.eye(FEATURES)[:1] for level in levels]


def test_examples_alike_are_detected_by_what_the_others_teach() -> None:
    given, found = clips(9, 10, 11, 12), negatives()
    assert detected_left_out(given, found, fit(given, found)) == (True,) * 4


def test_a_weak_example_does_not_lower_the_threshold_that_judges_it() -> None:
    given, found = clips(10, 7.5, 10), negatives()
    fitted = fit(given, found)
    # The threshold of all three is one that the weak one reaches, by its own doing.
    left_out = fitted.discriminant.leave_one_out(given)
    assert left_out[1] >= fitted.levels.threshold
    assert detected_left_out(given, found, fitted) == (True, False, True)


def test_examples_of_other_sounds_do_not_detect_each_other() -> None:
    given = [10 * np.eye(FEATURES)[index : index + 1] for index in range(3)]
    found = negatives()
    assert detected_left_out(given, found, fit(given, found)) == (False,) * 3


@pytest.mark.parametrize(("level", "alarms"), [(0.0, 0), (30.0, 4)])
def test_places_are_judged_by_a_threshold_from_others(
    level: float, alarms: int
) -> None:
    found = unseen_places(clips(9, 10, 11), negatives(level), None)
    assert found.alarms(0.0) == alarms
