"""Invalid samples and dead channels are kept out of the timeline."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.conditioning import (
    DeadChannelGuard,
    ValidityGate,
    at_most_two_channels,
)
from monitor.audio.ring import Samples
from monitor.audio.signal_statistics import ChannelMeter
from monitor.audio.sources.source import Lost
from tests.support.signals import cut, noise, numbered

RATE = 100  # intervals of 50 samples; half a second is 50 samples

GATE_RATE = 20  # half a second is ten samples
QUARANTINE = 10
INVALID = [float("nan"), float("inf"), float("-inf"), 100.1, -1e30]

Drawing = str


def stereo(left: float, right: float, seconds: float, seed: int = 0) -> Samples:
    """Return noise of the given root mean squares; 0 is digital silence."""
    gains = np.array([[left], [right]], np.float32)
    return gains * noise(seconds, 1.0, RATE, channels=2, seed=seed)


def draw(picture: str) -> Samples:
    """Return half a second a letter, of the right channel beside a lively left one.

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


def repaired(guard: DeadChannelGuard, blocks: list[Samples]) -> list[Samples]:
    """Pass blocks through the guard, cut at the ends of intervals."""
    meter = ChannelMeter(RATE, blocks[0].shape[0])
    output = []
    for block in blocks:
        parts = [block[:, :0]]
        for part, interval in meter.push(block):
            parts.append(guard.repair(part))
            if interval is not None:
                guard.judge(interval.channels)
        output.append(np.concatenate(parts, axis=1))
    return output


@pytest.mark.parametrize("channels", [1, 2])
def test_one_or_two_channels_are_kept(channels: int) -> None:
    block = numbered(5, 10, channels)
    assert at_most_two_channels(block) is block


@pytest.mark.parametrize("channels", [3, 64])
def test_many_channels_become_their_mean(channels: int) -> None:
    block = numbered(5, 10, channels)
    mixed = at_most_two_channels(block)
    np.testing.assert_allclose(mixed, block.mean(axis=0)[None], rtol=1e-6)


