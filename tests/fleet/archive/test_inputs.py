"""The recordings of an archive are found, and named, the same way everywhere."""

import os
import zipfile
from pathlib import Path

import pytest

from monitor.errors import UsageError
from monitor.fleet.archive.inputs import find_inputs


@pytest.fixture
def cards(tmp_path: Path) -> Path:
    """Two cards of two recorders, and what else lies on cards."""
    folder = tmp_path / "cards"
    for name in ("a/1.WAV", "a/2.wav", "b/deep/3.flac", "b/._3.flac", "b/notes.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x" * len(name))
    (folder / ".Trash").mkdir()
    (folder / ".Trash" / "4.wav").touch()
    return folder


def names(*arguments: object) -> list[str]:
    return [each.name for each in find_inputs([str(it) for it in arguments])]


def test_a_folder_is_searched_at_any_depth(cards: Path) -> None:
    found = find_inputs([str(cards)])
    assert [it.name for it in found] == [
        "cards/a/1.WAV",
        "cards/a/2.wav",
        "cards/b/deep/3.flac",
    ]
    assert found[0].size == 7
    assert found[0].version == str((cards / "a" / "1.WAV").stat().st_mtime_ns)


def test_what_cannot_be_read_is_counted(
    cards: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (cards / "a" / "5.M4A").touch()
    (cards / "a" / "._5.m4a").touch()
    for argument in (cards, f"{cards}/a/*", f"file://{cards}"):
        names(argument)
    assert [it.split(";")[0] for it in caplog.messages] == 3 * ["1 file left out: .m4a"]


def test_a_pattern_and_a_url_name_recordings_as_their_folder_does(cards: Path) -> None:
    assert names(f"{cards}/**/*.w*") == ["cards/a/2.wav"]
    assert names(f"{cards}/*") == names(cards)
    assert names(f"file://{cards}") == names(cards)
    assert names(f"file://{cards}/a/*.WAV") == ["a/1.WAV"]


def test_links_are_named_as_themselves(
    cards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "x.wav").symlink_to(cards / "a" / "1.WAV")
    (tmp_path / "june").symlink_to(cards / "a")
    assert names(tmp_path / "links") == ["links/x.wav"]
    assert names(f"{tmp_path}/links/*.wav") == ["links/x.wav"]
    assert names(tmp_path / "june") == ["june/1.WAV", "june/2.wav"]
    monkeypatch.chdir(cards / "b")
    assert names("../a", ".") == ["a/1.WAV", "a/2.wav", "b/deep/3.flac"]


def test_a_file_is_named_with_its_folder(cards: Path) -> None:
    assert names(cards / "a" / "1.WAV") == ["a/1.WAV"]


def test_recordings_inside_a_zip_are_found(cards: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "card.zip", "w") as archive:
        archive.write(cards / "a" / "1.WAV", "june/1.WAV")
    (found,) = find_inputs([f"zip://june/*.WAV::file://{tmp_path}/card.zip"])
    assert found.name == "june/1.WAV"
    assert found.version


def test_what_cannot_be_read_is_found_and_stops_nothing(cards: Path) -> None:
    (cards / "a" / "gone.wav").symlink_to("nowhere")
    os.mkfifo(cards / "a" / "pipe.wav")
    Path(os.fsdecode(os.fsencode(cards) + b"/a/caf\xe9.wav")).touch()
    folder = ["a/1.WAV", "a/2.wav", "a/caf\\xe9.wav", "a/gone.wav", "a/pipe.wav"]
    assert names(cards / "a") == names(f"file://{cards}/a") == folder
    assert names(f"{cards}/a/[gp]*") == ["a/gone.wav", "a/pipe.wav"]
    assert names(cards / "a" / "gone.wav") == ["a/gone.wav"]


def test_two_recordings_of_one_name_are_refused(cards: Path, tmp_path: Path) -> None:
    other = tmp_path / "more" / "a"
    other.mkdir(parents=True)
    (other / "1.WAV").touch()
    with pytest.raises(UsageError, match=r"would both be a/1\.WAV in the archive"):
        names(cards / "a", other)
    assert names(cards / "a", cards / "a") == ["a/1.WAV", "a/2.wav"]


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("nowhere", "there is no such file"),
        ("nowhere/*.wav", "no recording was found"),
        ("file:///nowhere/at/all", "nowhere/at/all"),
        ("s3://bucket/x", "run `.*install s3fs`"),
        ("gs://bucket/x", "run `.*install gcsfs`"),
        ("sftp://127.0.0.1:1/x", "run `.*install paramiko`"),
        ("nothing://x", "Protocol not known: nothing"),
    ],
)
def test_what_is_no_recording_is_said(argument: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        find_inputs([argument])


def test_each_recording_is_of_one_shard(cards: Path) -> None:
    for number in range(60):
        (cards / f"{number}.wav").touch()
    found = find_inputs([str(cards)])
    parts = [[it for it in found if it.is_of_shard(i, 3)] for i in (1, 2, 3)]
    assert sorted(it.name for part in parts for it in part) == names(cards)
    assert all(10 < len(part) < 35 for part in parts)
