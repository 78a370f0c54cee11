"""The background of a window: what its source sounded like some seconds before."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitor.model.background import Background
from monitor.spec import BackgroundSpec, ModelSpec

SPEC = ModelSpec(
    sample_rate=4_000,
    hop_length=400,  # 10 frames a second
    n_fft=512,
    f_max=1_900,
    background=BackgroundSpec(longest_hold_seconds=10.0),
)
EVERY = 5
"""Frames from a window to the next."""

# A window is drawn as one character: # something sounds   . nothing does
# s it is below the level gate   - it is left out
HOLD = "#"


def backgrounds(drawn: str) -> list[list[int]]:
    """Windows whose mean is the background of each computed one."""
    background = Background(SPEC)
    found = []
    for number, each in enumerate(drawn):
        if each == "s":
            background.end_hold()
        if each in "s-":
            continue
        before = background.before(EVERY * number)
        found.append([] if before is None else np.flatnonzero(before).tolist())
        if before is not None:
            assert before.sum() == pytest.approx(1)
            assert before.dtype == np.float32
        embedding = np.eye(len(drawn), dtype=np.float32)[number]
        score = 0.5 if each == HOLD else 0.49
        background.add(EVERY * number, embedding, np.array([0.1, score], np.float32))
    return found


def test_there_is_none_until_a_window_ended_three_seconds_ago():
    found = backgrounds(8 * ".")
    assert found == [[], [], [], [], [], [], [0], [0, 1]]


def test_it_is_the_mean_of_the_windows_that_ended_three_to_seven_seconds_ago():
    assert backgrounds(21 * ".")[-1] == [6, 7, 8, 9, 10, 11, 12, 13, 14]


def test_windows_in_which_something_sounds_do_not_become_background():
    found = backgrounds(20 * "." + 5 * "#" + 12 * ".")
    assert found[31] == [17, 18, 19, 25]
    assert found[-1] == [25, 26, 27, 28, 29, 30]


def test_the_background_stays_as_it_is_while_something_sounds_and_until_more_is_known():
    found = backgrounds(20 * "." + 16 * "#" + 7 * ".")
    before_it = [6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert found[20:36] == 16 * [before_it]
    # Of the windows before the sound those remain that are not too old.
    assert found[36:42] == 6 * [before_it]
    assert found[42] == [36]


def test_a_sound_that_begins_with_the_source_has_no_background():
    assert backgrounds(8 * "#") == [[]] * 8


@pytest.mark.parametrize(("silent", "expected"), [(14, [0, 1, 2, 3, 4]), (15, [])])
def test_the_last_one_stays_for_a_time_after_it_became_too_old(
    silent: int, expected: list[int]
):
    """Seven seconds after its newest window, and ten more: at window 4 + 14 + 20."""
    found = backgrounds(10 * "." + 14 * "#" + silent * "s" + ".")
    assert found[23] == [0, 1, 2, 3, 4]
    assert found[-1] == expected


def test_a_sound_that_lasts_becomes_background_after_the_longest_hold():
    found = backgrounds(20 * "." + 40 * "#")
    becomes = 20 + 20  # windows of ten seconds
    assert found[becomes + 5] == [6, 7, 8, 9, 10, 11, 12, 13, 14]
    assert found[becomes + 6] == [becomes]
    assert found[-1] == [*range(becomes + 5, becomes + 14)]


def test_after_a_pause_sounds_are_held_again():
    found = backgrounds(6 * "." + 30 * "#" + "." + 15 * "#")
    assert found[-15:] == 15 * [[26, 27, 28, 29, 30, 31]]


def test_a_silent_window_ends_a_hold_and_one_left_out_does_not():
    """A bark every few seconds in a silent yard never becomes background."""
    barks = 12 * "##ss"
    assert backgrounds(barks)[-1] == []
    assert backgrounds(12 * "##--")[-1] != []


def test_a_window_that_comes_twice_counts_once():
    background = Background(SPEC)
    for value in (1, 2):
        background.add(0, np.full(1, value, np.float32), np.zeros(1, np.float32))
    background.add(5, np.full(1, 4, np.float32), np.zeros(1, np.float32))
    before = background.before(35)
    assert before is not None
    assert before.tolist() == [2.5]


RUNS = st.tuples(st.sampled_from("#.s-"), st.integers(1, 25))


@given(st.lists(RUNS, max_size=6))
def test_it_is_never_too_new_nor_too_old_nor_of_a_sound_that_has_just_begun(
    runs: list[tuple[str, int]],
):
    drawn = "".join(each * count for each, count in runs)
    computed = [number for number, each in enumerate(drawn) if each in "#."]
    for number, windows in zip(computed, backgrounds(drawn), strict=True):
        if windows:
            assert 6 <= number - max(windows) <= 14 + 20
        for window in windows:
            ended = max(drawn.rfind(each, 0, window) for each in ".s")
            assert drawn[window] == "." or window - drawn.index("#", ended + 1) >= 20


@pytest.mark.parametrize(
    ("fields", "rule"),
    [
        ({"oldest_seconds": 2.0}, "oldest_seconds: 2.0 lies after newest_seconds"),
        ({"newest_seconds": 0.0}, "newest_seconds"),
        ({"hold_score": 1.5}, "hold_score"),
        ({"oldest_seconds": 1e9}, "oldest_seconds"),
    ],
)
def test_an_impossible_spec_is_rejected(fields: dict[str, float], rule: str):
    with pytest.raises(ValidationError, match=rule):
        BackgroundSpec.model_validate(fields)