@pytest.mark.parametrize(
    ("right", "replaced"),
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
def test_a_dead_channel_is_replaced(right: str, replaced: str) -> None:
    samples = draw(right)
    (output,) = repaired(DeadChannelGuard(), [samples])

    np.testing.assert_array_equal(output[0], samples[0])
    for index, letter in enumerate(replaced):
        part = slice(index * RATE // 2, (index + 1) * RATE // 2)
        expected = samples[0 if letter == "x" else 1, part]
        np.testing.assert_array_equal(output[1, part], expected, f"half second {index}")


def test_a_dead_left_channel_is_replaced_by_the_right_one() -> None:
    guard = DeadChannelGuard()
    repaired(guard, [stereo(0, 0.1, 3.0)])
    samples = stereo(0, 0.1, 1.0)

    assert guard.dead == 0
    np.testing.assert_array_equal(guard.repair(samples), samples[[1, 1]])


def test_a_dead_channel_lives_again_when_the_other_one_dies() -> None:
    guard = DeadChannelGuard()
    repaired(guard, [stereo(0.1, 0, 3.0), stereo(0, 0.1, 1.0)])

    assert guard.dead is None


def test_channels_that_sound_alternately_are_not_dead() -> None:
    guard = DeadChannelGuard()
    for left, right in [(0.1, 0), (0, 0.1)] * 3:
        repaired(guard, [stereo(left, right, 2.0)])
        assert guard.dead is None


def test_noise_of_a_converter_says_nothing_about_the_other_channel() -> None:
    guard = DeadChannelGuard()
    repaired(guard, [stereo(2**-15, 0, 10.0)])

    assert guard.dead is None


@settings(max_examples=50)
@given(
    right=st.text("#+.0s", min_size=8, max_size=24),
    sizes=st.lists(st.integers(0, 300), max_size=20),
)
def test_the_sizes_of_the_blocks_do_not_matter(right: str, sizes: list[int]) -> None:
    samples = draw(right)
    whole, parts = DeadChannelGuard(), DeadChannelGuard()
    (expected,) = repaired(whole, [samples])

    outputs = repaired(parts, cut(samples, sizes))

    np.testing.assert_array_equal(np.concatenate(outputs, axis=1), expected)
    assert parts.dead == whole.dead


def test_mono_is_left_alone() -> None:
    guard = DeadChannelGuard()
    samples = noise(10.0, sample_rate=RATE)
    (output,) = repaired(guard, [samples])
    np.testing.assert_array_equal(output, samples)
    assert guard.dead is None


def test_the_block_that_comes_in_is_not_changed() -> None:
    samples = draw("............")
    before = samples.copy()
    repaired(DeadChannelGuard(), [samples])

    np.testing.assert_array_equal(samples, before)


def test_it_warns_once_when_a_channel_dies_and_once_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    guard = DeadChannelGuard("street")
    with caplog.at_level(logging.WARNING):
        repaired(guard, cut(draw("##" + "." * 20 + "#" * 20), [7] * 400))

    assert [record.getMessage() for record in caplog.records] == [
        "source 'street': channel 2 is dead (over 50 dB below the other for 3.0 s); "
        "the other one takes its place",
        "source 'street': channel 2 is back; both channels are used again",
    ]


def test_a_stuck_channel_is_replaced_by_the_living_one_however_far_from_zero() -> None:
    samples = stereo(0.001, 0, 5.0)
    samples[1] = 0.5
    guard = DeadChannelGuard()
    repaired(guard, [samples])

    assert guard.dead == 1


def drawn(parts: list[Samples | Lost]) -> Drawing:
    """Return one letter for each sample: `-` valid, `#` lost."""
    return "".join(
        "#" * part.count if isinstance(part, Lost) else "-" * part.shape[1]
        for part in parts
    )


def stream_of(drawing: Drawing, value: float, channels: int = 1) -> Samples:
    """Return numbered samples, up to 1, with `value` where an `x` is drawn."""
    samples = numbered(0, len(drawing), channels) / max(len(drawing), 1)
    samples[-1, [letter == "x" for letter in drawing]] = value
    return samples


@pytest.mark.parametrize("value", INVALID)
@pytest.mark.parametrize(
    ("samples", "parts"),
    [
        ("......", "------"),
        ("...x....................", "---###########----------"),
        ("x", "#"),
        ("...x....x...............", "---################-----"),
        ("...x..........x.........", "---#####################"),
        ("...x...........x........", "---###########-#########"),
        ("..x..........x............", "--###########" + "###########--"),
        ("x...........x...........", "###########-###########-"),
    ],
)
def test_an_invalid_sample_is_lost_with_those_that_follow_too_soon(
    samples: Drawing, parts: Drawing, value: float
) -> None:
    assert drawn(ValidityGate(GATE_RATE).push(stream_of(samples, value))) == parts


def test_one_invalid_channel_is_enough() -> None:
    assert drawn(ValidityGate(GATE_RATE).push(stream_of("..x", np.nan, 2))) == "--#"


def test_the_loudest_valid_samples_pass() -> None:
    block = np.full((1, 5), 99.9, np.float32)
    assert drawn(ValidityGate(GATE_RATE).push(block)) == "-----"


@given(
    drawing=st.text("...........x", max_size=80),
    sizes=st.lists(st.integers(0, 30)),
    value=st.sampled_from(INVALID),
)
def test_block_sizes_do_not_matter_and_no_sample_is_missing(
    drawing: Drawing, sizes: list[int], value: float
) -> None:
    samples = stream_of(drawing, value, 2)
    whole = drawn(ValidityGate(GATE_RATE).push(samples))
    assert len(whole) == len(drawing)
    gate = ValidityGate(GATE_RATE)
    parts = [part for block in cut(samples, sizes) for part in gate.push(block)]
    assert drawn(parts) == whole
    kept = [part for part in parts if not isinstance(part, Lost)]
    expected = samples[:, [letter == "-" for letter in whole]]
    np.testing.assert_array_equal(np.concatenate([samples[:, :0], *kept], 1), expected)
    for index, letter in enumerate(whole):
        recent = drawing[max(0, index - QUARANTINE) : index + 1]
        assert (letter == "#") == ("x" in recent)
