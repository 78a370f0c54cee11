"""Examples: recordings are checked, and cut into windows that hold their sound."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.errors import UsageError
from monitor.model.engines import Classification
from monitor.runtime.examples import (
    LONGEST_SECONDS,
    MOST_WINDOWS,
    Clip,
    Embedder,
    read_sound,
    read_sounds,
    windows_of,
)
from tests.support.doorbell import doorbell, write_rings
from tests.support.taught import SPEC, spectrum_embedder

RATE = SPEC.sample_rate
WINDOW = SPEC.window_samples


def clip_of(path: Path, samples: np.ndarray, rate: int = RATE) -> Clip:
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return Clip(path)


def test_samples_are_the_mean_of_the_channels_at_the_rate_of_the_model(
    tmp_path: Path,
) -> None:
    ring = doorbell("hall", 1.0, RATE)
    stereo = np.stack([ring, 0.5 * ring], axis=1)
    sound = read_sound(clip_of(tmp_path / "s.wav", stereo), SPEC, -70)
    np.testing.assert_allclose(sound.samples, 0.75 * ring, atol=1e-6)
    fast = doorbell("hall", 1.0, 3 * RATE)
    sound = read_sound(clip_of(tmp_path / "f.wav", fast, 3 * RATE), SPEC, -70)
    assert len(sound.samples) == pytest.approx(len(ring), abs=1)


@pytest.mark.parametrize(
    ("samples", "sentence"),
    [
        (0.1 * np.ones(RATE // 4), "lasts 0.25 s; an example has at least 0.5 s"),
        (np.zeros(RATE), "is silent: its loudest moment has"),
        (1e-5 * np.ones(RATE), "detects nothing below -70"),
        (0.1 * np.ones(round((LONGEST_SECONDS + 2) * RATE)), "is longer than 60 s"),
    ],
)
def test_a_recording_that_is_no_example_is_rejected(
    tmp_path: Path, samples: np.ndarray, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        read_sound(clip_of(tmp_path / "x.wav", samples), SPEC, -70)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    silent = clip_of(tmp_path / "silent.wav", np.zeros(RATE))
    (tmp_path / "text.wav").write_text("no recording")
    clips = [silent, Clip(tmp_path / "none.wav"), Clip(tmp_path / "text.wav")]
    with pytest.raises(UsageError) as caught:
        read_sounds(clips, SPEC, -70)
    first, second, third = str(caught.value).splitlines()
    assert "is silent" in first
    assert "there is no such file" in second
    assert "not a recording" in third


def test_equal_recordings_are_one_example_in_any_order(tmp_path: Path) -> None:
    paths = write_rings(tmp_path, 4)
    (copy := tmp_path / "copy.wav").write_bytes(paths[0].read_bytes())
    clips = [Clip(path) for path in (*paths, copy)]
    once, other = (
        [sound.digest for sound in read_sounds(order, SPEC, -70)]
        for order in (clips, clips[::-1])
    )
    assert once == other
    assert len(once) == 4


def test_a_short_example_is_laid_at_three_places_over_faint_noise(
    tmp_path: Path,
) -> None:
    ring = doorbell("bedroom", 1.0, RATE, seconds=1.0)
    sound = read_sound(clip_of(tmp_path / "r.wav", ring), SPEC, -70)
    windows = windows_of(sound, SPEC)
    assert [len(window) for window in windows] == [WINDOW] * 3
    np.testing.assert_array_equal(windows[0][: len(ring)], ring)
    np.testing.assert_array_equal(windows[2][-len(ring) :], ring)
    bed = windows[0][len(ring) :]
    assert 0 < np.abs(bed).max() < 0.02 * np.abs(ring).max()


def test_a_long_example_gives_the_windows_that_hold_its_sound(tmp_path: Path) -> None:
    samples = 1e-3 * np.random.default_rng(0).standard_normal(20 * RATE)
    begin = 15 * RATE
    samples[begin : begin + RATE] += doorbell("hall", 0.5, RATE, seconds=1.0)
    windows = windows_of(
        read_sound(clip_of(tmp_path / "l.wav", samples), SPEC, -70), SPEC
    )
    assert 1 <= len(windows) <= MOST_WINDOWS
    assert all(np.abs(window).max() > 0.02 for window in windows)
    assert all(len(window) == WINDOW for window in windows)


def test_the_part_of_a_clip_keeps_the_room_around_it(tmp_path: Path) -> None:
    samples = np.arange(10 * RATE) / (20 * RATE)
    path = clip_of(tmp_path / "c.wav", samples).path
    sound = read_sound(Clip(path, 5.0, 5.5), SPEC, -70)
    assert len(sound.samples) == WINDOW
    assert sound.samples[0] < 0.25 < 0.275 < sound.samples[-1]


def test_an_embedding_is_the_mean_of_the_columns() -> None:
    embedder = spectrum_embedder()
    window = np.resize(doorbell("hall", 1.0, RATE), WINDOW)
    embedding, scores = embedder.embed(window)
    assert embedding.shape == (embedder.features,) == (SPEC.n_mels,)
    assert scores.shape == (1,)


def test_a_model_without_columns_is_rejected() -> None:
    class WithoutColumns:
        spec, labels, name = SPEC, ("loud",), "old"

        def classify(self, windows: np.ndarray) -> Classification:
            scores = np.zeros((1, 1), np.float32)
            return Classification(scores, scores[..., None])

    with pytest.raises(UsageError, match="'old' gives no embedding"):
        Embedder(WithoutColumns())
