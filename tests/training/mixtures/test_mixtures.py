import itertools
import threading

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view

from monitor.audio.sources.demo import render_scene
from monitor.model.frontend import LogMel, hann
from monitor.spec import ModelSpec
from tests.support.recordings import SMALL_SPEC, write_folders, write_negatives
from training.config import TrainingSettings
from training.data.manifest import NO_FOLD
from training.mixtures.background import evaluation_windows
from training.mixtures.dataset import (
    BatchLogMel,
    MixtureSource,
    batch_size_for,
    in_threads,
)
from training.mixtures.material import DataPaths, Material, gather
from training.mixtures.mixtures import MixtureMaker
from training.recipes import training_settings

RICH = {
    "spec": SMALL_SPEC.model_dump(),
    "folds": 3,
    "mixtures": {
        "ambience_items": 0.2,
        "over_ambience": 0.4,
        "two_sources": 0.4,
        "speed_share": 0.5,
        "filter_share": 0.5,
    },
}


def settings_of(**changes: object) -> TrainingSettings:
    return training_settings(RICH, changes, origin="test")


@pytest.fixture(name="material", scope="module")
def _material(tmp_path_factory: pytest.TempPathFactory) -> Material:
    folder = tmp_path_factory.mktemp("mixtures")
    paths = DataPaths(
        write_folders(folder / "data"),
        folder / "cache",
        (write_negatives(folder / "noises"),),
        group_pattern=r"^([a-z]+\d+)_",
    )
    return gather(paths, settings_of(), lambda *_: None)


@pytest.fixture(name="maker")
def _maker(material: Material) -> MixtureMaker:
    return material.maker(range(30), (3,), settings_of())


def test_a_mixture_depends_on_its_generator_only(maker: MixtureMaker) -> None:
    first = maker.make(np.random.default_rng(5), 3)
    again = maker.make(np.random.default_rng(5), 3)
    assert np.array_equal(first.samples, again.samples)
    assert np.array_equal(first.activity, again.activity)
    other = maker.make(np.random.default_rng(6), 3)
    assert not np.array_equal(first.samples, other.samples)


def test_nothing_lies_in_digital_silence(maker: MixtureMaker) -> None:
    """Else short recordings are known by the silence around them."""
    log_mel = BatchLogMel(SMALL_SPEC)
    for seed in range(40):
        made = maker.make(np.random.default_rng(seed), seed % 30)
        frames = log_mel(made.samples[None])[0].max(axis=(0, 1))
        assert frames.min() > SMALL_SPEC.floor_db + 1


def test_all_clips_and_all_negatives_of_a_mixture_are_of_one_fold(
    maker: MixtureMaker,
) -> None:
    two_labels = 0
    for seed in range(60):
        made = maker.make(np.random.default_rng(seed), seed % 30)
        assert made.fold == maker.clips[seed % 30].fold
        assert made.negatives_fold in (NO_FOLD, 1, 2)  # fold 3 is kept apart
        two_labels += int((made.activity.max(axis=1) > 0).sum() == 2)
    assert 10 < two_labels < 40


def test_ambience_has_no_label(maker: MixtureMaker) -> None:
    for seed in range(20):
        made = maker.make(np.random.default_rng(seed), None)
        assert not made.activity.any()
        assert made.fold == NO_FOLD
        assert np.isfinite(made.samples).all()


def test_activity_marks_the_time_of_a_sound(material: Material) -> None:
    alone = settings_of(
        mixtures={"two_sources": 0, "over_ambience": 0, "repeat": 0, "partial": 0}
    )
    maker = material.maker(range(30), (), alone)
    log_mel = BatchLogMel(SMALL_SPEC)
    for seed in range(10):
        made = maker.make(np.random.default_rng(seed), seed)
        label = maker.clips[seed].label
        assert label is not None
        cells = made.activity[label]
        frames = log_mel(made.samples[None])[0].mean(axis=(0, 1))
        loudness = frames.reshape(len(cells), -1).mean(axis=1)
        if (cells == 0).any():
            assert loudness[cells == 1].mean() > loudness[cells == 0].mean() + 6


def test_an_epoch_is_the_same_every_time_and_no_two_are(maker: MixtureMaker) -> None:
    source = MixtureSource(maker, batch_size=8, seed=1, workers=0)
    steps = source.steps_per_epoch
    first = list(source.batches(0, 2 * steps))
    later = list(source.batches(steps + 1, 2 * steps))
    for one, other in zip(first[steps + 1 :], later, strict=True):
        assert np.array_equal(one.log_mel, other.log_mel)
    assert not np.array_equal(first[0].log_mel, first[steps].log_mel)


@pytest.mark.parametrize(
    ("items", "processes", "size"),
    [(3, 1, 4), (20, 1, 4), (100, 1, 12), (128, 1, 16), (5000, 1, 16), (100, 8, 16)],
)
def test_few_clips_make_small_batches(items: int, processes: int, size: int) -> None:
    assert batch_size_for(16, items, processes) == size


