"""An overflow is measured by how much later the blocks come."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.sources.portaudio_child import OverflowMeter

RATE = 48_000
CALLBACK = 480  # samples
JITTER = 0.02  # seconds


def run_meter(
    delays: list[float], overflows: dict[int, int], speed: float = 1.0
) -> list[int]:
    """Feed a meter with blocks that come `delays` late; return the losses it finds.

    `overflows` gives the samples lost before a block; `speed` is that of the sound
    card's clock.
    """
    meter = OverflowMeter(RATE)
    position = 0
    found = []
    for index, delay in enumerate(delays):
        position += overflows.get(index, 0) + CALLBACK
        at = 5.0 + position / (RATE * speed) + delay
        found.append(meter.lost_before(CALLBACK, at, overflow=index in overflows))
    return found


@given(
    delays=st.lists(st.floats(0, JITTER), min_size=30, max_size=60),
    lost=st.dictionaries(st.integers(1, 29), st.integers(2_000, 500_000), max_size=3),
)
def test_an_overflow_is_measured_by_the_delay_after_it(
    delays: list[float], lost: dict[int, int]
) -> None:
    found = run_meter([0.0, *delays], lost)
    slack = 1.1 * JITTER * RATE + 0.001 * sum(lost.values())  # the clock may drift
    for index, count in enumerate(found):
        assert count == pytest.approx(lost.get(index, 0), abs=slack)


def test_a_first_block_that_was_late_hides_no_loss() -> None:
    delays = [0.5, *[0.0] * 20]
    assert run_meter(delays, {10: 4_800})[10] == pytest.approx(4_800, abs=20)


@pytest.mark.parametrize("speed", [0.9995, 1.0005])
def test_a_clock_that_drifts_is_no_loss(speed: float) -> None:
    an_hour = 3600 * RATE // CALLBACK // 10
    found = run_meter([0.0] * an_hour, {an_hour - 1: 0}, speed)
    assert sum(found) <= 0.01 * RATE


def test_late_blocks_are_no_loss_unless_portaudio_says_so() -> None:
    assert run_meter([0.0, 0.5, 2.0, 0.0], {}) == [0, 0, 0, 0]
