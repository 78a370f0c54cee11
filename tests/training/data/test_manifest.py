import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.errors import DatasetError
from tests.support.recordings import LABELS, RATE, sound, write_folders, write_negatives
from training.data.manifest import (
    URBANSOUND_LICENCE,
    join,
    read_manifest,
    read_negatives,
    relabel,
)


def test_a_sub_folder_is_a_label_and_a_file_is_a_recording(tmp_path: Path) -> None:
    manifest = read_manifest(write_folders(tmp_path / "data"))
    assert manifest.labels == LABELS
    assert len(manifest.clips) == 30
    assert len({clip.group for clip in manifest.clips}) == 30


def test_a_pattern_finds_the_group_in_the_name(tmp_path: Path) -> None:
    manifest = read_manifest(
        write_folders(tmp_path / "data"), group_pattern=r"^([a-z]+\d+)_"
    )
    assert len({clip.group for clip in manifest.clips}) == 15


def test_a_pattern_finds_the_label_in_the_name(tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in write_folders(tmp_path / "data").rglob("*.wav"):
        shutil.copy(path, flat)
    manifest = read_manifest(flat, label_pattern=r"^([a-z]+)")
    assert manifest.labels == LABELS


def test_corrupt_empty_and_duplicate_files_are_listed_and_left_out(
    tmp_path: Path,
) -> None:
    data = write_folders(tmp_path / "data")
    buzz = data / "buzz"
    (buzz / "text.wav").write_text("this is no sound")
    (buzz / "empty.wav").touch()
    soundfile.write(buzz / "nothing.wav", np.zeros(0), RATE)
    shutil.copy(buzz / "buzz0_0.wav", buzz / "copy.wav")
    manifest = read_manifest(data)
    assert len(manifest.clips) == 30
    found = {entry.path.name: entry.reason for entry in manifest.left_out}
    assert found == {
        "text.wav": "unreadable",
        "empty.wav": "empty",
        "nothing.wav": "empty",
        "copy.wav": "duplicate",
    }


def test_urbansound_is_read_by_its_table(tmp_path: Path) -> None:
    (tmp_path / "metadata").mkdir()
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    for fold in (1, 2):
        (tmp_path / "audio" / f"fold{fold}").mkdir(parents=True)
        for class_id, label in ((4, "hiss"), (1, "buzz")):
            name = f"{fold}77-{class_id}-0-0.wav"
            path = tmp_path / "audio" / f"fold{fold}" / name
            soundfile.write(path, sound(label, fold), RATE)
            rows.append(f"{name},{fold}77,0,4,{fold},{fold},{class_id},{label}")
    rows.append("gone-1-0-0.wav,5,0,4,1,1,1,buzz")
    (tmp_path / "metadata" / "UrbanSound8K.csv").write_text("\n".join(rows))
    manifest = read_manifest(tmp_path)
    assert manifest.labels == ("buzz", "hiss")  # by class id
    assert manifest.folds == (1, 2)
    assert {clip.group for clip in manifest.clips} == {"177", "277"}
    assert manifest.licence == URBANSOUND_LICENCE
    salient = [clip.is_foreground for clip in manifest.clips]
    assert salient == [clip.fold == 1 for clip in manifest.clips]
    assert [entry.reason for entry in manifest.left_out] == ["missing"]


def test_a_table_may_give_fold_and_group(tmp_path: Path) -> None:
    data = write_folders(tmp_path / "data", groups=1)
    table = data / "clips.csv"
    table.write_text(
        "path,label,fold,group\nbuzz/buzz0_0.wav,buzz,2,a\nhiss/hiss0_0.wav,hiss,1,b\n"
    )
    manifest = read_manifest(table)
    assert [(clip.fold, clip.group) for clip in manifest.clips] == [(2, "a"), (1, "b")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,fold\nx.wav,1\n", "no column 'label'"),
        ("path,label,fold\nx.wav,buzz,one\n", "'one' is not a whole number"),
        ("path,label\nx.wav,buzz\n", "no usable recording was found (1 missing)"),
    ],
)
def test_a_bad_table_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    table = tmp_path / "clips.csv"
    table.write_text(text)
    with pytest.raises(DatasetError) as caught:
        read_manifest(table)
    assert said in str(caught.value)


def test_a_folder_without_audio_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no usable recording"):
        read_manifest(tmp_path)


def test_names_of_esc50_give_fold_and_recording(tmp_path: Path) -> None:
    negatives = read_negatives([write_negatives(tmp_path / "noises")])
    assert negatives.folds == (1, 2, 3)
    assert negatives.clips[0].group == "1000"
    assert all(clip.label is None for clip in negatives.clips)


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
    assert joined.clips[-1].fold == 0


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
