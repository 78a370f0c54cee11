from pathlib import Path

import pytest
import soundfile

from monitor.errors import DatasetError
from tests.support.recordings import LABELS, RATE, sound, write_folders
from training.data.discovery import read_manifest
from training.data.manifest import NO_FOLD, Clip, count_marked, join, marks, relabel


def test_labels_with_few_recordings_are_said(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data", groups=2)
    assert read_manifest(data, group_pattern=r"^([a-z]+\d+)_").few() == dict.fromkeys(
        LABELS, 2
    )


def test_further_recordings_take_the_numbers_of_the_data_and_no_fold(
    tmp_path: Path,
) -> None:
    manifest = read_manifest(write_folders(tmp_path / "data", groups=1))
    more = tmp_path / "more"
    (more / "tick").mkdir(parents=True)
    soundfile.write(more / "tick" / "new.wav", sound("tick", 99), RATE)
    joined = join(manifest, read_manifest(more))
    assert joined.clips[-1].label == LABELS.index("tick")
    assert joined.clips[-1].fold == NO_FOLD


def test_labels_that_a_model_does_not_know_are_refused(tmp_path: Path) -> None:
    manifest = read_manifest(write_folders(tmp_path / "data", groups=1))
    turned = relabel(manifest, ("tick", "hiss", "buzz", "more"))
    assert {clip.path.parent.name: clip.label for clip in turned.clips} == {
        "tick": 0,
        "hiss": 1,
        "buzz": 2,
    }
    with pytest.raises(DatasetError, match="'hiss' of the data is not one"):
        relabel(manifest, ("tick", "buzz"))


def test_marks_name_the_clips_of_a_training(tmp_path: Path) -> None:
    clips = read_manifest(write_folders(tmp_path / "data", groups=1)).clips
    assert count_marked(clips, marks(clips[:2])) == 2
    assert count_marked(clips, marks(())) == 0
    assert count_marked(clips, "a") == 0  # a damaged model file
    many = (Clip(Path(), 0, "", 0, digest=n.to_bytes(6, "big")) for n in range(99))
    assert len(marks(many)) < 1000