def test_every_clip_has_its_turn_in_an_epoch(material: Material) -> None:
    settings = training_settings(
        {"spec": SMALL_SPEC.model_dump(), "mixtures": {"balance": 0}}, origin="test"
    )
    maker = material.maker(range(30), (), settings)
    source = MixtureSource(maker, batch_size=16, seed=1, workers=0)
    batches = list(source.batches(0, source.steps_per_epoch))
    assert len(batches) == 8
    assert {len(batch.log_mel) for batch in batches} == {4}
    drawn = source.keys(0)
    assert {clip for _, _, clip in drawn} == set(range(30))
    assert len({position for _, position, _ in drawn}) == len(drawn) == 32


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_make_the_same_windows(maker: MixtureMaker, threads: int) -> None:
    here = list(MixtureSource(maker, 4, 1, workers=0).batches(0, 9))
    there = list(MixtureSource(maker, 4, 1, workers=threads).batches(0, 9))
    for one, other in zip(here, there, strict=True):
        assert np.array_equal(one.log_mel, other.log_mel)
        assert np.array_equal(one.activity, other.activity)


def test_threads_make_few_windows_in_advance_and_end_when_closed() -> None:
    made: list[int] = []

    def make(number: int) -> int:
        made.append(number)
        return number

    items = in_threads(make, itertools.count(), 2)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    assert len(made) <= 3 + 2 * 2 + 1
    items.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("windows")]


def test_what_fails_on_a_thread_fails_where_it_is_taken() -> None:
    def fail(number: int) -> int:
        raise KeyError(number)

    with pytest.raises(KeyError, match="0"):
        list(in_threads(fail, range(9), 2))


def front_end_inputs(spec: ModelSpec) -> dict[str, np.ndarray]:
    """Windows (n,) of real and hostile sounds."""
    r = np.random.default_rng(0)
    n = spec.window_samples
    seconds = np.arange(n) / spec.sample_rate
    noise = r.normal(0, 1, n)
    sine, square = np.sin(6283 * seconds), np.sign(np.sin(2765 * seconds + 0.1))
    scene = render_scene(spec.sample_rate)[0]
    quiet = np.abs(scene[: len(scene) // n * n]).reshape(-1, n).max(axis=1).argmin()
    return {
        "noise": 0.1 * noise,
        "noise that ends": 0.1 * noise * (seconds < 0.5),
        "silence": np.zeros(n),
        "full-scale square": square,
        "square beyond full scale": 8 * square,
        "full-scale sine": sine,
        "sine of 16 bits": np.round(32_767 * sine) / 32_768,
        "impulse": 1.0 * (np.arange(n) == n // 2),
        "offset": np.ones(n),
        "offset with noise": 0.5 + 1e-4 * noise,
        "half the sample rate": np.where(np.arange(n) % 2, 1.0, -1.0),
        "noise near the floor": 1e-6 * noise,
        "tiny values": 1e-9 * noise,
        "denormal values": np.full(n, 1e-40),
        "huge values": 1e4 * noise,
        "quietest part of a street": scene[quiet * n :][:n],
        "end of a street": scene[-n:],
        "clipped street": np.clip(20 * scene[-n:], -1, 1),
    }


@pytest.mark.parametrize("spec", [ModelSpec(), SMALL_SPEC], ids=["default", "small"])
def test_the_front_end_of_training_equals_that_of_the_monitor(spec: ModelSpec) -> None:
    """To 1e-4 dB, and to single precision of the amplitude of the whole frame."""
    inputs = front_end_inputs(spec)
    windows = np.stack(list(inputs.values())).astype(np.float32)
    log_mels = BatchLogMel(spec)(windows[:, None])[:, 0]
    assert log_mels.dtype == np.float32
    for name, window, computed in zip(inputs, windows, log_mels, strict=True):
        wanted = LogMel(spec)(window[None])[0]
        frames = sliding_window_view(window, spec.n_fft)[:: spec.hop_length]
        energy = np.square(frames * hann(spec.n_fft).astype(float)).sum(axis=1)
        frame_db = 10 * np.log10(
            spec.n_fft * energy + 1e-30
        )  # of all bins, by Parseval
        own, other = (10 ** (each.astype(float) / 20) for each in (computed, wanted))
        rounding = 10 ** (frame_db / 20) * 2**-24
        assert (abs(own - other) <= 1.1e-5 * other + rounding).all(), name
        heard = wanted > frame_db - 50
        assert abs(computed - wanted)[heard].max(initial=0) < 1e-4, name


def test_testing_draws_nothing_at_random(material: Material) -> None:
    clip = material.manifest.clips[0]
    samples = material.store.read(clip.path)
    first = evaluation_windows(samples, SMALL_SPEC)
    assert np.array_equal(first, evaluation_windows(samples, SMALL_SPEC))
    start = (SMALL_SPEC.window_samples - samples.shape[1]) // 2
    middle = first[0][:, start : start + samples.shape[1]]
    assert np.abs(middle - samples).max() < 0.03 * np.abs(samples).max()


def test_windows_of_a_long_recording_reach_its_end() -> None:
    samples = np.arange(20_000, dtype=np.float32)[None]
    windows = evaluation_windows(samples, SMALL_SPEC)
    assert windows[0, 0, 0] == 0
    assert windows[-1, 0, -1] == 19_999
    assert windows.shape[1:] == (1, SMALL_SPEC.window_samples)
