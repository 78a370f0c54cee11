from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.audio.level import FLOOR_DB
from monitor.runtime import recording_signal
from monitor.runtime.recording_signal import read_signal
from monitor.spec import ModelSpec

SPEC = ModelSpec()
RATE = SPEC.sample_rate


def written(samples: np.ndarray, folder: Path, rate: int = RATE) -> Path:
    path = folder / "sound.wav"
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def sine(seconds: float, hertz: float = 1000, amplitude: float = 0.5) -> np.ndarray:
    return amplitude * np.sin(
        2 * np.pi * hertz * np.arange(round(seconds * RATE)) / RATE
    )


@pytest.mark.parametrize("seconds", [0.05, 0.1, 1.0, 3.17])
def test_levels_reach_from_the_first_sample_to_the_last(
    seconds: float, tmp_path: Path
) -> None:
    """A steady tone of 1 kHz has one level, which the A-weighting leaves as it is."""
    signal = read_signal(written(sine(seconds), tmp_path), SPEC)
    assert signal.samples == round(seconds * RATE)
    steps = signal.levels.shape[1]
    assert (steps - 1) * signal.level_step < signal.samples <= steps * signal.level_step
    assert signal.levels[0] == pytest.approx(-9.03, abs=0.1)
    # Its frames fade at the ends of the recording.
    assert signal.levels[1] == pytest.approx(-9.03, abs=0.6)
    assert signal.levels[1, 2:-2] == pytest.approx(-9.03, abs=0.05)


def test_a_burst_stands_where_it_is(tmp_path: Path) -> None:
    """In both levels, with no lag."""
    step = read_signal(written(sine(0.2), tmp_path), SPEC).level_step
    samples = np.zeros(40 * step)
    samples[20 * step : 21 * step] = sine(1)[:step]
    levels = read_signal(written(samples, tmp_path), SPEC).levels
    assert levels.argmax(axis=1).tolist() == [20, 20]
    assert levels[:, :18].max() == FLOOR_DB
    assert levels[:, 23:].max() == FLOOR_DB


def test_the_signal_does_not_depend_on_the_size_of_the_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = np.random.default_rng(1).normal(0, 0.1, (3 * RATE + 7, 2))
    path = written(noise, tmp_path)
    whole = read_signal(path, SPEC)
    monkeypatch.setattr(recording_signal, "_READ_SAMPLES", 1000)
    read = read_signal(path, SPEC)
    assert read.samples == whole.samples
    assert np.array_equal(read.log_mel, whole.log_mel)
    np.testing.assert_allclose(read.levels, whole.levels, atol=1e-4)


def test_samples_that_are_no_numbers_are_silence(tmp_path: Path) -> None:
    samples = sine(1.0)
    samples[RATE // 2] = np.nan
    samples[RATE // 3] = np.inf
    signal = read_signal(written(samples, tmp_path), SPEC)
    assert np.isfinite(signal.levels).all()
    assert np.isfinite(signal.log_mel).all()


def test_of_more_channels_than_the_model_takes_the_mean_is_measured(
    tmp_path: Path,
) -> None:
    """Two that cancel each other are silence to a model of one channel."""
    samples = np.stack([sine(1.0), -sine(1.0)], axis=1)
    path = written(samples, tmp_path)
    assert read_signal(path, SPEC).levels[0] == pytest.approx(-9.03, abs=0.1)
    mono = SPEC.model_copy(update={"channels": 1})
    assert (read_signal(path, mono).levels == FLOOR_DB).all()
