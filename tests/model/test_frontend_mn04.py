"""The front end of mn04: Kaldi's mel bands, a short window, pre-emphasis."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.compliance.kaldi import get_mel_banks

from monitor.model.frontend import (
    IncrementalLogMel,
    LogMel,
    hann_of,
    mel_bank,
    sharpened,
)
from monitor.model.networks.mn04 import SPEC
from monitor.spec import ModelSpec
from tests.support.signals import Samples, cut, noise, silence, sine
from training.mixtures.dataset import BatchLogMel

LOG_MEL = LogMel(SPEC)
RATE = SPEC.sample_rate
SOUNDS = {
    "noise": noise(0.5, 0.1, RATE),
    "faint": noise(0.5, 1e-4, RATE),
    "tone": sine(1000, 0.5, 0.5, RATE) + noise(0.5, 1e-3, RATE),
    "silence": silence(0.5, RATE),
    "offset": noise(0.5, 1e-3, RATE) + 1,
}


def reference(samples: Samples) -> np.ndarray:
    """(channels, n_mels, frames) by torch's transform, as the teacher was trained.

    Its own centring is left out: frame `k` begins at sample `k * hop_length`.
    """
    wave = torch.from_numpy(samples).double()
    sharp = wave[:, 1:] - 0.97 * wave[:, :-1]
    window = torch.hann_window(800, periodic=False, dtype=torch.float64)
    spectra = torch.stft(
        sharp, 1024, 320, 800, window, center=False, return_complex=True
    )
    bank, _ = get_mel_banks(128, 1024, 32_000, 0.0, 15_000.0, 100.0, -500.0, 1.0)
    power = spectra.abs().square()[:, :512]
    return np.asarray(10 * torch.log10(bank.double() @ power + 1e-5))


def test_the_bank_is_that_of_kaldi() -> None:
    expected, _ = get_mel_banks(128, 1024, 32_000, 0.0, 15_000.0, 100.0, -500.0, 1.0)
    bank = mel_bank(SPEC)
    assert bank.shape == (128, 513)
    # Kaldi leaves out the bin at half the sample rate.
    assert (bank[:, -1] == 0).all()
    assert np.abs(bank[:, :-1] - expected.numpy()).max() < 5e-5  # single precision


def test_the_window_is_symmetric_and_in_the_middle() -> None:
    window = hann_of(SPEC)
    assert window.shape == (1024,)
    assert np.array_equal(window, window[::-1])
    assert (window[:112] == 0).all()
    k = np.arange(800)
    expected = 0.5 - 0.5 * np.cos(2 * np.pi * k / 799)
    assert np.abs(window[112:912] - expected).max() < 1e-7


def test_without_a_window_length_it_is_periodic() -> None:
    k = np.arange(1024)
    expected = 0.5 - 0.5 * np.cos(2 * np.pi * k / 1024)
    assert np.abs(hann_of(ModelSpec()) - expected).max() < 1e-7


def test_pre_emphasis_takes_from_each_sample_the_one_before() -> None:
    samples = np.array([[1.0, 2.0, 4.0, 4.0]], np.float32)
    found = sharpened(samples, SPEC)
    assert found == pytest.approx(np.array([[1.03, 2.06, 0.12]]), abs=1e-6)
    assert sharpened(samples, ModelSpec()) is samples


def test_a_frame_takes_one_more_sample() -> None:
    assert SPEC.frame_samples == 1025
    assert SPEC.window_samples == 383 * 320 + 1025
    for samples in (1024, 1025, 1344, 1345):
        frames = LOG_MEL(np.zeros((1, samples), np.float32)).shape[-1]
        assert frames == SPEC.frames_in(samples) == (samples - 1025) // 320 + 1


@pytest.mark.parametrize("sound", SOUNDS)
def test_equals_the_transform_of_the_teacher(sound: str) -> None:
    expected = reference(SOUNDS[sound])
    found = LOG_MEL(SOUNDS[sound])
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() < 2e-3


def test_silence_is_the_floor_and_a_power_is_added_to_it() -> None:
    assert (LOG_MEL(SOUNDS["silence"]) == np.float32(-50.0)).all()
    fainter = LOG_MEL(SOUNDS["faint"] * np.float32(0.1))
    # Raised to the floor, rather than added to it, they would be at the floor.
    assert (fainter > -50.0).mean() > 0.9
    assert fainter.mean() < -49


@pytest.mark.parametrize("sound", SOUNDS)
def test_training_computes_the_same(sound: str) -> None:
    samples = SOUNDS[sound]
    batch = BatchLogMel(SPEC)(np.stack([samples, samples * np.float32(0.1)]))
    for found, factor in zip(batch, (1.0, 0.1), strict=True):
        expected = LOG_MEL(samples * np.float32(factor))
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() < 1e-3


@given(sizes=st.lists(st.integers(0, 4000), max_size=12))
@settings(max_examples=40, deadline=None)
def test_a_stream_gives_the_frames_of_the_whole_in_any_block_sizes(
    sizes: list[int],
) -> None:
    stream = IncrementalLogMel(LOG_MEL, 1)
    parts = [stream.push(block) for block in cut(SOUNDS["noise"], sizes)]
    assert np.array_equal(np.concatenate(parts, axis=-1), LOG_MEL(SOUNDS["noise"]))


@given(at=st.integers(0, 5000), size=st.integers(100, 2000))
@settings(max_examples=30, deadline=None)
def test_after_a_gap_frames_begin_again_on_the_grid(at: int, size: int) -> None:
    stream = IncrementalLogMel(LOG_MEL, 1, at)
    first = stream.next_frame
    assert first == -(-at // SPEC.hop_length)
    rest = SOUNDS["noise"][:, at:]
    blocks = cut(rest, [size] * (rest.shape[1] // size))
    found = np.concatenate([stream.push(block) for block in blocks], axis=-1)
    assert np.array_equal(found, LOG_MEL(SOUNDS["noise"])[..., first:])


def test_a_window_length_beyond_the_transform_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"win_length: 1025 .* longer than n_fft"):
        ModelSpec(win_length=1025)
