"""Third octaves obey the limits of IEC 61260-1 for class 2.

The limits are those of IEC 61260-1:2014, table 1, as they stand in phonometry, which
transcribed them from BS EN 61260-1:2014: `src/phonometry/filters/compliance.py` of
https://github.com/jmrplens/phonometry.
"""

import math

import numpy as np
import pytest

from monitor.audio.third_octaves import ThirdOctaveBands, ThirdOctaveMeter
from tests.support.signals import RATE, noise, sine

OCTAVE = 10**0.3

# Table 1, class 2: relative attenuation at distances from the mid-band frequency, in
# octaves of a filter of one octave.
LIMITS = [
    (0.0, -0.6, 0.6),
    (1 / 8, -0.6, 0.7),
    (1 / 4, -0.6, 0.9),
    (3 / 8, -0.6, 1.7),
    (0.4999, -0.6, 5.8),
    (0.5001, 0.8, math.inf),
    (1.0, 15.6, math.inf),
    (2.0, 39.5, math.inf),
    (3.0, 54.0, math.inf),
    (4.0, 60.0, math.inf),
]


def third(distance: float) -> float:
    """Ratio to the middle of a third, for a distance of an octave filter: formula 9."""
    octaves = (OCTAVE**distance - 1) / (OCTAVE**0.5 - 1)
    return 1 + octaves * (OCTAVE ** (1 / 6) - 1)


@pytest.mark.parametrize("rate", [16_000, 32_000, RATE])
def test_relative_attenuation_is_within_the_limits_of_class_2(rate: int) -> None:
    bands = ThirdOctaveBands(rate)
    seconds = (bands.step + bands.flank) / rate
    for number, middle in enumerate(bands.middles_hz):
        for distance, least, most in LIMITS:
            for frequency in (middle * third(distance), middle / third(distance)):
                if not 5 < frequency < 0.49 * rate:
                    continue
                samples = sine(frequency, seconds + 0.01, sample_rate=rate)
                ((*_,),) = powers = bands.powers(samples[0])
                attenuation = -3.01 - 10 * math.log10(powers[0, number] + 1e-20)
                assert least < attenuation < most, (middle, frequency)


def test_there_are_the_bands_from_25_hz_to_16_khz() -> None:
    middles = ThirdOctaveBands(RATE).middles_hz
    assert len(middles) == 29
    assert middles[0] == pytest.approx(25.1, abs=0.05)
    assert middles[-1] == pytest.approx(15_849, abs=1)
    assert max(ThirdOctaveBands(16_000).middles_hz) < 8000


def test_the_bands_of_white_noise_add_up_to_its_power_below_half_the_rate() -> None:
    meter = ThirdOctaveMeter(ThirdOctaveBands(RATE))
    powers = meter.push(noise(20.0, rms=0.1)).mean(axis=0)
    # 22.4 Hz to 17.8 kHz of 22.05 kHz; such a filter passes 4.7 % more noise than an
    # ideal one, 0.2 dB of the 0.6 dB of class 2.
    assert powers.sum() == pytest.approx(0.01 * 1.047 * 17_760 / 22_050, rel=0.01)


def test_the_sizes_of_blocks_do_not_matter() -> None:
    samples = noise(5.0, channels=2)
    whole = ThirdOctaveMeter(ThirdOctaveBands(RATE)).push(samples)
    meter = ThirdOctaveMeter(ThirdOctaveBands(RATE))
    parts = [meter.push(part) for part in np.array_split(samples, 23, axis=1)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
