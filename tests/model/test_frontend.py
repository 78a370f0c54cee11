"""Log-mel: a stream gives the whole signal's frames to the last bit; and physics."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchaudio.transforms import MelSpectrogram

from monitor.errors import UsageError
from monitor.model.frontend import IncrementalLogMel, LogMel
from monitor.spec import ModelSpec

SPEC = ModelSpec()
LOG_MEL = LogMel(SPEC)
SAMPLES = torch.from_numpy(
    np.random.default_rng(1).normal(0, 0.1, (2, 16_000)).astype(np.float32)
)


def sine(frequency: float, amplitude: float, samples: int = 8192) -> torch.Tensor:
    t = torch.arange(samples, dtype=torch.float64) / SPEC.sample_rate
    return (amplitude * torch.sin(2 * torch.pi * frequency * t)).float()[None]


def band_of(frequency: float) -> int:
    """The mel band (Slaney's scale, linear below 1 kHz) whose centre is nearest."""

    def mel(hertz: float) -> float:
        linear = hertz / (200 / 3)
        return linear if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)

    centres = np.linspace(mel(SPEC.f_min), mel(SPEC.f_max), SPEC.n_mels + 2)[1:-1]
    return int(np.argmin(np.abs(centres - mel(frequency))))


def test_equals_torchaudios_mel_spectrogram_without_centring():
    mel = MelSpectrogram(
        SPEC.sample_rate,
        SPEC.n_fft,
        hop_length=SPEC.hop_length,
        n_mels=SPEC.n_mels,
        f_min=SPEC.f_min,
        f_max=SPEC.f_max,
        center=False,
        mel_scale="slaney",
    )
    expected = 10 * torch.log10(mel(SAMPLES).clamp(min=1e-10))
    assert (LOG_MEL(SAMPLES) - expected).abs().max() < 1e-4


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3000), max_size=20), st.integers(1, 2))
def test_a_stream_gives_the_frames_of_the_whole_signal_in_any_block_sizes(
    sizes: list[int], channels: int
):
    stream = IncrementalLogMel(LOG_MEL, channels)
    signal = SAMPLES[:channels]
    parts, at = [], 0
    for size in [*sizes, signal.shape[-1]]:
        first = stream.next_frame
        parts.append(stream.push(signal[:, at : at + size]))
        assert stream.next_frame == first + parts[-1].shape[-1]
        at = min(at + size, signal.shape[-1])
    assert torch.equal(torch.cat(parts, dim=-1), LOG_MEL(signal))


def test_the_quiet_bands_beside_a_loud_tone_do_not_depend_on_block_sizes():
    tone = sine(1000.0, 1.0, samples=16_000)
    stream = IncrementalLogMel(LOG_MEL, 1)
    joined = torch.cat([stream.push(block) for block in tone.split(777, -1)], dim=-1)
    assert torch.equal(joined, LOG_MEL(tone))


def test_overlapping_windows_share_their_frames():
    window = SPEC.frame_span(10)
    whole = LOG_MEL(SAMPLES)
    for frame in range(0, whole.shape[-1] - 10, 3):
        start = frame * SPEC.hop_length
        part = LOG_MEL(SAMPLES[:, start : start + window])
        assert torch.equal(part, whole[..., frame : frame + 10])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 11_000), st.integers(100, 2000))
def test_after_a_gap_frames_begin_again_on_the_absolute_grid(at: int, size: int):
    stream = IncrementalLogMel(LOG_MEL, 2, at)
    first = stream.next_frame
    assert first == -(-at // SPEC.hop_length)
    parts = [stream.push(block) for block in SAMPLES[:, at:].split(size, dim=-1)]
    whole = LOG_MEL(SAMPLES)
    assert torch.equal(torch.cat(parts, dim=-1), whole[..., first:])
    assert stream.next_frame == whole.shape[-1]


def test_frames_that_do_not_touch_are_found_in_a_stream():
    log_mel = LogMel(SPEC.model_copy(update={"hop_length": 1500}))
    stream = IncrementalLogMel(log_mel, 2)
    parts = [stream.push(block) for block in SAMPLES.split(700, dim=-1)]
    assert torch.equal(torch.cat(parts, dim=-1), log_mel(SAMPLES))


@pytest.mark.parametrize("frequency", [200.0, 1000.0, 3000.0, 8000.0])
def test_a_sine_peaks_in_the_band_that_holds_it(frequency: float):
    log_mel = LOG_MEL(sine(frequency, 0.5))
    assert (log_mel.argmax(dim=1) == band_of(frequency)).all()


def test_twice_the_amplitude_is_6_db_more():
    loud, quiet = LOG_MEL(SAMPLES), LOG_MEL(SAMPLES / 2)
    assert loud - quiet == pytest.approx(20 * np.log10(2), abs=1e-3)


def test_silence_is_the_floor_and_a_loud_sound_does_not_raise_it():
    silence = torch.zeros(1, 20_000)
    click = silence.clone()
    click[0, 10_000] = 1.0
    assert (LOG_MEL(silence) == SPEC.floor_db).all()
    touched = (LOG_MEL(click) > SPEC.floor_db).any(dim=1)[0].nonzero().flatten()
    assert touched.tolist() == [18, 19]  # the two frames that hold sample 10000


def test_less_than_a_frame_gives_no_frame():
    assert LOG_MEL(torch.zeros(2, 1023)).shape == (2, 64, 0)
    assert LOG_MEL(torch.zeros(2, 1024)).shape == (2, 64, 1)


def test_a_band_between_two_fft_bins_is_rejected_by_name():
    with pytest.raises(UsageError, match=r"n_mels: .* of the 512 bands .* above 1024"):
        LogMel(ModelSpec(n_mels=512))
