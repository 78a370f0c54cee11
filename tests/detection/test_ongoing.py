"""The detector hands out what goes on, with the facts of all windows since it began."""

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.detection.detector import begin_ongoing, update_ongoing
from monitor.records import Event, Ongoing, Onset, ScoreFrame
from tests.support.detection import detector, rule
from tests.support.scores import drawn

Step = tuple[ScoreFrame, list[Onset | Event], tuple[Ongoing, ...]]


def steps(*scores: str, **changes: float) -> list[Step]:
    """Every frame, what it made known, and what goes on in it; a label for each row."""
    tested = detector(*[rule(**changes)] * len(scores))
    return [(frame, tested.push(frame), tested.ongoing) for frame in drawn(*scores)]


@pytest.mark.parametrize(
    ("scores", "ongoing"),
    [
        # # goes on   . does not
        ("..88811.....", "..#####....."),  # from the onset's frame to the event's
        ("..8........8", "..###......#"),
        ("............", "............"),
    ],
)
def test_an_occurrence_is_in_every_frame_from_its_onset_to_its_event(
    scores: str, ongoing: str
) -> None:
    taken = steps(scores, min_duration_off=2)
    assert "".join("#" if known else "." for _, _, known in taken) == ongoing


def test_occurrences_stand_in_the_order_of_their_onsets() -> None:
    last = steps("...888", ".88888", "888888")[-1][2]
    assert [known.label for known in last] == ["c", "b", "a"]


@settings(max_examples=60, deadline=None)
@given(
    st.text("1345789", min_size=1, max_size=40),
    st.integers(0, 3),
    st.integers(1, 3),
    st.integers(1, 4),
)
def test_hits_and_windows_are_those_since_the_start(
    scores: str, on: int, off: int, hops: int
) -> None:
    """Counted again over all frames, also those before the onset was detected."""
    taken = steps(scores, min_duration_on=on, min_duration_off=off, smoothing_hops=hops)
    frames = [frame for frame, _, _ in taken]
    for at, (_, _, ongoing) in enumerate(taken):
        for known in ongoing:
            since = [f for f in frames[: at + 1] if f.stop > known.start]
            assert known.windows == len(since)
            hits = [f for f in since if f.scores[0] >= 0.7]
            assert known.hits == len(hits)
            assert known.stop == max((f.spans[0][1] for f in hits), default=known.stop)


def test_scores_and_levels_go_on_from_those_of_the_onset() -> None:
    taken = steps("..7918..", min_duration_off=4)
    (onset,) = taken[2][1]
    assert isinstance(onset, Onset)
    (at_onset,), (later,), (last,) = (taken[at][2] for at in (2, 3, 5))
    assert (at_onset.id, at_onset.start) == (onset.id, onset.start)
    assert at_onset.mean_score == onset.mean_score == 0.7
    assert (later.peak_score, later.mean_score) == (0.9, pytest.approx(0.8))
    assert last.mean_score == pytest.approx((0.7 + 0.9 + 0.1 + 0.8) / 4)
    assert last.peak_score == 0.9


def test_the_level_is_the_energy_mean_of_the_hops() -> None:
    frames = [
        replace(frame, level_dbfs=level, laeq_db=level + 90)
        for frame, level in zip(drawn("888"), (-30.0, -20.0, -math.inf), strict=True)
    ]
    (onset,) = detector(rule()).push(frames[0])
    assert isinstance(onset, Onset)
    known = begin_ongoing(onset, frames[:1], 0, 0.7)
    known = update_ongoing(known, frames[1], 0, 0.7)
    assert known.level_dbfs == -20.0
    mean = 90 + 10 * math.log10((1e-3 + 1e-2) / 2)
    assert known.laeq_db == pytest.approx(mean)
    # Digital silence has no level, and does not change the mean.
    assert update_ongoing(known, frames[2], 0, 0.7).laeq_db == pytest.approx(mean)


def test_a_hit_that_ends_earlier_does_not_shorten_it() -> None:
    first, second = drawn("88", hop=10)
    (onset,) = detector(rule()).push(first)
    assert isinstance(onset, Onset)
    known = begin_ongoing(onset, [first], 0, 0.7)
    earlier = update_ongoing(known, replace(second, spans=((2, 5),)), 0, 0.7)
    assert earlier.stop == known.stop == 10
    assert update_ongoing(earlier, second, 0, 0.7).stop == 20
