"""The draws of clips for trainings on few of them."""

from pathlib import Path

import pytest

from monitor.errors import DatasetError
from training.evaluate.few_clips import clips_by_class, draw

CLASSES = ("cat", "cow", "crow", "frog")


@pytest.fixture
def clips(tmp_path: Path) -> dict[str, list[Path]]:
    for name in CLASSES:
        folder = tmp_path / "sounds" / name
        folder.mkdir(parents=True)
        for fold in (1, 2, 3):
            for number in range(4):
                (folder / f"{fold}-{number}-A.wav").write_bytes(b"")
    return clips_by_class([tmp_path / "sounds"])


def test_clips_of_the_test_fold_are_never_trained_on(clips) -> None:
    trained, tested = draw(clips, 5, 3, seed=0)
    assert trained.keys() == tested.keys() < {*CLASSES}
    assert all(len(paths) == 5 for paths in trained.values())
    names = [path.name for paths in trained.values() for path in paths]
    assert not any(name.startswith("3-") for name in names)
    kept = [path.name for paths in tested.values() for path in paths]
    assert len(kept) == 3 * 4
    assert all(name.startswith("3-") for name in kept)


def test_draws_differ_and_can_be_repeated(clips) -> None:
    first, again, other = (draw(clips, 5, 3, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_too_few_clips_and_names_without_a_fold_are_errors(clips, tmp_path) -> None:
    with pytest.raises(DatasetError, match="only 0 classes have 9 clips outside"):
        draw(clips, 9, 3, seed=0)
    with pytest.raises(DatasetError, match="does not begin with a fold"):
        draw({"cat": [tmp_path / "cat.wav"]}, 5, 3, seed=0)
