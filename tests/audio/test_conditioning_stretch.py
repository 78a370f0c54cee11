"""A stretch brings every sample to its place at the rate of the timeline."""

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.audio.conditioning import Stretch
from monitor.audio.dropouts import Losses
from monitor.audio.ring import Samples
from monitor.audio.timeline import Block, Timeline
from monitor.records import Gap
from tests.support.signals import cut, noise, sine

MODEL_RATE = 44_100
RATES = [8_000, 16_000, 22_050, 44_100, 48_000, 96_000, 192_000]


def make(rate: int, channels: int = 1) -> tuple[Timeline, Stretch]:
    timeline = Timeline("street", MODEL_RATE, 30.0)
    stretch = Stretch(
        timeline,
        Losses(timeline),
        sample_rate=rate,
        channels=channels,
        make_room=lambda _count: True,
    )
    return timeline, stretch


def blocks_of(timeline: Timeline) -> list[Block]:
    return [piece for piece in timeline.take() if isinstance(piece, Block)]


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_a_tone_keeps_its_pitch_level_and_duration_at_any_rate(
    rate: int, channels: int
) -> None:
    timeline, stretch = make(rate, channels)
    for block in cut(sine(1_000, 1.0, 0.5, rate, channels), [7, 1000, 0, 333] * 20):
        stretch.push(block, now=0.0)
    stretch.flush(now=0.0)
    (block_taken,) = blocks_of(timeline)
    assert block_taken.samples.shape == (min(channels, 2), MODEL_RATE)
    expected = sine(1_000, 1.0, 0.5, MODEL_RATE, min(channels, 2))
    middle = slice(2_000, -2_000)
    np.testing.assert_allclose(
        block_taken.samples[:, middle], expected[:, middle], atol=2e-3
    )


def test_of_many_channels_the_first_two_are_heard() -> None:
    timeline, stretch = make(MODEL_RATE, 4)
    block = noise(0.1, channels=4)
    stretch.push(block, now=0.0)
    np.testing.assert_array_equal(blocks_of(timeline)[0].samples, block[:2])


def test_a_dead_channel_is_replaced() -> None:
    timeline, stretch = make(48_000, 2)
    block = noise(10.0, sample_rate=48_000, channels=2)
    block[1] = 0
    stretch.push(block, now=0.0)
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
    timeline, stretch = make(rate)
    for block in cut(invalid_at(rate, 1.0), [rate // 100] * 400):
        stretch.push(block, now=0.0)
    stretch.flush(now=0.0)
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
    _, stretch = make(MODEL_RATE)
    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            stretch.push(np.full((1, 4410), np.nan, np.float32), now=0.0)
    assert len(caplog.messages) == 1
    assert "'street' delivers samples that are no sound" in caplog.messages[0]


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
    losses = Losses(timeline)
    stretch = Stretch(
        timeline, losses, sample_rate=rate, channels=1, make_room=lambda _count: True
    )
    for kind, count in steps:
        if kind == "lost":
            stretch.lose(count, "overrun", now=0.0)
        else:
            value = np.nan if kind == "nan" else 0.1
            stretch.push(np.full((1, count), value, np.float32), now=0.0)
    stretch.flush(now=0.0)
    losses.settle()
    total = sum(count for _, count in steps) * MODEL_RATE / rate
    assert timeline.stop == pytest.approx(total, abs=1)


def test_samples_that_find_no_room_are_dropped_at_the_end() -> None:
    timeline = Timeline("street", MODEL_RATE, 30.0)
    stretch = Stretch(
        timeline,
        Losses(timeline),
        sample_rate=MODEL_RATE,
        channels=1,
        make_room=lambda _count: False,
    )
    stretch.push(noise(1.0), now=0.0)
    assert timeline.take() == []


@given(st.lists(st.integers(1, 30_000), max_size=20), st.sampled_from(RATES))
@settings(deadline=None, max_examples=20)
def test_the_vitals_of_a_stream_lie_on_a_grid_whatever_the_blocks(
    sizes: list[int], rate: int
) -> None:
    timeline, stretch = make(rate, 2)
    for block in cut(noise(2.3, sample_rate=rate, channels=2), sizes):
        stretch.push(block, now=0.0)
    vitals = timeline.vitals.take()
    half = MODEL_RATE // 2
    assert [(it.start, it.stop) for it in vitals] == [
        (n * half, (n + 1) * half) for n in range(4)
    ]
    assert all(len(it.channels) == 2 for it in vitals)
    assert timeline.vitals.take() == []


def test_clipping_is_measured_before_the_resampler_rounds_it_off() -> None:
    for rate in RATES:
        timeline, stretch = make(rate)
        tone = np.clip(sine(440, 1.0, 2.0, rate), -1, 1)
        stretch.push(tone, now=0.0)
        for vitals in timeline.vitals.take():
            assert vitals.channels[0].clipped > 0.3 * rate / 2


def test_a_dead_channel_is_measured_before_the_living_one_takes_its_place() -> None:
    timeline, stretch = make(MODEL_RATE, 2)
    block = noise(10.0, channels=2)
    block[1] = 0
    stretch.push(block, now=0.0)
    assert all(it.channels[1].is_zero for it in timeline.vitals.take())


def test_after_a_loss_vitals_are_measured_anew_behind_it() -> None:
    timeline, stretch = make(MODEL_RATE)
    stretch.push(noise(0.8), now=0.0)
    stretch.lose(MODEL_RATE, "stalled", now=0.0)
    stretch.push(noise(0.8), now=0.0)
    starts = [it.start / MODEL_RATE for it in timeline.vitals.take()]
    assert starts == [0, pytest.approx(1.8)]
