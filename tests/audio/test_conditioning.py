"""Samples reach their place in the timeline, resampled, whatever the blocks."""

import logging

import numpy as np
import pytest
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.conditioning import Conditioner, StreamResampler
from monitor.audio.dropouts import GapJoiner
from monitor.audio.ring import Samples
from monitor.audio.timeline import Block, Timeline
from monitor.records import Gap, SourceState
from tests.support.signals import RATE, cut, noise, rms, sine

INPUT_RATES = [8_000, 11_025, 16_000, 22_050, 32_000, 48_000, 96_000, 192_000]
MODEL_RATE = 44_100
RATES = [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]


def resampled(resampler: StreamResampler, blocks: list[Samples]) -> Samples:
    outputs = [resampler.push(block) for block in blocks]
    return np.concatenate([*outputs, resampler.finish()], axis=1)


@given(
    input_rate=st.sampled_from(INPUT_RATES),
    channels=st.integers(1, 2),
    length=st.integers(1, 5000),
    sizes=st.lists(st.integers(0, 2000), max_size=10),
)
def test_a_resampled_stream_equals_the_resampled_whole(
    input_rate: int, channels: int, length: int, sizes: list[int]
) -> None:
    whole = noise(length / RATE, channels=channels, seed=length)
    expected = soxr.resample(whole.T, input_rate, RATE, "HQ").T

    output = resampled(StreamResampler(input_rate, RATE, channels), cut(whole, sizes))

    np.testing.assert_allclose(output, expected, atol=1e-6)


@pytest.mark.parametrize("input_rate", INPUT_RATES)
@pytest.mark.parametrize("length", [0, 1, 7, 1000, 12_345])
def test_no_sample_is_lost_at_the_end(input_rate: int, length: int) -> None:
    blocks = cut(noise(length / RATE), [480] * 30)
    output = resampled(StreamResampler(input_rate, RATE, 1), blocks)

    assert abs(output.shape[1] - length * RATE / input_rate) <= 0.5


