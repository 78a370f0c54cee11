"""The time weighting Fast obeys IEC 61672-1, wherever a sound begins.

The limits are those of IEC 61672-1:2013, table 4, as they stand in phonometry, which
transcribed them from BS EN 61672-1:2013: `IEC61672_TABLE_4` of
https://github.com/jmrplens/phonometry.
"""

import numpy as np
import pytest

from monitor.audio.level import FLOOR_DB, LevelMeter
from monitor.audio.ring import Samples
from monitor.audio.weighting import AWeighting
from tests.support.signals import RATE, noise, silence, sine

# Largest level of a tone burst of 4 kHz with the time weighting F, re the level of the
# steady tone, and the limits of class 2, above and below.
BURSTS = [
    (1.0, 0.0, 1.0, 1.0),
    (0.5, -0.1, 1.0, 1.0),
    (0.2, -1.0, 1.0, 1.0),
    (0.1, -2.6, 1.0, 1.0),
    (0.05, -4.8, 1.0, 1.5),
    (0.02, -8.3, 1.0, 2.0),
    (0.01, -11.1, 1.0, 2.0),
    (0.005, -14.1, 1.0, 2.5),
    (0.002, -18.0, 1.0, 2.5),
    (0.001, -21.0, 1.0, 3.0),
    (0.0005, -24.0, 1.0, 4.0),
    (0.00025, -27.0, 1.5, 5.0),
]


def measure(samples: Samples, rate: int = RATE) -> tuple[float, list[float]]:
    """LAFmax, and LAF over time, of hops of half a second."""
    meter, hop = LevelMeter(AWeighting(rate), 0.0), rate // 2
    hops = [
        meter.measure(samples[:, start : start + hop]).hop
        for start in range(0, samples.shape[1] - hop + 1, hop)
    ]
    return max(it.lafmax_db for it in hops), [laf for it in hops for laf in it.laf_db]


@pytest.mark.parametrize("rate", [16_000, 32_000, RATE])
@pytest.mark.parametrize(("seconds", "response", "above", "below"), BURSTS)
def test_a_tone_burst_responds_as_by_the_standard(
    seconds: float, response: float, above: float, below: float, rate: int
) -> None:
    steady, _ = measure(sine(4000, 3.0, sample_rate=rate), rate)
    burst = sine(4000, seconds, sample_rate=rate)
    found = []
    for start in range(rate, rate + 6000, 557):
        samples = silence(3.5, rate)
        samples[:, start : start + burst.shape[1]] = burst
        found.append(measure(samples, rate)[0] - steady - response)
    assert -below < min(found)
    assert max(found) < above


def test_the_level_of_a_steady_tone_is_steady() -> None:
    highest, laf = measure(sine(1000, 4.0))
    settled = laf[len(laf) // 2 :]
    assert settled == pytest.approx([-3.01] * len(settled), abs=0.05)
    assert highest == pytest.approx(-3.01, abs=0.05)


def test_the_level_falls_by_35_db_in_a_second() -> None:
    """IEC 61672-1:2013, 5.8.2: at least 25 dB/s, 34.7 by the time constant."""
    samples = np.concatenate([sine(1000, 2.0), silence(2.0)], axis=1)
    _, laf = measure(samples)
    falling = laf[-10:]
    slope = (falling[-1] - falling[0]) / (9 * 10 * 512 / RATE)
    assert slope == pytest.approx(-34.7, abs=0.2)


def test_samples_of_the_level_are_at_most_125_ms_apart() -> None:
    _, laf = measure(noise(30.0))
    assert 8 <= len(laf) / 30 < 9


def test_a_meter_that_starts_again_remembers_nothing() -> None:
    meter = LevelMeter(AWeighting(RATE), 94.0)
    meter.measure(noise(1.0))
    meter.restart()
    assert meter.measure(silence(1.0)).hop.lafmax_db == FLOOR_DB + 94


def test_a_hop_shorter_than_a_frame_has_no_level() -> None:
    hop = LevelMeter(AWeighting(RATE), 0.0).measure(noise(0.01)).hop
    assert hop.samples == 0
    assert hop.laf_db == ()
