import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from monitor.errors import DatasetError, UsageError
from tests.support.recordings import LABELS, RATE, sound, write_folders, write_negatives
from training.data.discovery import (
    URBANSOUND_LICENCE,
    read_manifest,
    read_negatives,
)
from training.data.manifest import NO_FOLD


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
        (
            "path,label\nx.wav,buzz\n",
            "no usable recording was found (1 missing; the first: ",
        ),
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


def table_of(folder: Path, text: str) -> Path:
    """A table beside three recordings: a/1.wav, a/2.wav and b/1.wav."""
    for seed, name in enumerate(("a/1.wav", "a/2.wav", "b/1.wav")):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        soundfile.write(folder / name, sound("hiss", seed), RATE)
    (folder / "clips.csv").write_text(text)
    return folder / "clips.csv"


def test_files_numbered_alike_in_several_folders_are_several_recordings(
    tmp_path: Path,
) -> None:
    table = table_of(tmp_path, "path,label\na/1.wav,a\na/2.wav,a\nb/1.wav,b\n")
    for data in (tmp_path, table):
        groups = [clip.group for clip in read_manifest(data).clips]
        assert groups == ["a/1", "a/2", "b/1"]
    negatives = read_negatives([tmp_path / "a", tmp_path / "b"])
    assert len({clip.group for clip in negatives.clips}) == 3


def test_patterns_that_do_nothing_are_said(tmp_path: Path) -> None:
    table = table_of(tmp_path, "path,label\na/1.wav,a\na/2.wav,a\nb/1.wav,b\n")
    summary = "\n".join(read_manifest(table, "x", "^(2)").summary("recordings"))
    assert "--label-pattern is not used" in summary
    assert "--group-pattern finds nothing in 2 of 3 names" in summary


def test_an_empty_group_is_a_recording_of_its_own(tmp_path: Path) -> None:
    rows = "path,label,group\na/1.wav,a,\na/2.wav,a,NA\nb/1.wav,b,x\n"
    manifest = read_manifest(table_of(tmp_path, rows))
    assert [clip.group for clip in manifest.clips] == ["a/1", "a/2", "x"]
    assert "2 rows without a group" in "\n".join(manifest.summary("recordings"))


@pytest.mark.parametrize("folds", [("0", "1", "2"), ("fold0", "Fold_1", "2.0")])
def test_folds_are_numbers_or_named_folds_from_zero(
    tmp_path: Path, folds: tuple[str, ...]
) -> None:
    rows = [
        f"{name},x,{fold}"
        for name, fold in zip(("a/1.wav", "a/2.wav", "b/1.wav"), folds, strict=True)
    ]
    manifest = read_manifest(table_of(tmp_path, "\n".join(["path,label,fold", *rows])))
    assert manifest.folds == (0, 1, 2)
    assert [clip.fold for clip in manifest.of_folds([0])] == [0]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,label,fold\na/1.wav,a,1\na/2.wav,a,\nb/1.wav,b,2\n",
         "line 3: there is no fold, here and in 0 other rows, but in 2 there is"),
        ("path,label\na/1.wav,a\na/2.wav,\n", "line 3: label is empty"),
        ("path,label\na/1.wav,NA\n", "line 2: label is 'NA', which stands for"),
        ("path,label\n,a\n", "line 2: path is empty"),
        ("path,label,fold\na/1.wav,a,-1\n", "'-1' is not a whole number"),
        ("path,label,fold\na/1.wav,a,12345\n", "'12345' is not a whole number"),
        ("path,label\na\\1.wav,a\n", "write / between folders"),
        ("path,label\na/1.wav,Dog\na/2.wav,dog\n", "'dog' differs from 'Dog'"),
        ("path,label\na/1.wav,a\x1b[31m\n", "line 2: 'a\\x1b[31m' cannot be a label"),
        (f"path,label\na/1.wav,{'x' * 64}\n", "it has 64 characters"),
        ("path,label\na/1.wav,=1+1\n", "it begins with '='"),
    ],
)  # fmt: skip
def test_a_row_that_breaks_a_rule_is_named(
    tmp_path: Path, text: str, said: str
) -> None:
    with pytest.raises((DatasetError, UsageError)) as caught:
        read_manifest(table_of(tmp_path, text))
    assert said in str(caught.value)
    assert "clips.csv" in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "label",
    [
        "dog bark (big)",
        "Türe, zu",
        "犬",
        "3",
        "yes",
        "a:b#c",
        "[bold]$5",
        '"x"',
        "AC/DC",
    ],
)
def test_a_label_may_be_anything_that_can_be_shown(tmp_path: Path, label: str) -> None:
    quoted = label.replace('"', '""')
    table = table_of(tmp_path, f'path,label\na/1.wav," {quoted} "\n')
    assert read_manifest(table).labels == (label,)


def test_accents_are_the_same_however_they_are_composed(tmp_path: Path) -> None:
    for number, name in enumerate(("caf\u00e9", "cafe\u0301")):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "1.wav", sound("hiss", number), RATE)
    assert read_manifest(tmp_path).labels == ("caf\u00e9",)


