"""Recordings of any kind: features as torchaudio's, and scores as torch's."""

import threading
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import soundfile
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from monitor.audio.capture import Capture
from monitor.audio.sources.demo import render_sound
from monitor.audio.sources.file import File
from monitor.audio.timeline import Block, Timeline
from monitor.config.audio import SourceSettings
from monitor.model.classifier import Classifier
from monitor.model.frontend import Array, LogMel
from monitor.model.model_file import load_model
from monitor.spec import ModelSpec
from tests.support.clock import FakeClock
from tests.support.torchaudio_reference import torchaudio_log_mel

SPEC = ModelSpec()
LOG_MEL = LogMel(SPEC)
SECONDS = 9.5
"""Two windows, with room for the half second that an invalid sample costs."""

Signal = NDArray[np.float64]
Subtype = Literal["PCM_16", "FLOAT"]


def siren(rate: int) -> Signal:
    return 0.1 * render_sound("siren", SECONDS, rate)


def siren_with(value: float) -> Signal:
    """A siren with two invalid samples, which divide it into two whole windows."""
    signal = siren(44_100)
    signal[5 * 44_100 : 5 * 44_100 + 2] = value
    return signal


def tone(frequency: float) -> Signal:
    return np.sin(2 * np.pi * frequency * np.arange(round(SECONDS * 44_100)) / 44_100)


COUNT = round(SECONDS * 44_100)
RECORDINGS: dict[str, tuple[int, Subtype, Signal]] = {
    "silence": (44_100, "PCM_16", np.zeros(COUNT)),
    "full-scale square": (44_100, "PCM_16", np.sign(tone(441.3))),
    "offset": (44_100, "FLOAT", np.ones(COUNT)),
    "offset with a siren": (44_100, "FLOAT", 0.5 + siren(44_100)),
    "NaN": (44_100, "FLOAT", siren_with(np.nan)),
    "infinity": (44_100, "FLOAT", siren_with(-np.inf)),
    "denormal": (44_100, "FLOAT", 1e-39 * tone(1000.0)),
    "last bit": (44_100, "PCM_16", (tone(50.0) > 0) / 32_768),
    "steps of one sample": (44_100, "PCM_16", np.where(np.arange(COUNT) % 2, 1, -1.0)),
    "8 kHz": (8_000, "PCM_16", siren(8_000)),
    "192 kHz stereo": (
        192_000,
        "PCM_16",
        np.stack([siren(192_000), np.roll(siren(192_000), 300)], axis=1),
    ),
    "six channels": (
        48_000,
        "PCM_16",
        siren(48_000)[:, None] * [1.0, 0.5, -0.2, 0.0, 0.3, 1.0],
    ),
}


class RoomyTimeline(Timeline):
    """A timeline that has room for the whole recording."""

    def wait_for_room(self, count: int, stop: threading.Event) -> bool:
        return True


def captured(path: Path) -> list[Array]:
    """The samples of a recording as the pipeline gets them, without the gaps."""
    clock = FakeClock()
    timeline = RoomyTimeline("tape", SPEC.sample_rate, 30.0)
    settings = SourceSettings(name="tape", input="file:of that name")
    source = File(path, "max", clock.monotonic)
    Capture(source, timeline, settings, clock.monotonic).run(threading.Event())
    return [it.samples for it in timeline.take() if isinstance(it, Block)]


@pytest.fixture(scope="module")
def classifiers() -> list[Classifier]:
    return [
        Classifier(load_model(None), "cpu", engine=engine)
        for engine in ("onnx", "torch")
    ]


@pytest.mark.parametrize("name", RECORDINGS)
def test_features_and_scores_are_those_of_torch(
    name: str, classifiers: list[Classifier], tmp_path: Path
) -> None:
    """To 2e-4 dB in a band as loud as the loudest bin of its frame.

    Single precision rounds quieter bands in proportion to that bin: they may differ by
    0.15 dB where they lie 80 dB below it.
    """
    rate, subtype, signal = RECORDINGS[name]
    path = tmp_path / "recording.wav"
    soundfile.write(path, signal, rate, subtype)
    windows = 0
    for samples in captured(path):
        log_mel, expected = (
            LOG_MEL(samples),
            torchaudio_log_mel(SPEC, samples, double=True),
        )
        # A transform in single precision rounds in proportion to the whole frame, and
        # so does torchaudio's bank, which is computed in single precision.
        frames = sliding_window_view(samples, SPEC.n_fft, axis=1)[:, :: SPEC.hop_length]
        spectra = np.abs(np.fft.rfft(frames * np.hanning(SPEC.n_fft))).max(axis=-1)
        below_db = 20 * np.log10(np.maximum(spectra, 1e-5))[:, None] - expected
        tolerance = 2e-4 + 1.5e-5 * 10 ** (below_db / 20)
        assert (np.abs(log_mel - expected) < tolerance).all()
        for first in range(0, log_mel.shape[-1] - SPEC.window_frames, 48):
            part = slice(first, first + SPEC.window_frames)
            window = log_mel[None, ..., part]
            light, reference = (it.classify(window) for it in classifiers)
            assert np.abs(light.scores - reference.scores).max() < 1e-5
            assert np.abs(light.activity - reference.activity).max() < 1e-5
            # The bands of 8 kHz that hold nothing differ by more than a tenth of a dB.
            given = expected[None, ..., part].astype(np.float32)
            both = classifiers[1].classify(given)
            assert np.abs(light.scores - both.scores).max() < 1e-4
            windows += 1
    assert windows > 0
