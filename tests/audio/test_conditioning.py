"""One or two channels leave the capture, and a dead one is left out."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.conditioning import DeadChannelGuard, adapt
from monitor.audio.ring import Samples
from tests.support.signals import cut, noise, numbered

RATE = 100  # cells of 50 samples


def stereo(left: float, right: float, seconds: float, seed: int = 0) -> Samples:
    """Noise of the given root mean squares; 0 is digital silence."""
    gains = np.array([[left], [right]], np.float32)
    return gains * noise(seconds, 1.0, RATE, channels=2, seed=seed)


def draw(picture: str) -> Samples:
    """Half a second for each letter, of the right channel beside a lively left one.

    `#` as loud, `+` 45 dB below, `.` 60 dB below, `0` digital silence, `s` both silent.
    """
    gains = {"#": 1.0, "+": 10 ** (-45 / 20), ".": 1e-3, "0": 0.0}
    parts = [
        np.zeros((2, RATE // 2), np.float32)
        if letter == "s"
        else stereo(0.1, 0.1 * gains[letter], 0.5, seed)
        for seed, letter in enumerate(picture)
    ]
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize(("channels", "kept"), [(1, 1), (2, 2), (3, 2), (64, 2)])
def test_of_many_channels_the_first_two_are_kept(channels: int, kept: int) -> None:
    block = numbered(5, 10, channels)

    np.testing.assert_array_equal(adapt(block), block[:kept])


@pytest.mark.parametrize(
    ("right", "left_out"),
    # x: the right channel of this half second is replaced by the left one
    [
        ("############", "            "),
        ("............", "      xxxxxx"),  # dead after three seconds
        ("000000000000", "      xxxxxx"),
        (".....#......", "            "),  # but they must be three in a row
        ("++++++++++++", "            "),  # quiet is not dead
        ("......##....", "      xx    "),  # lives after one second
        ("......#.#...", "      xxxxxx"),  # a crackle is no life
        ("......++++..", "      xxxxxx"),  # nor is a little more crosstalk
        ("ssssssssssss", "            "),  # silence of both says nothing,
        ("...ssss...##", "          xx"),  # neither for
        ("......sssss.", "      xxxxxx"),  # nor against
    ],
)
def test_a_dead_channel_is_replaced(right: str, left_out: str) -> None:
    samples = draw(right)
    output = DeadChannelGuard(RATE).push(samples)

    np.testing.assert_array_equal(output[0], samples[0])
    for index, letter in enumerate(left_out):
        part = slice(index * RATE // 2, (index + 1) * RATE // 2)
        expected = samples[0 if letter == "x" else 1, part]
        np.testing.assert_array_equal(output[1, part], expected, f"half second {index}")


def test_a_dead_left_channel_is_replaced_by_the_right_one() -> None:
    guard = DeadChannelGuard(RATE)
    guard.push(stereo(0, 0.1, 3.0))
    samples = stereo(0, 0.1, 1.0)

    assert guard.dead == 0
    np.testing.assert_array_equal(guard.push(samples), samples[[1, 1]])


def test_channels_that_take_turns_are_not_dead() -> None:
    guard = DeadChannelGuard(RATE)
    for left, right in [(0.1, 0), (0, 0.1)] * 3:
        guard.push(stereo(left, right, 2.0))
        assert guard.dead is None


def test_noise_of_a_converter_says_nothing_about_the_other_channel() -> None:
    guard = DeadChannelGuard(RATE)
    guard.push(stereo(2**-15, 0, 10.0))

    assert guard.dead is None


@settings(max_examples=50)
@given(
    right=st.text("#+.0s", min_size=8, max_size=24),
    sizes=st.lists(st.integers(0, 300), max_size=20),
)
def test_the_sizes_of_the_blocks_do_not_matter(right: str, sizes: list[int]) -> None:
    samples = draw(right)
    whole, parts = DeadChannelGuard(RATE), DeadChannelGuard(RATE)
    expected = whole.push(samples)

    outputs = [parts.push(block) for block in cut(samples, sizes)]

    np.testing.assert_array_equal(np.concatenate(outputs, axis=1), expected)
    assert parts.dead == whole.dead


def test_mono_is_left_alone() -> None:
    guard = DeadChannelGuard(RATE)
    for block in cut(noise(10.0, sample_rate=RATE), [333] * 2):
        assert guard.push(block) is block
    assert guard.dead is None


def test_the_block_that_comes_in_is_not_changed() -> None:
    samples = draw("............")
    before = samples.copy()
    DeadChannelGuard(RATE).push(samples)

    np.testing.assert_array_equal(samples, before)


def test_it_warns_once_when_a_channel_dies_and_once_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard = DeadChannelGuard(RATE, "street")
    with caplog.at_level(logging.WARNING):
        for block in cut(draw("##" + "." * 20 + "#" * 20), [7] * 400):
            guard.push(block)

    assert [record.getMessage() for record in caplog.records] == [
        "source 'street': channel 2 is dead (over 50 dB below the other for 3.0 s); "
        "it is left out",
        "source 'street': channel 2 is back; both are heard again",
    ]
