"""Log-mel: a stream gives the whole signal's frames to the last bit; and physics."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from monitor.errors import UsageError
from monitor.model.frontend import Array, IncrementalLogMel, LogMel
from monitor.spec import ModelSpec
from tests.support.torchaudio_reference import torchaudio_log_mel

SPEC = ModelSpec()
LOG_MEL = LogMel(SPEC)
SAMPLES = np.random.default_rng(1).normal(0, 0.1, (2, 16_000)).astype(np.float32)


def sine(frequency: float, amplitude: float, samples: int = 8192) -> Array:
    t = np.arange(samples) / SPEC.sample_rate
    return (amplitude * np.sin(2 * np.pi * frequency * t)).astype(np.float32)[None]


def blocks(samples: Array, size: int) -> list[Array]:
    return np.split(samples, range(size, samples.shape[1], size), axis=1)


def band_of(frequency: float) -> int:
    """The mel band (Slaney's scale, linear below 1 kHz) whose centre is nearest."""

    def mel(hertz: float) -> float:
        linear = hertz / (200 / 3)
        return linear if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)

    centres = np.linspace(mel(SPEC.f_min), mel(SPEC.f_max), SPEC.n_mels + 2)[1:-1]
    return int(np.argmin(np.abs(centres - mel(frequency))))


def click() -> Array:
    samples = np.zeros((1, 8192), np.float32)
    samples[0, 4000] = 1.0
    return samples


@pytest.mark.parametrize(
    "samples",
    [
        SAMPLES,
        SAMPLES * 1e-4,
        SAMPLES * 1e4,
        np.sign(sine(50.0, 1.0)),
        sine(1000.0, 1.0) + SAMPLES[:1, :8192] * 1e-2,
        np.zeros((2, 8192), np.float32),
        np.ones((1, 8192), np.float32) + SAMPLES[:1, :8192] * 1e-3,
        click(),
    ],
    ids=["noise", "faint", "huge", "square", "tone", "silence", "offset", "click"],
)
def test_equals_torchaudios_mel_spectrogram_without_centring(samples: Array):
    expected = torchaudio_log_mel(SPEC, samples)
    # Both transforms round in proportion to the whole spectrum of the frame.
    frames = sliding_window_view(samples, SPEC.n_fft, axis=1)[:, :: SPEC.hop_length]
    spectra = np.abs(np.fft.rfft(frames * np.hanning(SPEC.n_fft))).max(axis=-1)
    below_db = 20 * np.log10(np.maximum(spectra, 1e-5))[:, None] - expected
    tolerance = 5e-4 + 1e-6 * 10 ** (below_db / 20)
    assert (np.abs(LOG_MEL(samples) - expected) < tolerance).all()


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
    assert np.array_equal(np.concatenate(parts, axis=-1), LOG_MEL(signal))


def test_the_quiet_bands_beside_a_loud_tone_do_not_depend_on_block_sizes():
    tone = sine(1000.0, 1.0, samples=16_000)
    stream = IncrementalLogMel(LOG_MEL, 1)
    joined = np.concatenate([stream.push(b) for b in blocks(tone, 777)], axis=-1)
    assert np.array_equal(joined, LOG_MEL(tone))


def test_overlapping_windows_share_their_frames():
    window = SPEC.frame_span(10)
    whole = LOG_MEL(SAMPLES)
    for frame in range(0, whole.shape[-1] - 10, 3):
        start = frame * SPEC.hop_length
        part = LOG_MEL(SAMPLES[:, start : start + window])
        assert np.array_equal(part, whole[..., frame : frame + 10])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 11_000), st.integers(100, 2000))
def test_after_a_gap_frames_begin_again_on_the_absolute_grid(at: int, size: int):
    stream = IncrementalLogMel(LOG_MEL, 2, at)
    first = stream.next_frame
    assert first == -(-at // SPEC.hop_length)
    parts = [stream.push(block) for block in blocks(SAMPLES[:, at:], size)]
    whole = LOG_MEL(SAMPLES)
    assert np.array_equal(np.concatenate(parts, axis=-1), whole[..., first:])
    assert stream.next_frame == whole.shape[-1]


def test_frames_that_do_not_touch_are_found_in_a_stream():
    log_mel = LogMel(SPEC.model_copy(update={"hop_length": 1500}))
    stream = IncrementalLogMel(log_mel, 2)
    parts = [stream.push(block) for block in blocks(SAMPLES, 700)]
    assert np.array_equal(np.concatenate(parts, axis=-1), log_mel(SAMPLES))


@pytest.mark.parametrize("frequency", [200.0, 1000.0, 3000.0, 8000.0])
def test_a_sine_peaks_in_the_band_that_holds_it(frequency: float):
    log_mel = LOG_MEL(sine(frequency, 0.5))
    assert (log_mel.argmax(axis=1) == band_of(frequency)).all()


def test_twice_the_amplitude_is_6_db_more():
    loud, quiet = LOG_MEL(SAMPLES), LOG_MEL(SAMPLES / 2)
    assert loud - quiet == pytest.approx(20 * np.log10(2), abs=1e-3)


def test_silence_is_the_floor_and_a_loud_sound_does_not_raise_it():
    silence = np.zeros((1, 20_000), np.float32)
    click = silence.copy()
    click[0, 10_000] = 1.0
    assert (LOG_MEL(silence) == SPEC.floor_db).all()
    touched = (LOG_MEL(click) > SPEC.floor_db).any(axis=1)[0].nonzero()[0]
    assert touched.tolist() == [18, 19]  # the two frames that hold sample 10000


def test_less_than_a_frame_gives_no_frame():
    assert LOG_MEL(np.zeros((2, 1023), np.float32)).shape == (2, 64, 0)
    assert LOG_MEL(np.zeros((2, 1024), np.float32)).shape == (2, 64, 1)


def test_a_band_between_two_fft_bins_is_rejected_by_name():
    with pytest.raises(UsageError, match=r"n_mels: .* of the 512 bands .* above 1024"):
        LogMel(ModelSpec(n_mels=512))
