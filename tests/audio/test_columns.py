"""The columns of the live picture obey physics, whatever the sizes of the blocks."""

import numpy as np
import pytest

from monitor.audio.columns import (
    BANDS,
    COLUMNS_PER_SECOND,
    FLOOR_DB,
    MelColumns,
    band_centres,
)
from monitor.audio.ring import Samples
from tests.support.signals import RATE, click, noise, silence, sine


def decibels(columns: np.ndarray) -> np.ndarray:
    return FLOOR_DB * (1 - columns.astype(float) / 255)


def total_db(columns: np.ndarray) -> float:
    """Level of all bands together, the mean over the columns."""
    return 10 * np.log10((10 ** (decibels(columns) / 10)).sum(axis=1).mean())


@pytest.mark.parametrize("sample_rate", [8000, 16_000, 32_000, 44_100, 48_000])
@pytest.mark.parametrize("frequency", [120.0, 440.0, 1000.0, 3500.0])
def test_a_tone_peaks_in_the_band_that_holds_it(
    sample_rate: int, frequency: float
) -> None:
    columns = MelColumns(sample_rate).push(sine(frequency, 1.0, 0.5, sample_rate))
    centres = np.array(band_centres(sample_rate))
    nearest = int(np.abs(centres - frequency).argmin())
    assert set(columns.argmax(axis=1)) <= {nearest - 1, nearest, nearest + 1}
    assert abs(int(columns[0].argmax()) - nearest) <= (frequency < 200)


def test_levels_are_those_of_the_samples() -> None:
    """A sine of amplitude 0.1 has -23 dB re 1.0, and twice the amplitude 6 dB more."""
    once = MelColumns(RATE).push(sine(1000, 2.0, 0.1))
    twice = MelColumns(RATE).push(sine(1000, 2.0, 0.2))
    assert total_db(once) == pytest.approx(-23.01, abs=0.3)
    assert total_db(twice) - total_db(once) == pytest.approx(6.02, abs=0.3)


def test_noise_has_its_level_in_all_bands_together() -> None:
    columns = MelColumns(32_000).push(noise(5.0, 0.1, 32_000))  # -20 dB, to 16 kHz
    assert total_db(columns) == pytest.approx(-20.0, abs=0.3)


def test_the_mean_over_the_channels_counts() -> None:
    one = np.concatenate([sine(1000, 1.0, 0.1), silence(1.0)])
    assert total_db(MelColumns(RATE).push(one)) == pytest.approx(-26.02, abs=0.3)


def test_silence_is_zero_and_full_scale_does_not_overflow() -> None:
    assert not MelColumns(RATE).push(silence(1.0)).any()
    loud = MelColumns(RATE).push(sine(1000, 1.0, 4.0))
    assert loud.max() == 255


@pytest.mark.parametrize("sample_rate", [11_025, 16_000, 22_050, 44_100])
def test_there_are_ten_columns_a_second_for_ever(sample_rate: int) -> None:
    made = MelColumns(sample_rate)
    count = sum(len(made.push(silence(1.0, sample_rate))) for _ in range(30))
    assert 298 <= count <= 300
    assert made.stop == count * sample_rate // COLUMNS_PER_SECOND


@pytest.mark.parametrize("sizes", [[1], [100, 7, 4410, 0], [44_100], [13_333]])
def test_the_sizes_of_blocks_do_not_matter(sizes: list[int]) -> None:
    samples = noise(1.2, channels=2)
    whole = MelColumns(RATE).push(samples)
    made, parts, position = MelColumns(RATE), [], 0
    while position < samples.shape[1]:
        size = sizes[len(parts) % len(sizes)] if sizes != [1] else 37
        parts.append(made.push(samples[:, position : position + size]))
        position += size
    assert whole.shape == (11, BANDS)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_click_is_seen_wherever_it_lies() -> None:
    """5 ms at any place of a column: never 8 dB below its best place."""
    burst = noise(0.005, 0.5, seed=3)
    totals = []
    for offset in range(0, RATE // COLUMNS_PER_SECOND, 200):
        samples = silence(0.6)
        begin = 2 * RATE // COLUMNS_PER_SECOND + offset
        samples[:, begin : begin + burst.shape[1]] = burst
        totals.append(max(total_db(c[None]) for c in MelColumns(RATE).push(samples)))
    assert max(totals) - min(totals) < 8


def test_after_a_restart_a_stream_may_have_other_channels() -> None:
    made = MelColumns(RATE)
    made.push(sine(1000, 0.35))
    made.restart()
    stereo: Samples = sine(4000, 0.5, channels=2)
    np.testing.assert_array_equal(made.push(stereo), MelColumns(RATE).push(stereo))
    assert not MelColumns(RATE).push(click(0.05, 0.01)).size
