"""A stream that repeats itself to the last bit is found, and nothing else is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.repetition import LONGEST_SECONDS, RepetitionDetector
from monitor.audio.sources.demo import render_scene
from tests.support.health import as_16_bit
from tests.support.signals import Samples, noise, silence, sine

RATE = 8_000


def periods(samples: Samples, rate: int = RATE) -> list[int | None]:
    """The period of each half second."""
    detector = RepetitionDetector(rate)
    step = rate // 2
    return [
        detector.push(np.ascontiguousarray(samples[:, start : start + step]))
        for start in range(0, samples.shape[1] - step + 1, step)
    ]


def repeated(block: Samples, seconds: float) -> Samples:
    count = round(seconds * RATE)
    return np.tile(block, (1, -(-count // block.shape[1])))[:, :count]


@given(
    period=st.integers(65, round(LONGEST_SECONDS * RATE)),
    before=st.integers(0, 2 * RATE),
    channels=st.sampled_from([1, 2]),
)
@settings(deadline=None, max_examples=60)
def test_every_period_is_found_within_twice_the_longest(
    period: int, before: int, channels: int
) -> None:
    block = as_16_bit(noise(period / RATE + 0.1, 0.01, RATE, channels))[:, :period]
    sound = noise(before / RATE, 0.01, RATE, channels, seed=1)
    found = periods(np.concatenate([sound, repeated(block, 16)], axis=1))
    until = round(2 * (before / RATE + 2 * LONGEST_SECONDS + 1))
    assert set(found[until:]) == {period}


@pytest.mark.parametrize("period", [2, 8, 48, 63, 64])
def test_a_generated_tone_repeats_too(period: int) -> None:
    wave = as_16_bit(sine(RATE / period, period / RATE, 0.5, RATE))
    if period == 2:
        wave = np.array([[0.5, -0.5]], np.float32)
    assert periods(repeated(wave, 10))[-1] == period


def test_dither_that_is_repeated_is_found() -> None:
    """Only three values: a pattern of them has to be long enough."""
    block = as_16_bit(noise(0.1, 0.5 * 2**-15, RATE))
    assert periods(repeated(block, 12))[-1] == block.shape[1]


def test_one_sample_that_differs_is_no_repetition() -> None:
    sound = repeated(as_16_bit(noise(0.1, 0.01, RATE)), 20)
    sound[0, 15 * RATE + 7] += np.float32(2**-15)
    found = periods(sound)
    assert None not in found[20:30]
    assert found[30] is None
    assert found[-1] is not None


def test_a_repetition_of_one_channel_only_is_none() -> None:
    """The other one hears something."""
    stuck = repeated(as_16_bit(noise(0.1, 0.01, RATE)), 12)
    assert set(periods(np.concatenate([stuck, noise(12, 0.01, RATE)]))) == {None}


def test_a_longer_period_is_not_found() -> None:
    block = as_16_bit(noise(LONGEST_SECONDS + 1, 0.01, RATE))
    assert set(periods(repeated(block, 30))) == {None}


@pytest.mark.parametrize(
    "sound",
    [
        silence(12, RATE),
        silence(12, RATE) + np.float32(0.25),
        as_16_bit(noise(30, 0.5 * 2**-15, RATE)),
        as_16_bit(noise(30, 2**-15, RATE)),
        as_16_bit(noise(30, 0.1 * 2**-15, RATE)),
        as_16_bit(render_scene(RATE)),
        as_16_bit(sine(50, 30, 2**-13, RATE) + noise(30, 0.3 * 2**-15, RATE)),
    ],
    ids=["zeros", "stuck", "dither", "last-bits", "rare-bits", "demo", "hum"],
)
def test_what_is_not_the_same_again_is_no_repetition(sound: Samples) -> None:
    """Zeros and a stuck channel are kinds of their own."""
    assert set(periods(sound)) == {None}


def test_noise_of_a_gate_that_closes_is_no_repetition() -> None:
    """Some headsets deliver zeros in pauses."""
    parts = [
        part
        for seed in range(10)
        for part in (as_16_bit(noise(0.7, 0.01, RATE, seed=seed)), silence(0.8, RATE))
    ]
    assert set(periods(np.concatenate(parts, axis=1))) == {None}
