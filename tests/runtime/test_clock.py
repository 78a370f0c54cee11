"""A sample's time of day is true, whatever happens to blocks and clocks."""

from datetime import timedelta

import numpy as np
import pytest

from monitor.runtime.clock import SampleClock
from tests.support.clock import FakeClock

RATE = 44_100
HOUR = timedelta(hours=1)


def seconds_off(sample_clock: SampleClock, clock: FakeClock, sample: int, age: float):
    """How far the told time is from the true one of a sound `age` seconds ago."""
    true = clock.utc() - timedelta(seconds=age)
    return (sample_clock.utc(sample) - true).total_seconds()


def test_a_sample_that_has_just_arrived_was_sound_just_now():
    clock = FakeClock()
    sample_clock = SampleClock(clock, RATE)
    clock.advance(2)
    sample_clock.anchor([(2 * RATE, clock.monotonic())])
    assert seconds_off(sample_clock, clock, 2 * RATE, 0) == pytest.approx(0, abs=1e-6)
    assert seconds_off(sample_clock, clock, RATE, 1) == pytest.approx(0, abs=1e-6)


def test_late_blocks_move_nothing():
    clock = FakeClock()
    sample_clock = SampleClock(clock, RATE)
    generator = np.random.default_rng(1)
    for second in range(1, 300):
        clock.advance(1)
        delay = generator.uniform(0, 0.5) if second % 5 else 0.0
        sample_clock.anchor([(second * RATE, clock.monotonic() + delay)])
    assert seconds_off(sample_clock, clock, 299 * RATE, 0) == pytest.approx(0, abs=1e-6)


def test_a_sound_card_200_ppm_off_stays_within_a_tenth_of_a_second_over_a_day():
    clock = FakeClock()
    sample_clock = SampleClock(clock, RATE)
    for drift in (200e-6, -200e-6):
        delivered = 0.0
        for _ in range(86_400 // 4):
            clock.advance(4)
            delivered += 4 * RATE * (1 + drift)
            sample_clock.anchor([(round(delivered), clock.monotonic())])
            off = seconds_off(sample_clock, clock, round(delivered), 0)
            assert abs(off) < 0.1
        sample_clock = SampleClock(clock, RATE)


def test_a_step_of_the_wall_clock_moves_only_what_is_told_after_it():
    clock = FakeClock()
    sample_clock = SampleClock(clock, RATE)
    clock.advance(10)
    sample_clock.anchor([(10 * RATE, clock.monotonic())])
    before = sample_clock.utc(9 * RATE)
    clock.wall += HOUR
    assert sample_clock.utc(9 * RATE) - before == HOUR
    clock.advance(1)
    sample_clock.anchor([(11 * RATE, clock.monotonic())])
    assert seconds_off(sample_clock, clock, 11 * RATE, 0) == pytest.approx(0, abs=1e-6)


def test_before_the_first_block_the_time_is_now():
    clock = FakeClock()
    assert SampleClock(clock, RATE).utc(0) == clock.utc()
