"""A resampled stream is the resampled whole, whatever the sizes of its blocks."""

import numpy as np
import pytest
import soxr
from hypothesis import given
from hypothesis import strategies as st

from monitor.audio.conditioning import StreamResampler
from monitor.audio.ring import Samples
from tests.support.signals import RATE, cut, noise, rms, sine

RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 48_000, 96_000, 192_000]


def stream(resampler: StreamResampler, blocks: list[Samples]) -> Samples:
    outputs = [resampler.push(block) for block in blocks]
    return np.concatenate([*outputs, resampler.finish()], axis=1)


@given(
    input_rate=st.sampled_from(RATES),
    channels=st.integers(1, 2),
    length=st.integers(1, 5000),
    sizes=st.lists(st.integers(0, 2000), max_size=10),
)
def test_it_equals_the_resampled_whole(
    input_rate: int, channels: int, length: int, sizes: list[int]
) -> None:
    whole = noise(length / RATE, channels=channels, seed=length)
    expected = soxr.resample(whole.T, input_rate, RATE, "HQ").T

    output = stream(StreamResampler(input_rate, RATE, channels), cut(whole, sizes))

    np.testing.assert_allclose(output, expected, atol=1e-6)


@pytest.mark.parametrize("input_rate", RATES)
@pytest.mark.parametrize("length", [0, 1, 7, 1000, 12_345])
def test_nothing_is_lost_at_the_end(input_rate: int, length: int) -> None:
    blocks = cut(noise(length / RATE), [480] * 30)
    output = stream(StreamResampler(input_rate, RATE, 1), blocks)

    assert abs(output.shape[1] - length * RATE / input_rate) <= 0.5


@pytest.mark.parametrize("input_rate", RATES)
def test_a_sine_keeps_frequency_amplitude_and_place(input_rate: int) -> None:
    whole = sine(997, 1.0, amplitude=0.5, sample_rate=input_rate, channels=2)
    output = stream(StreamResampler(input_rate, RATE, 2), cut(whole, [333] * 400))

    expected = sine(997, 1.0, amplitude=0.5, channels=2)
    middle = slice(RATE // 4, -RATE // 4)  # away from where the tone is cut off
    assert rms((output - expected)[:, middle]) < 1e-4 * rms(expected)


def test_what_the_output_cannot_hold_does_not_fold_back() -> None:
    whole = sine(23_000, 1.0, sample_rate=48_000)
    output = stream(StreamResampler(48_000, RATE, 1), [whole])

    assert rms(output[:, RATE // 4 : -RATE // 4]) < 1e-5  # -100 dB


def test_equal_rates_pass_through_untouched() -> None:
    resampler = StreamResampler(RATE, RATE, 2)
    block = noise(0.01, channels=2)

    assert resampler.push(block) is block
    assert resampler.finish().shape == (2, 0)


def test_a_finished_stream_takes_no_more() -> None:
    resampler = StreamResampler(48_000, RATE, 1)
    resampler.push(noise(0.01))

    assert resampler.finish().shape[1] > 0
    assert resampler.finish().shape == (1, 0)
    with pytest.raises(ValueError, match="after the end"):
        resampler.push(noise(0.01))


def test_a_block_of_other_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="resampler of 1 channels"):
        StreamResampler(48_000, RATE, 1).push(noise(0.01, channels=2))
