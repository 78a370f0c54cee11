from pathlib import Path

import pytest
import soundfile

from monitor.errors import DatasetError, UsageError
from tests.support.places import write_place, write_places
from tests.support.recordings import RATE, SMALL_SPEC
from training.data.decoded import open_store
from training.data.manifest import Manifest
from training.data.places import PLACE_PARTS, Places, deal_places, read_places
from training.data.tables import TableError


def dealt(manifest: Manifest, cache: Path) -> Places:
    manifest, store = open_store(manifest, RATE, cache)
    return Places(deal_places(manifest, store, SMALL_SPEC).clips, store)


def test_each_file_of_a_folder_is_a_place_of_its_own(tmp_path: Path) -> None:
    manifest = read_places([write_places(tmp_path / "a"), write_places(tmp_path / "b")])
    # The second folder has the same files.
    assert [clip.group for clip in manifest.clips] == [f"place{n}" for n in range(8)]
    assert {entry.reason for entry in manifest.left_out} == {"duplicate"}
    assert {clip.label for clip in manifest.clips} == {None}


def test_a_table_names_files_and_groups_and_a_pattern_comes_first(
    tmp_path: Path,
) -> None:
    write_places(tmp_path / "a", 4)
    table = tmp_path / "places.csv"
    rows = ("a/place0.wav,x", "a/place1.wav,x", "a/place2.wav,", "a/place3.wav,y")
    table.write_text("\n".join(("path,group", *rows)))
    groups = [clip.group for clip in read_places([table]).clips]
    assert groups == ["x", "x", "a/place2", "y"]
    named = read_places([table], r"place([12])").clips
    assert [clip.group for clip in named] == ["x", "1", "2", "y"]


def test_a_table_without_paths_and_a_missing_folder_are_one_sentence(
    tmp_path: Path,
) -> None:
    table = tmp_path / "places.csv"
    table.write_text("file,group\na.wav,1\n")
    with pytest.raises(TableError, match="no column 'path'"):
        read_places([table])
    with pytest.raises(UsageError, match="no such folder of places"):
        read_places([tmp_path / "none"])


def test_a_path_that_names_no_place_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    table = tmp_path / "places.csv"
    table.write_text("path,group\n")
    full = write_places(tmp_path / "full", 1)
    for path in (tmp_path / "empty", table):
        with pytest.raises(DatasetError, match=f"--places {path}: names no recording"):
            read_places([full, path])
    (full / "place0.wav").write_text("no sound")
    with pytest.raises(DatasetError, match=f"--places {full}: no usable recording"):
        read_places([full])


def test_a_pattern_that_finds_nothing_is_said(tmp_path: Path) -> None:
    folder = write_places(tmp_path / "a", 3)
    assert read_places([folder], "place").notes == ()
    (note,) = read_places([folder], "x").notes
    assert note == "--place-pattern finds nothing in 3 of 3 names"
    (note,) = read_places([folder], "0").notes
    assert note == "--place-pattern finds nothing in 2 of 3 names"
    with pytest.raises(UsageError, match="is not a regular expression"):
        read_places([folder], "(")


def test_one_place_is_counted_as_one(tmp_path: Path) -> None:
    manifest = read_places([write_places(tmp_path / "a", 1)])
    assert list(manifest.summary("place")) == ["1 clip of 1 place, in no folds"]


def test_groups_are_dealt_whole_into_parts_of_equal_length(tmp_path: Path) -> None:
    folder = write_places(tmp_path / "a", 12)
    write_place(folder / "long.wav", 20, seconds=8)
    found = dealt(read_places([folder], r"place(1)\d"), tmp_path / "cache")
    parts = [found.of([part]) for part in range(PLACE_PARTS)]
    assert sum(map(len, parts)) == 13
    seconds = [
        sum(found.store.sound(clip.path).shape[1] / RATE for clip in part)
        for part in parts
    ]
    # 13 recordings: one of 8 s, the others of 2 s.
    assert seconds == pytest.approx([8, 8, 8, 8], abs=0.02)
    (group,) = (part for part in parts if any(clip.group == "1" for clip in part))
    assert {clip.path.name for clip in group} >= {"place10.wav", "place11.wav"}


def test_the_same_recording_under_two_names_is_in_one_part(tmp_path: Path) -> None:
    folder = write_places(tmp_path / "a", 12)
    samples, _ = soundfile.read(folder / "place3.wav")
    soundfile.write(folder / "z.flac", 0.5 * samples, RATE)
    found = dealt(read_places([folder]), tmp_path / "cache")
    part_of = {clip.path.stem: clip.fold for clip in found.clips}
    assert part_of["z"] == part_of["place3"]
    assert len({clip.group for clip in found.clips}) == 12


def test_too_few_places_are_one_sentence(tmp_path: Path) -> None:
    folder = write_places(tmp_path / "a", 7)
    with pytest.raises(
        DatasetError, match=r"7 different places, too few .* at least 8"
    ):
        dealt(read_places([folder]), tmp_path / "cache")


def test_each_recording_has_a_name_of_its_own(tmp_path: Path) -> None:
    files = ["a/park.wav", "a/001.wav", "b/001.wav", "c/x/001.wav", "d/x/001.wav"]
    for number, file in enumerate(files):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        write_place(tmp_path / file, number)
    manifest, store = open_store(read_places([tmp_path]), RATE, tmp_path / "cache")
    names = Places(manifest.clips, store).names()
    assert {names[tmp_path / file] for file in files} == {
        *("park", "a/001", "b/001", "c/x/001", "d/x/001"),
    }
