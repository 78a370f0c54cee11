"""Many short losses become few gaps, and none of their samples is forgotten."""

from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.records import Gap, GapReason
from monitor.runtime.gaps import ShortLosses

RATE = 100


def reported(losses: Sequence[Gap]) -> list[Gap]:
    """The gaps of losses, which are analysed one by one."""
    gaps = ShortLosses(RATE)
    found: list[Gap] = []
    for loss in losses:
        found += gaps.complete(loss.source, loss.start)
        found += gaps.add(loss)
    return [*found, *gaps.take("street")]


@pytest.mark.parametrize("reason", ["overload", "overrun", "stalled", "invalid"])
def test_losses_close_together_are_one_gap_that_says_how_much_was_lost(
    reason: GapReason,
) -> None:
    gaps = ShortLosses(RATE)
    for start in (0, 200, 400):
        assert gaps.add(Gap("street", start, start + 50, reason)) == []
    assert gaps.add(Gap("yard", 0, 10, reason)) == []
    assert gaps.complete("street", 949) == []
    joined = Gap("street", 0, 450, reason, 150)
    assert gaps.complete("street", 950) == [joined]
    assert gaps.take("street") == gaps.complete("street", 5000) == []


def test_a_gap_that_goes_on_is_reported_now_and_then() -> None:
    losses = [Gap("street", at, at + 2, "stalled") for at in range(0, 18_000, 4)]
    found = reported(losses)
    assert len(found) == 6
    assert sum(gap.left_out or 0 for gap in found) == 9000


def test_a_loss_by_itself_is_lost_whole() -> None:
    losses = [Gap("street", at, at + 20, "stalled") for at in (0, 600, 1200)]
    assert reported(losses) == losses


@pytest.mark.parametrize(
    ("count", "reason"), [(RATE, "stalled"), (20, "ended"), (20, "unplugged")]
)
def test_a_long_loss_and_the_end_of_a_source_are_reported_at_once(
    count: int, reason: GapReason
) -> None:
    gaps = ShortLosses(RATE)
    gaps.add(Gap("street", 0, 20, "stalled"))
    loss = Gap("street", 100, 100 + count, reason)
    assert gaps.add(loss) == [Gap("street", 0, 20, "stalled"), loss]


def test_losses_of_two_reasons_that_alternate_are_two_gaps() -> None:
    reasons: tuple[GapReason, GapReason] = ("stalled", "invalid")
    losses = [Gap("street", at, at + 1, reasons[at % 2]) for at in range(1000)]
    assert [(it.reason, it.left_out) for it in reported(losses)] == [
        ("stalled", 500),
        ("invalid", 500),
    ]


@given(st.lists(st.tuples(st.integers(0, 900), st.integers(1, 300))))
def test_all_that_is_lost_is_reported(parts: list[tuple[int, int]]) -> None:
    losses: list[Gap] = []
    at = 0
    for heard, lost in parts:
        losses.append(Gap("street", at + heard, at + heard + lost, "overrun"))
        at += heard + lost
    found = reported(losses)
    lost = sum(gap.left_out or gap.stop - gap.start for gap in found)
    assert lost == sum(gap.stop - gap.start for gap in losses)
    assert all(a.stop <= b.start for a, b in pairwise(found))
