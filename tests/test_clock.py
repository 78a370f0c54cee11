"""A sample's time of day is true, whatever happens to blocks and clocks."""

import math
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitor.clock import (
    DOUBTED_SECONDS,
    STEADY_SECONDS,
    SampleClock,
    SystemClock,
    WallClockCheck,
)
from tests.support.clock import FakeClock

RATE = 44_100
HOUR = timedelta(hours=1)


def seconds_off(sample_clock: SampleClock, clock: FakeClock, sample: int, age: float):
    """Return the error of the time of a sound `age` seconds ago, in seconds."""
    true = clock.utc() - timedelta(seconds=age)
    return (sample_clock.utc(sample) - true).total_seconds()


def test_a_sample_that_has_just_arrived_has_the_time_of_now():
    clock = FakeClock()
    sample_clock = SampleClock(clock, RATE)
    clock.advance(2)
    sample_clock.anchor([(2 * RATE, clock.monotonic())])
    assert seconds_off(sample_clock, clock, 2 * RATE, 0) == pytest.approx(0, abs=1e-6)
    assert seconds_off(sample_clock, clock, RATE, 1) == pytest.approx(0, abs=1e-6)


def test_late_blocks_do_not_move_the_clock():
    clock = FakeClock()
    sample_clock = SampleClock(clock, RATE)
    generator = np.random.default_rng(1)
    for second in range(1, 300):
        clock.advance(1)
        delay = generator.uniform(0, 0.5) if second % 5 else 0.0
        sample_clock.anchor([(second * RATE, clock.monotonic() + delay)])
    assert seconds_off(sample_clock, clock, 299 * RATE, 0) == pytest.approx(0, abs=1e-6)


def test_a_late_block_does_not_move_the_clock_when_older_estimates_expire():
    clock = FakeClock()
    sample_clock = SampleClock(clock, RATE, memory_seconds=30.0)
    for second in range(1, 33):
        clock.advance(1)
        delay = 5.0 if second > 30 else 0.0  # the first blocks of a new period
        sample_clock.anchor([(second * RATE, clock.monotonic() + delay)])
    assert seconds_off(sample_clock, clock, 32 * RATE, 0) == pytest.approx(0, abs=1e-6)


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


def test_a_step_of_the_wall_clock_moves_only_later_times():
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


def test_before_the_first_block_samples_count_from_the_opening():
    """The gaps of a source that is missing have a true start and end."""
    clock = FakeClock()
    sample_clock = SampleClock(clock, RATE, start=5 * RATE)
    opened = clock.utc()
    clock.advance(60)
    assert sample_clock.utc(5 * RATE) == opened
    assert sample_clock.utc(15 * RATE) == opened + timedelta(seconds=10)
    sample_clock.anchor([(66 * RATE, clock.monotonic())])
    assert sample_clock.utc(66 * RATE) == clock.utc()


def test_the_begin_of_a_long_sound_is_as_accurate_after_a_day_as_at_once():
    """Also where the card is off by 200 ppm, which is 17 s a day."""
    for drift in (200e-6, -200e-6):
        clock = FakeClock()
        sample_clock = SampleClock(clock, RATE)
        reported: list[tuple[int, datetime]] = []
        for number in range(3 * 86_400):
            clock.advance(1)
            sample = round((number + 1) * RATE * (1 + drift))
            sample_clock.anchor([(sample, clock.monotonic())])
            if number % 7200 == 60:
                reported.append((sample, clock.utc()))
        for sample, recorded in reported:
            assert abs(sample_clock.utc(sample) - recorded) < timedelta(seconds=0.1)


def test_the_memory_of_the_clock_is_bounded():
    clock = FakeClock()
    sample_clock = SampleClock(clock, 1)
    for second in range(0, 5_000_000, 31):
        sample_clock.anchor([(second + 1, 1000.0 + second)])
    assert len(sample_clock._stops) == len(sample_clock._zeros) < 3000
    clock.advance(5_000_000)
    for sample in (1, 1_000_000, 4_999_000):
        assert sample_clock.monotonic(sample) == pytest.approx(999.0 + sample)


def test_a_delay_between_the_readings_of_the_two_clocks_causes_no_error():
    class Halting(FakeClock):
        held_up = 0

        def utc(self) -> datetime:
            if self.held_up:
                self.held_up -= 1
                self.advance(3)
            return super().utc()

    clock = Halting()
    sample_clock = SampleClock(clock, RATE)
    clock.advance(10)
    sample_clock.anchor([(10 * RATE, clock.monotonic())])
    recorded = clock.wall
    clock.held_up = 2
    assert abs(sample_clock.utc(10 * RATE) - recorded) < timedelta(milliseconds=1)


def believed_after(clock: FakeClock, check: WallClockCheck) -> float:
    """Hours until the wall clock is believed; looked at every ten minutes."""
    for count in range(1000):
        if check.is_believed():
            return count / 6
        clock.advance(600)
    return math.inf


def test_the_wall_clock_is_believed_after_hours_without_a_step() -> None:
    clock = FakeClock()
    check = WallClockCheck(clock)
    assert believed_after(clock, check) == STEADY_SECONDS / 3600
    clock.wall += timedelta(minutes=2)
    assert believed_after(clock, check) == STEADY_SECONDS / 3600
    clock.wall -= timedelta(days=400)
    assert believed_after(clock, check) == STEADY_SECONDS / 3600
    # It drifts by 0.2 s, or is slewed.
    clock.wall += timedelta(seconds=0.2)
    assert check.is_believed()


@pytest.mark.parametrize("is_before_start", [True, False])
def test_a_wall_clock_far_ahead_is_doubted_for_days(is_before_start: bool) -> None:
    clock = FakeClock()
    newest = clock.wall
    if is_before_start:
        clock.wall += timedelta(days=400)
    check = WallClockCheck(clock)
    check.note_newest(newest if newest <= check.doubted_since else None)
    if not is_before_start:
        clock.wall += timedelta(days=400)
    assert not check.is_believed()
    assert check.is_leap
    clock.wall += timedelta(hours=1)
    assert believed_after(clock, check) == DOUBTED_SECONDS / 3600
    # The clock is set right.
    clock.wall -= timedelta(days=400)
    assert believed_after(clock, check) == STEADY_SECONDS / 3600


LOOK = "from monitor.clock import SystemClock; print(SystemClock().monotonic())"


def test_the_clock_of_the_machine_goes_on_while_it_sleeps():
    """A time namespace shifts the clock that counts sleep, as sleep would."""
    if sys.platform != "linux":
        pytest.skip("needs Linux: elsewhere the monotonic clock counts sleep anyway")
    if shutil.which("unshare") is None:
        pytest.skip("needs unshare, to shift the clock")
    shifted = ["unshare", "--time", "--boottime", "1000000", "--fork"]
    if subprocess.run([*shifted, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs root and time namespaces, to shift the clock")
    answer = subprocess.check_output([*shifted, sys.executable, "-c", LOOK], text=True)
    assert float(answer) - SystemClock().monotonic() == pytest.approx(1e6, abs=60)
    assert abs(SystemClock().utc() - datetime.now(UTC)) < timedelta(seconds=5)
    assert SystemClock().monotonic() == pytest.approx(
        time.clock_gettime(time.CLOCK_BOOTTIME), abs=5
    )
