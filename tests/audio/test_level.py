"""The level meter obeys physics and IEC 61672-1.

The A-weighting is that of IEC 61672-1:2013, table 3, as it stands in phonometry, which
transcribed it from BS EN 61672-1:2013: `IEC61672_TABLE3` of
https://github.com/jmrplens/phonometry.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.level import FLOOR_DB, LevelMeter
from monitor.audio.ring import Samples
from monitor.audio.weighting import AWeighting, a_weighting_db
from tests.support.signals import RATE, cut, noise, silence, sine

HOP = 48 * 512

# A-weighting at nominal frequencies, dB.  The exact ones are powers of ten: 31.5 Hz
# stands for 31.62 Hz.  Class 2 allows 1 dB or more at each; the tests allow less.
TABLE = [
    (10**1.5, -39.4),
    (10**1.8, -26.2),
    (10**2.1, -16.1),
    (10**2.4, -8.6),
    (10**2.7, -3.2),
    (10**3.0, 0.0),
    (10**3.3, 1.2),
    (10**3.6, 1.0),
    (10**3.9, -1.1),
    (10**4.2, -6.6),
]


def hops(samples: Samples, size: int = HOP) -> list[Samples]:
    count = samples.shape[1] // size
    return np.split(samples[:, : count * size], count, axis=1)


def power(decibels: list[float]) -> float:
    return float(np.mean(10 ** (np.array(decibels) / 10)))


def test_a_full_scale_sine_has_3_db_less_than_full_scale() -> None:
    level = LevelMeter(AWeighting(RATE), 0.0).measure(sine(1000, 1.0))

    assert level.level_dbfs == pytest.approx(-3.01, abs=0.01)
    assert level.laeq_db == pytest.approx(-3.01, abs=0.02)


def test_twice_the_amplitude_is_6_db_more() -> None:
    samples = noise(1.0, rms=0.1)
    once = LevelMeter(AWeighting(RATE), 0.0).measure(samples)
    twice = LevelMeter(AWeighting(RATE), 0.0).measure(2 * samples)

    assert twice.level_dbfs - once.level_dbfs == pytest.approx(6.02, abs=0.01)
    assert twice.laeq_db - once.laeq_db == pytest.approx(6.02, abs=0.01)


def test_the_offset_moves_the_weighted_level_alone() -> None:
    samples = noise(1.0)
    plain = LevelMeter(AWeighting(RATE), 0.0).measure(samples)
    moved = LevelMeter(AWeighting(RATE), 94.0).measure(samples)

    assert moved.level_dbfs == plain.level_dbfs
    assert moved.laeq_db == pytest.approx(plain.laeq_db + 94)


def test_digital_silence_stands_on_the_floor() -> None:
    level = LevelMeter(AWeighting(RATE), 94.0).measure(silence(1.0, channels=2))

    assert level.level_dbfs == FLOOR_DB
    assert level.laeq_db == FLOOR_DB + 94


def test_two_equal_channels_are_as_loud_as_one() -> None:
    samples = noise(1.0)
    mono = LevelMeter(AWeighting(RATE), 0.0).measure(samples)
    stereo = LevelMeter(AWeighting(RATE), 0.0).measure(np.repeat(samples, 2, axis=0))

    assert stereo.level_dbfs == pytest.approx(mono.level_dbfs, abs=1e-4)
    assert stereo.laeq_db == pytest.approx(mono.laeq_db, abs=1e-4)


def test_one_silent_channel_of_two_is_3_db_less() -> None:
    samples = noise(1.0)
    mono = LevelMeter(AWeighting(RATE), 0.0).measure(samples)
    half = LevelMeter(AWeighting(RATE), 0.0).measure(
        np.concatenate([samples, np.zeros_like(samples)])
    )

    assert half.level_dbfs == pytest.approx(mono.level_dbfs - 3.01, abs=0.01)
    assert half.laeq_db == pytest.approx(mono.laeq_db - 3.01, abs=0.01)


@pytest.mark.parametrize(("frequency", "weighting"), TABLE)
def test_the_curve_is_that_of_the_standard(frequency: float, weighting: float) -> None:
    assert a_weighting_db(np.array([frequency])) == pytest.approx(weighting, abs=0.06)


@pytest.mark.parametrize(
    ("rate", "frequency", "weighting"),
    [
        (rate, frequency, weighting)
        for rate in (16_000, RATE, 48_000)
        for frequency, weighting in TABLE
        if frequency < 0.45 * rate
    ],
)
def test_a_sine_is_weighted_as_by_the_standard(
    rate: int, frequency: float, weighting: float
) -> None:
    meter = LevelMeter(AWeighting(rate), 0.0)
    blocks = hops(sine(frequency, 2.0, sample_rate=rate), rate // 2)
    levels = [meter.measure(block).laeq_db for block in blocks]
    # The table is rounded to 0.1 dB.
    assert levels == pytest.approx([-3.01 + weighting] * 4, abs=0.15)


def test_the_energies_of_hops_add_up() -> None:
    """A burst counts the same wherever the edges of hops and frames cut it."""
    burst = noise(0.05, rms=0.3)
    totals = []
    for start in range(HOP, 3 * HOP, 1777):
        samples = silence(5 * HOP / RATE)
        samples[:, start : start + burst.shape[1]] = burst
        meter = LevelMeter(AWeighting(RATE), 0.0)
        levels = [meter.measure(hop) for hop in hops(samples)][1:]
        assert power([level.level_dbfs for level in levels]) == pytest.approx(
            float(np.mean(samples[:, HOP:] ** 2)), rel=1e-4
        )
        totals.append(power([level.laeq_db for level in levels]))

    np.testing.assert_allclose(totals, totals[0], rtol=0.02)  # 0.1 dB


def test_the_weighted_energy_is_that_of_the_weighted_signal() -> None:
    samples = noise(20 * HOP / RATE, rms=0.1)
    spectrum = np.fft.rfft(samples[0].astype(np.float64))
    frequency = np.fft.rfftfreq(samples.shape[1], 1 / RATE)
    spectrum *= 10 ** (a_weighting_db(frequency) / 20)
    expected = 10 * np.log10(np.mean(np.fft.irfft(spectrum) ** 2))

    meter = LevelMeter(AWeighting(RATE), 0.0)
    levels = [meter.measure(hop).laeq_db for hop in hops(samples)]

    assert 10 * np.log10(power(levels)) == pytest.approx(expected, abs=0.05)


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(1, 30_000), max_size=8), channels=st.integers(1, 2))
def test_the_level_of_the_newest_hop_does_not_depend_on_the_length_of_earlier_ones(
    sizes: list[int], channels: int
) -> None:
    samples = noise(7.0, channels=channels)
    start = -(-sum(sizes) // HOP) * HOP  # the next one on the grid of hops
    whole, parts = LevelMeter(AWeighting(RATE), 0.0), LevelMeter(AWeighting(RATE), 0.0)
    if start:
        whole.measure(samples[:, :start])
    for block in cut(samples[:, :start], sizes):
        if block.size:
            parts.measure(block)
    newest = samples[:, start : start + HOP]

    assert parts.measure(newest) == whole.measure(newest)


def test_too_few_samples_for_a_frame_leave_the_weighted_level() -> None:
    meter = LevelMeter(AWeighting(RATE), 0.0)
    before = meter.measure(noise(1.0))
    after = meter.measure(silence(0.001))

    assert after.laeq_db == before.laeq_db
    assert after.level_dbfs == FLOOR_DB


def test_a_meter_begins_anew_with_other_channels() -> None:
    used, new = LevelMeter(AWeighting(RATE), 94.0), LevelMeter(AWeighting(RATE), 94.0)
    used.measure(noise(1.0, rms=0.5))
    used.restart()
    short, stereo = silence(0.01, channels=2), noise(1.0, channels=2)
    assert used.measure(short) == new.measure(short)
    assert used.measure(stereo) == new.measure(stereo)
