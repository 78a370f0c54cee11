from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator

from tests.support.recordings import RATE, sound
from training.config import FeatureSettings
from training.mixtures import augment

SETTINGS = FeatureSettings(gain_db=6, filter_db=3, frequency_masks=2, time_masks=2)


def stereo() -> np.ndarray:
    left = sound("hiss", 1, seconds=1.2)
    return np.stack([left, 0.5 * left])


@pytest.mark.parametrize(
    "change",
    [
        lambda r, x: augment.change_speed(r, x, 0.15),
        lambda r, x: augment.filter_randomly(r, x, RATE, room_share=1),
        lambda r, x: augment.place(r, x, 16_000, RATE, True)[0],
        lambda r, x: augment.repeat(r, x, 20_000, RATE),
    ],
)
def test_a_change_is_its_generator_s_and_keeps_channels_and_type(
    change: Callable[[Generator, np.ndarray], np.ndarray],
) -> None:
    samples = stereo()
    before = samples.copy()
    first = change(np.random.default_rng(3), samples)
    again = change(np.random.default_rng(3), samples)
    other = change(np.random.default_rng(4), samples)
    assert first.dtype == np.float32
    assert first.shape[0] == 2
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)
    assert np.array_equal(samples, before)  # the cached recording stays as it is


def test_speed_changes_by_no_more_than_asked() -> None:
    samples = stereo()
    lengths = [
        augment.change_speed(np.random.default_rng(n), samples, 0.15).shape[1]
        for n in range(40)
    ]
    assert min(lengths) >= samples.shape[1] / 1.16
    assert max(lengths) <= samples.shape[1] / 0.84


def test_a_filter_neither_delays_nor_lengthens() -> None:
    impulse = np.zeros((1, 6000), np.float32)
    impulse[0, 3000] = 1
    filtered = augment.filter_randomly(
        np.random.default_rng(0), impulse, RATE, room_share=0
    )
    assert filtered.shape == impulse.shape
    assert abs(int(np.abs(filtered[0]).argmax()) - 3000) <= 2


def test_blockwise_filtering_is_convolution() -> None:
    r = np.random.default_rng(0)
    samples = r.standard_normal((2, 5000)).astype(np.float32)
    response = r.standard_normal(301).astype(np.float32)
    filtered = augment._convolve(samples, response, delay=0)
    for channel in range(2):
        whole = np.convolve(samples[channel], response)[:5000]
        assert np.allclose(filtered[channel], whole, atol=1e-3)


@pytest.mark.parametrize("partial", [True, False])
def test_a_sound_lies_where_it_is_said_to(partial: bool) -> None:
    samples = np.ones((1, 9000), np.float32)
    for seed in range(60):
        placed, start, stop = augment.place(
            np.random.default_rng(seed), samples, 8000, RATE, partial
        )
        assert placed.shape == (1, 8000)
        assert 0 <= start < stop <= 8000
        assert not placed[:, :start].any()
        assert not placed[:, stop:].any()
        assert stop - start >= 0.35 * 9000


def test_masks_lie_on_both_channels_alike() -> None:
    log_mel = np.random.default_rng(0).normal(-50, 10, (4, 2, 16, 64))
    log_mel = log_mel.astype(np.float32)
    masked = log_mel.copy()
    augment.mask(np.random.default_rng(1), masked, SETTINGS)
    changed = masked != log_mel
    assert changed.any()
    assert np.array_equal(changed[:, 0], changed[:, 1])


def test_a_roll_moves_no_channel_into_the_other_and_takes_the_activity_along() -> None:
    log_mel = np.zeros((3, 2, 16, 64), np.float32)
    activity = np.zeros((3, 1, 8), np.float32)
    log_mel[:, 1, :, :8], activity[:, 0, 0] = 1, 1
    augment.roll(np.random.default_rng(0), log_mel, activity, 8)
    assert not log_mel[:, 0].any()
    for row in range(3):
        cell = int(activity[row, 0].argmax())
        assert log_mel[row, 1, :, 8 * cell : 8 * cell + 8].all()


def test_mixed_powers_add_up() -> None:
    log_mel = np.full((2, 1, 4, 8), -40, np.float32)
    mixed = np.array([True, False])
    augment.mix_powers(np.random.default_rng(0), log_mel, np.array([1, 0]), mixed)
    assert (log_mel[1] == -40).all()
    assert -40 + 0.6 < log_mel[0].mean() < -40 + 5.5  # a partner at -8 to 4 dB


def test_gain_is_one_number_for_a_window() -> None:
    log_mel = np.zeros((5, 2, 16, 8), np.float32)
    augment.vary_levels(
        np.random.default_rng(0), log_mel, FeatureSettings(gain_db=6, filter_db=0)
    )
    assert np.ptp(log_mel, axis=(1, 2, 3)).max() == 0
    assert len(np.unique(log_mel[:, 0, 0, 0])) == 5
    assert np.abs(log_mel).max() <= 6