def test_the_same_file_under_two_labels_is_of_neither(tmp_path: Path) -> None:
    rows = "path,label\na/1.wav,a\na/1.wav,b\na/2.wav,a\na/2.wav,a\nb/1.wav,b\n"
    manifest = read_manifest(table_of(tmp_path, rows))
    assert [clip.path.name for clip in manifest.clips] == ["2.wav", "1.wav"]
    assert [entry.reason for entry in manifest.left_out] == [
        *["the same file under several labels: a, b"] * 2,
        "duplicate",
    ]


def test_a_file_of_another_set_is_left_out(tmp_path: Path) -> None:
    """Otherwise a negative would contradict a label, or training know the test."""
    write_folders(tmp_path / "data", groups=1)
    noises = write_negatives(tmp_path / "noises")
    shutil.copy(tmp_path / "data" / "buzz" / "buzz0_0.wav", noises)
    seen: set[bytes] = set()
    read_manifest(tmp_path / "data", seen=seen)
    negatives = read_negatives([noises], seen)
    assert [entry.path.name for entry in negatives.left_out] == ["buzz0_0.wav"]


def in_folders(folder: Path, *names: str) -> Path:
    """A folder with one recording in each of these folders."""
    for seed, name in enumerate(names):
        (folder / name).mkdir(parents=True)
        soundfile.write(folder / name / f"{seed}.wav", sound("hiss", seed), RATE)
    return folder


@pytest.mark.parametrize(
    ("names", "folds"),
    [
        (("fold1/a", "fold2/b", "fold10/a"), [1, 10, 2]),
        (("train/a", "test/a", "val/b"), [1, 3, 2]),
        (("train", "car"), [NO_FOLD, NO_FOLD]),  # trains are a sound, too
        (("1", "2"), [NO_FOLD, NO_FOLD]),  # and so are spoken numbers
    ],
)
def test_folders_of_folds_and_splits_are_folds(
    tmp_path: Path, names: tuple[str, ...], folds: list[int]
) -> None:
    manifest = read_manifest(in_folders(tmp_path, *names))
    assert [clip.fold for clip in manifest.clips] == folds
    if NO_FOLD not in folds:
        assert manifest.labels == ("a", "b")
        assert manifest.has_folds
        assert "folders that are folds" in "\n".join(manifest.summary("recordings"))


def test_folders_of_folds_and_labels_side_by_side_are_a_question(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="fold1 look like folds, but dog like labels"):
        read_manifest(in_folders(tmp_path, "fold1", "dog"))


def test_folds_without_labels_are_said(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"2 without a label.*that are folds"):
        read_manifest(in_folders(tmp_path, "fold1", "fold2"))


def test_urbansound_may_have_its_table_beside_its_folds(tmp_path: Path) -> None:
    data = in_folders(tmp_path, "fold1", "fold2")
    (data / "UrbanSound8K.csv").write_text(
        "slice_file_name,fsID,start,end,salience,fold,classID,class\n"
        "0.wav,7,0,4,1,1.0,0,a\n1.wav,8,0,4,2,fold2,1,b\n"
    )
    for path in (data, data / "UrbanSound8K.csv"):
        manifest = read_manifest(path)
        assert [clip.fold for clip in manifest.clips] == [1, 2]
        assert manifest.labels == ("a", "b")


def test_whatever_is_in_a_folder_is_used_or_counted(tmp_path: Path) -> None:
    data = in_folders(tmp_path / "data", "dog", "cat", ".Trash-1000", "__MACOSX")
    elsewhere = in_folders(tmp_path / "elsewhere", *"vwxyz") / "z"
    (data / "owl").symlink_to(elsewhere)
    (data / "owl" / "loop").symlink_to(data)
    (data / "hen").mkdir()
    (data / "cow").mkdir()
    (data / "cow" / "moo.m4a").touch()
    (data / "dog" / "._1.wav").touch()
    (data / "dog" / "gone.wav").symlink_to("nowhere")
    (data / "dog" / "notes.txt").touch()
    (data / "dog" / "raw.raw").touch()
    manifest = read_manifest(data)
    assert manifest.labels == ("cat", "dog", "owl")
    found = {entry.path.name: entry.reason for entry in manifest.left_out}
    assert found == {
        ".Trash-1000": "hidden, or of the system",
        "__MACOSX": "hidden, or of the system",
        "._1.wav": "hidden, or of the system",
        "loop": f"the same folder as {data}",
        "moo.m4a": found["moo.m4a"],
        "raw.raw": found["raw.raw"],
        "gone.wav": "missing",
        "notes.txt": "not a recording",
    }
    assert "ffmpeg" in found["moo.m4a"]
    summary = "\n".join(manifest.summary("recordings"))
    assert "which are no labels: cow, hen" in summary
    for name in found:
        assert name in summary


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    table = table_of(tmp_path, "path,label\na/1.wav,a\npipe.wav,a\na,a\n.,a\n..,a\n")
    os.mkfifo(tmp_path / "pipe.wav")
    manifest = read_manifest(table)
    assert [entry.reason for entry in manifest.left_out] == ["not a file"] * 4
