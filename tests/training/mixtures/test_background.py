from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.support.recordings import SMALL_SPEC, write_folders, write_negatives
from training.mixtures.background import Background
from training.mixtures.dataset import BatchLogMel
from training.mixtures.material import DataPaths, Material, gather
from training.recipes import training_settings

Make = Callable[[float], Background]


@pytest.fixture(name="make", scope="module")
def _make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    folder: Path = tmp_path_factory.mktemp("background")
    paths = DataPaths(
        write_folders(folder / "data"),
        folder / "cache",
        (write_negatives(folder / "noises"),),
    )
    settings = training_settings(
        {"spec": SMALL_SPEC.model_dump(), "folds": 3}, origin="test"
    )
    material: Material = gather(paths, settings, lambda *_: None)
    assert material.negatives is not None
    clips, store = material.negatives.clips, material.negatives_store

    def background(synthetic_share: float) -> Background:
        return Background(clips, store, SMALL_SPEC, synthetic_share, lambda _, x: x)

    return background


def test_a_window_is_full_and_its_generator_s(make: Make) -> None:
    log_mel = BatchLogMel(SMALL_SPEC)
    for seed in range(30):
        window, _ = make(0.4).make(np.random.default_rng(seed), 1)
        again, _ = make(0.4).make(np.random.default_rng(seed), 1)
        assert np.array_equal(window, again)
        assert window.shape == (1, SMALL_SPEC.window_samples)
        frames = log_mel(window[None])[0].max(axis=(0, 1))
        assert frames.min() > SMALL_SPEC.floor_db + 1


def test_it_says_whether_a_recording_is_in_it(make: Make) -> None:
    r = np.random.default_rng(0)
    assert make(1.0).make(r, 2)[1] is False
    assert make(0.0).make(r, 2)[1] is True
    assert make(0.0).make(r, 9)[1] is False  # there is none of that fold


def test_a_recording_goes_over_into_another_without_a_hole(make: Make) -> None:
    """From one constant to another: no moment is quieter than the quieter of them."""
    count = SMALL_SPEC.window_samples
    background = make(0.0)
    low, high = (np.full((1, count), level, np.float32) for level in (0.5, 2.0))
    for seed in range(10):
        turned = background._crossfade(np.random.default_rng(seed), low, high)[0]
        assert turned[0] == pytest.approx(0.5)
        assert turned[-1] != pytest.approx(0.5, rel=1e-3)
        assert turned.min() > 0.9 * min(turned[0], turned[-1])