@pytest.mark.parametrize("input_rate", INPUT_RATES)
def test_a_sine_keeps_frequency_amplitude_and_place(input_rate: int) -> None:
    whole = sine(997, 1.0, amplitude=0.5, sample_rate=input_rate, channels=2)
    output = resampled(StreamResampler(input_rate, RATE, 2), cut(whole, [333] * 400))

    expected = sine(997, 1.0, amplitude=0.5, channels=2)
    middle = slice(RATE // 4, -RATE // 4)  # away from where the tone is cut off
    assert rms((output - expected)[:, middle]) < 1e-4 * rms(expected)


def test_frequencies_above_the_output_do_not_fold_back() -> None:
    whole = sine(23_000, 1.0, sample_rate=48_000)
    output = resampled(StreamResampler(48_000, RATE, 1), [whole])

    assert rms(output[:, RATE // 4 : -RATE // 4]) < 1e-5  # -100 dB


def test_equal_rates_pass_through_untouched() -> None:
    resampler = StreamResampler(RATE, RATE, 2)
    block = noise(0.01, channels=2)

    assert resampler.push(block) is block
    assert resampler.finish().shape == (2, 0)


def make(
    rate: int, channels: int = 1, detail: str = "", *, has_room: bool = True
) -> tuple[Timeline, Conditioner]:
    timeline = Timeline("street", MODEL_RATE, 30.0)
    conditioner = Conditioner(
        timeline,
        GapJoiner(timeline),
        sample_rate=rate,
        channels=channels,
        make_room=lambda _count: has_room,
        detail=detail,
    )
    return timeline, conditioner


def blocks_of(timeline: Timeline) -> list[Block]:
    return [piece for piece in timeline.take() if isinstance(piece, Block)]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_tone_keeps_its_pitch_level_and_duration_at_any_rate(
    rate: int, channels: int
) -> None:
    timeline, conditioner = make(rate, channels)
    for block in cut(sine(1_000, 1.0, 0.5, rate, channels), [7, 1000, 0, 333] * 20):
        conditioner.push(block, now=0.0)
    conditioner.flush(now=0.0)
    (block_taken,) = blocks_of(timeline)
    kept = channels if channels <= 2 else 1
    assert block_taken.samples.shape == (kept, MODEL_RATE)
    expected = sine(1_000, 1.0, 0.5, MODEL_RATE, kept)
    middle = slice(2_000, -2_000)
    np.testing.assert_allclose(
        block_taken.samples[:, middle], expected[:, middle], atol=2e-3
    )


def test_a_sound_in_the_last_of_many_channels_is_conditioned() -> None:
    timeline, conditioner = make(MODEL_RATE, 4)
    block = np.zeros((4, 4_410), np.float32)
    block[3] = noise(0.1)[0]
    conditioner.push(block, now=0.0)
    np.testing.assert_array_equal(blocks_of(timeline)[0].samples, block[3:] / 4)


def test_a_dead_channel_is_replaced() -> None:
    timeline, conditioner = make(48_000, 2)
    block = noise(10.0, sample_rate=48_000, channels=2)
    block[1] = 0
    conditioner.push(block, now=0.0)
    newest = blocks_of(timeline)[-1].samples[:, -1000:]
    np.testing.assert_array_equal(newest[0], newest[1])
    assert newest.any()


def invalid_at(rate: int, seconds: float) -> Samples:
    samples = sine(1_000, 3.0, 0.5, rate)
    samples[0, round(seconds * rate)] = np.nan
    return samples


@pytest.mark.parametrize("rate", RATES)
def test_an_invalid_sample_is_a_gap_and_what_follows_stays_in_its_place(
    rate: int,
) -> None:
    timeline, conditioner = make(rate)
    for block in cut(invalid_at(rate, 1.0), [rate // 100] * 400):
        conditioner.push(block, now=0.0)
    conditioner.flush(now=0.0)
    before, gap, after = timeline.take()
    assert isinstance(before, Block)
    assert isinstance(gap, Gap)
    assert isinstance(after, Block)
    assert (gap.start, gap.reason) == (before.stop, "invalid")
    assert gap.start == pytest.approx(1.0 * MODEL_RATE, abs=1)
    assert gap.stop == pytest.approx(1.5 * MODEL_RATE, abs=6)
    assert after.start == gap.stop
    assert after.stop == pytest.approx(3.0 * MODEL_RATE, abs=1)
    assert np.isfinite(after.samples).all()
    expected = sine(1_000, 3.0, 0.5, MODEL_RATE)[:, after.start + 2000 : after.stop]
    np.testing.assert_allclose(
        after.samples[:, 2000:-2000], expected[:, :-2000], atol=0.05
    )


def test_invalid_samples_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    _, conditioner = make(MODEL_RATE)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            conditioner.push(np.full((1, 4410), np.nan, np.float32), now=0.0)
    assert len(caplog.messages) == 1
    assert (
        "'street' delivers samples that are not finite or absurdly loud"
        in caplog.messages[0]
    )


@settings(max_examples=40, deadline=None)
@given(
    rate=st.sampled_from(RATES),
    steps=st.lists(
        st.tuples(st.sampled_from(["sound", "lost", "nan"]), st.integers(0, 5_000)),
        max_size=8,
    ),
)
def test_the_position_follows_the_stream_whatever_was_lost(
    rate: int, steps: list[tuple[str, int]]
) -> None:
    timeline = Timeline("street", MODEL_RATE, 30.0)
    gaps = GapJoiner(timeline)
    conditioner = Conditioner(
        timeline, gaps, sample_rate=rate, channels=1, make_room=lambda _count: True
    )
    for kind, count in steps:
        if kind == "lost":
            conditioner.lose(count, "overrun", now=0.0)
        else:
            value = np.nan if kind == "nan" else 0.1
            conditioner.push(np.full((1, count), value, np.float32), now=0.0)
    conditioner.flush(now=0.0)
    gaps.flush()
    total = sum(count for _, count in steps) * MODEL_RATE / rate
    assert timeline.stop == pytest.approx(total, abs=1)


def test_samples_that_find_no_room_are_dropped_at_the_end() -> None:
    timeline, conditioner = make(MODEL_RATE, has_room=False)
    conditioner.push(noise(1.0), now=0.0)
    assert timeline.take() == []


@given(st.lists(st.integers(1, 30_000), max_size=20), st.sampled_from(RATES))
@settings(deadline=None, max_examples=20)
def test_the_intervals_of_a_stream_lie_on_a_grid_whatever_the_blocks(
    sizes: list[int], rate: int
) -> None:
    timeline, conditioner = make(rate, 2)
    for block in cut(noise(2.3, sample_rate=rate, channels=2), sizes):
        conditioner.push(block, now=0.0)
    intervals = timeline.take_statistics()
    half = MODEL_RATE // 2
    assert [(it.start, it.stop) for it in intervals] == [
        (n * half, (n + 1) * half) for n in range(4)
    ]
    assert all(len(it.channels) == 2 for it in intervals)
    assert timeline.take_statistics() == []


def test_clipping_is_measured_before_the_resampler_rounds_it_off() -> None:
    for rate in RATES:
        timeline, conditioner = make(rate)
        tone = np.clip(sine(440, 1.0, 2.0, rate), -1, 1)
        conditioner.push(tone, now=0.0)
        intervals = timeline.take_statistics()
        assert len(intervals) == 2
        assert min(it.channels[0].clipped for it in intervals) > 0.3 * rate / 2


def test_a_dead_channel_is_measured_before_the_living_one_takes_its_place() -> None:
    timeline, conditioner = make(MODEL_RATE, 2)
    block = noise(10.0, channels=2)
    block[1] = 0
    conditioner.push(block, now=0.0)
    assert [it.channels[1].is_zero for it in timeline.take_statistics()] == [True] * 20


def test_after_a_loss_intervals_begin_anew() -> None:
    timeline, conditioner = make(MODEL_RATE)
    conditioner.push(noise(0.8), now=0.0)
    conditioner.lose(MODEL_RATE, "stalled", now=0.0)
    conditioner.push(noise(0.8), now=0.0)
    starts = [it.start / MODEL_RATE for it in timeline.take_statistics()]
    assert starts == [0, pytest.approx(1.8)]


def test_two_equal_channels_are_said_once_and_only_of_a_live_stream() -> None:
    for detail, said in (
        ("a microphone", ["a microphone, both the same: mono"]),
        ("", []),
    ):
        timeline, conditioner = make(MODEL_RATE, 2, detail)
        for _ in range(2):
            conditioner.push(np.repeat(noise(4.0), 2, axis=0), now=0.0)
            conditioner.push(noise(1.0, channels=2), now=0.0)
        states = [it for it in timeline.take() if isinstance(it, SourceState)]
        assert [(it.state, it.detail) for it in states] == [
            ("listening", sentence) for sentence in said
        ]


def test_silence_and_channels_that_differ_are_not_said_to_be_equal() -> None:
    timeline, conditioner = make(MODEL_RATE, 2, "a microphone")
    conditioner.push(np.zeros((2, 4 * MODEL_RATE), np.float32), now=0.0)
    conditioner.push(noise(4.0, channels=2), now=0.0)
    assert not any(isinstance(it, SourceState) for it in timeline.take())


def test_a_stuck_source_that_is_too_slow_as_well_is_a_repetition() -> None:
    """The gaps between its samples do not interrupt the period."""
    timeline, conditioner = make(MODEL_RATE, 2)
    block = noise(0.1, channels=2)
    for _ in range(100):
        conditioner.push(block, now=0.0)
        conditioner.push(block[:, :1234], now=0.0)
        conditioner.push(block[:, 1234:], now=0.0)
        conditioner.lose(block.shape[1], "stalled", now=0.0)
    assert timeline.take_statistics() == []  # no half-second is complete
    for _ in range(8):
        conditioner.push(np.tile(block, 7), now=0.0)
        conditioner.lose(block.shape[1], "stalled", now=0.0)
    periods = [it.period_seconds for it in timeline.take_statistics()]
    assert periods == [pytest.approx(0.1)] * 8
