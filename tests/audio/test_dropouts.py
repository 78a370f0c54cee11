"""One loss becomes few gaps, soon told, and no sample of it is forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.dropouts import Losses
from monitor.records import Gap, GapReason
from tests.support.timelines import RATE, make_feed

REASONS: list[GapReason] = ["stalled", "unplugged", "invalid"]


def test_a_short_loss_is_one_gap_when_sound_follows() -> None:
    timeline = make_feed()
    losses = Losses(timeline)
    for _ in range(RATE - 1):
        losses.add(1, "invalid")
    assert timeline.take() == []
    losses.settle()
    assert timeline.take() == [Gap("street", 0, RATE - 1, "invalid")]


def test_a_loss_that_goes_on_is_told_after_a_second_and_then_every_ten_minutes() -> (
    None
):
    timeline = make_feed()
    losses = Losses(timeline)
    told = []
    for second in range(1, 3600):
        losses.add(RATE, "unplugged")
        if timeline.take():
            told.append(second)
    assert told == [1, 601, 1201, 1801, 2401, 3001]


def test_after_sound_the_next_loss_is_told_soon_again() -> None:
    timeline = make_feed()
    losses = Losses(timeline)
    losses.add(5 * RATE, "ended")
    losses.settle()
    timeline.take()
    losses.add(RATE, "ended")
    assert timeline.take() == [Gap("street", 5 * RATE, 6 * RATE, "ended")]


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from(REASONS))))
def test_every_lost_sample_is_told_with_its_reason(
    additions: list[tuple[int, GapReason]],
) -> None:
    timeline = make_feed()
    losses = Losses(timeline)
    for count, reason in additions:
        losses.add(count, reason)
    losses.settle()
    expected = [reason for count, reason in additions for _ in range(count)]
    found = [
        gap.reason
        for gap in timeline.take()
        if isinstance(gap, Gap)
        for _ in range(gap.start, gap.stop)
    ]
    assert found == expected
