"""Discovery of the recordings of a data set: by a table, or by the names of folders."""

import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from monitor.errors import DatasetError, UsageError
from monitor.text import counted
from training.data.manifest import (
    NO_FOLD,
    Clip,
    LeftOut,
    Manifest,
    check_files,
    checked_labels,
)
from training.data.recordings import (
    AUDIO_SUFFIXES,
    Found,
    check_folder,
    find_recordings,
)
from training.data.tables import Row, Table, fold_number, read_table

_SPLITS = {
    **dict.fromkeys(("test", "testing"), 1),
    **dict.fromkeys(("dev", "val", "valid", "validation"), 2),
    **dict.fromkeys(("train", "training"), 3),
}
"""Folds of the usual names of splits: fold 1 is the one that is tested by default."""
_VALIDATED, _TRAINED = 2, 3

URBANSOUND_LICENCE = (
    "trained on UrbanSound8K and ESC-50 recordings, CC BY-NC; not for commercial use"
)
_URBANSOUND = "UrbanSound8K.csv"
_URBANSOUND_COLUMNS = (
    "slice_file_name",
    "fsid",
    "salience",
    "fold",
    "classid",
    "class",
)
_FOREGROUND = 1
_ESC50_NAME = re.compile(r"^(?P<fold>\d)-(?P<group>\d+)-[A-Z](-\d+)?$")


def reject_unusable(
    data: Path, negatives: Sequence[Path] = (), places: Sequence[Path] = ()
) -> None:
    """Reject folders without any recording, before slow libraries are imported.

    Raises:
        UsageError: There is no such folder.
        DatasetError: As `read_manifest`.
    """
    files = (Path(name) for _, _, names in os.walk(data) for name in names)
    is_used = (file.suffix.lower() in AUDIO_SUFFIXES for file in files)
    if not (data.is_file() or any(is_used)):
        read_manifest(data)
    for folder in negatives:
        check_folder(folder, "negatives (--negatives)")
    for path in places:
        if not path.is_file():
            check_folder(path, "places (--places)")


def read_manifest(
    data: str | Path,
    label_pattern: str | None = None,
    group_pattern: str | None = None,
    seen: set[bytes] | None = None,
) -> Manifest:
    """Find the recordings of a data set.

    Args:
        data: A folder with UrbanSound8K.csv (or metadata/UrbanSound8K.csv) and its
            folds, a folder with one sub-folder for each label, or with folders of folds
            or splits that have one, or a CSV of path,label[,fold][,group] with paths
            relative to it.
        label_pattern: Regular expression that is searched in a file's name; its first
            group is the label.  For folders without a sub-folder for each label.
        group_pattern: The same for the group; without it each file is one.
        seen: Hashes of the files of other data sets, which are left out here.

    Raises:
        DatasetError: There is nothing usable, or a table breaks a rule.
        UsageError: There is no such folder or table, a pattern is none, a label cannot
            be one, or folders may mean one thing or another.
    """
    data = Path(data)
    if (table := _urbansound_table(data)) is not None:
        manifest = _from_urbansound(table)
    elif data.is_file():
        manifest = _from_table(data, group_pattern)
    elif data.is_dir():
        manifest = _from_folders(data, label_pattern, group_pattern)
    else:
        raise UsageError(f"{data}: no such folder or table of recordings")
    unused = _pattern_notes(manifest, data, label_pattern, group_pattern)
    notes = (*manifest.notes, *unused)
    manifest = replace(manifest, notes=notes, origin=str(data))
    return check_files(manifest, set() if seen is None else seen)


def _pattern_notes(
    manifest: Manifest, data: Path, label_pattern: str | None, group_pattern: str | None
) -> Iterator[str]:
    """Say where patterns do nothing: the split would not be the one that was meant."""
    if label_pattern is not None and not data.is_dir():
        yield "--label-pattern is not used: the table has the labels"
    if group_pattern is not None:
        yield from unmatched_notes("--group-pattern", group_pattern, manifest.clips)


def unmatched_notes(option: str, pattern: str, clips: Iterable[Clip]) -> Iterator[str]:
    """Say in how many names the pattern of an option finds nothing, if in any.

    Raises:
        UsageError: As `find_in_name`.
    """
    names = [clip.path.name for clip in clips]
    if alone := sum(find_in_name(pattern, name) is None for name in names):
        yield f"{option} finds nothing in {alone} of {counted(len(names), 'name')}"


def read_negatives(folders: Sequence[Path], seen: set[bytes] | None = None) -> Manifest:
    """Find all recordings below `folders`: material of no class.

    Files named as in ESC-50 (fold-recording-take) keep its folds and recordings.
    """
    clips, left_out = [], []
    for number, folder in enumerate(folders):
        check_folder(folder, "negatives")
        found = find_recordings(folder)
        left_out += found.left_out
        for path in found.files:
            match = _ESC50_NAME.match(path.stem)
            group, fold = own_group(folder, path), NO_FOLD
            if number:
                group = f"{number} {group}"
            if match:
                group, fold = match["group"], int(match["fold"])
            clips.append(Clip(path, None, group, fold))
    has_folds = bool(clips) and all(clip.fold != NO_FOLD for clip in clips)
    origin = f"--negatives {', '.join(map(str, folders))}"
    manifest = Manifest((), tuple(clips), tuple(left_out), has_folds, origin=origin)
    return check_files(manifest, set() if seen is None else seen)


def _urbansound_table(data: Path) -> Path | None:
    tables = (data, data / "metadata" / _URBANSOUND, data / _URBANSOUND)
    named = (table for table in tables if table.name == _URBANSOUND)
    return next((table for table in named if table.is_file()), None)


def _from_urbansound(path: Path) -> Manifest:
    table = read_table(path, _URBANSOUND_COLUMNS)
    root = path.parent.parent if path.parent.name == "metadata" else path.parent
    audio = root / "audio" if (root / "audio").is_dir() else root
    names: dict[int, str] = {}
    for row in table.rows:
        number, name = row.whole("classid"), row.name("class")
        if names.setdefault(number, name) != name:
            raise row.error(f"class {number} is {name!r}, and was {names[number]!r}")
    labels = tuple(names[number] for number in sorted(names))
    if len(set(labels)) < len(labels):
        raise DatasetError(f"{path}: a class has two numbers in column classID")
    checked_labels(dict.fromkeys(labels, str(path)))
    clips = tuple(
        Clip(
            audio / f"fold{row.fold('fold')}" / row.text("slice_file_name"),
            labels.index(row.name("class")),
            row.text("fsid"),
            row.fold("fold"),
            row.whole("salience") == _FOREGROUND,
        )
        for row in table.rows
    )
    return Manifest(labels, clips, has_folds=True, licence=URBANSOUND_LICENCE)


def _from_table(path: Path, group_pattern: str | None) -> Manifest:
    table = read_table(path, ("path", "label"))
    places: dict[str, str] = {}
    for row in table.rows:
        places.setdefault(row.name("label"), row.place)
    labels = checked_labels(places)
    has_folds = _has_folds(table.rows)
    clips = []
    for row in table.rows:
        file = file_of(row, path.parent)
        group = row.cells.get("group", "")
        if row.is_missing("group"):
            group = _group_of(path.parent, file, group_pattern)
        fold = row.fold("fold") if has_folds else NO_FOLD
        clips.append(Clip(file, labels.index(row.name("label")), group, fold))
    notes = tuple(_notes(table))
    return Manifest(labels, tuple(clips), has_folds=has_folds, notes=notes)


def _has_folds(rows: Sequence[Row]) -> bool:
    """True if all rows have a fold.

    Raises:
        TableError: Some have, and others have none.
    """
    without = [row for row in rows if row.is_missing("fold")]
    if without and len(without) < len(rows):
        raise without[0].error(
            f"there is no fold, here and in {len(without) - 1} other rows, but in "
            f"{len(rows) - len(without)} there is; fill in all or none"
        )
    return bool(rows) and not without


def _notes(table: Table) -> Iterator[str]:
    unused = [c for c in table.columns if c not in ("path", "label", "fold", "group")]
    if any(unused):
        yield f"columns that are not used: {', '.join(filter(None, unused))}"
    own = sum(row.is_missing("group") for row in table.rows)
    if "group" in table.columns and own:
        yield f"{own} rows without a group: each is taken for a recording of its own"


def file_of(row: Row, folder: Path) -> Path:
    """Return the file that a row of a table in `folder` names.

    Raises:
        TableError: It is separated by backslashes.
    """
    text = row.text("path")
    path = folder / text
    if "\\" in text and not os.path.lexists(path):
        raise row.error(
            f"path: there is no file {text!r}; write / between folders, not \\"
        )
    return path


def _from_folders(
    data: Path, label_pattern: str | None, group_pattern: str | None
) -> Manifest:
    found = find_recordings(data)
    left_out = found.left_out
    tops = {path.relative_to(data).parts[0] for path in found.files}
    tops -= {path.name for path in found.files if path.parent == data}
    folds, notes = _folds_of_folders(data, tops)
    depth = 1 if folds else 0
    named: list[tuple[Path, str]] = []
    places: dict[str, str] = {}
    for path in found.files:
        parts = path.relative_to(data).parts
        label = parts[depth] if len(parts) > depth + 1 else None
        if label_pattern is not None:
            label = find_in_name(label_pattern, path.name)
        if label is None:
            left_out.append(LeftOut(path, "without a label"))
            continue
        label = unicodedata.normalize("NFC", label.strip())
        named.append((path, label))
        places.setdefault(label, str(path.parent))
    labels = checked_labels(places)
    clips = tuple(
        Clip(
            path,
            labels.index(label),
            _group_of(data, path, group_pattern),
            folds.get(path.relative_to(data).parts[0], NO_FOLD),
        )
        for path, label in named
    )
    if label_pattern is None:
        notes += _empty_folders(data, found, depth)
    return Manifest(labels, clips, tuple(left_out), bool(folds), notes=tuple(notes))


def _folds_of_folders(data: Path, tops: set[str]) -> tuple[dict[str, int], list[str]]:
    """Find the folders that are folds, or splits, and no labels; and say so.

    Raises:
        UsageError: Some look like folds and others like labels.
    """
    hint = ""
    folds = {
        top: number
        for top in tops
        if top.casefold().startswith("fold")
        and (number := fold_number(top)) is not None
    }
    if not folds:
        folds = {
            top: _SPLITS[top.casefold()] for top in tops if top.casefold() in _SPLITS
        }
        if _TRAINED not in folds.values() or len(set(folds.values())) < 2:
            return {}, []  # a label may be called train
        if _VALIDATED in folds.values():
            hint = (
                f"; --validation-folds {_VALIDATED} keeps that one out of the training"
            )
    if others := sorted(tops - folds.keys()):
        raise UsageError(
            f"{data}: the folders {', '.join(sorted(folds))} look like folds, but "
            f"{', '.join(others)} like labels; move one kind away, or list all in "
            "a CSV of path,label,fold"
        )
    ordered = sorted(folds, key=lambda top: folds[top])
    meant = ", ".join(f"{top} is fold {folds[top]}" for top in ordered)
    return folds, [f"folders that are folds, not labels: {meant}{hint}"]


def _empty_folders(data: Path, found: Found, depth: int) -> list[str]:
    """Describe the folders that would be labels, but hold no recording."""
    used = {path.relative_to(data).parts[: depth + 1] for path in found.files}
    empty = [
        str(folder.relative_to(data))
        for folder in found.folders
        if len(parts := folder.relative_to(data).parts) == depth + 1
        and parts not in used
    ]
    if not empty:
        return []
    return [f"folders without a recording, which are no labels: {', '.join(empty)}"]


def _group_of(folder: Path, path: Path, pattern: str | None) -> str:
    found = find_in_name(pattern, path.name) if pattern else None
    return found or own_group(folder, path)


def own_group(folder: Path, path: Path) -> str:
    """Name a file that is a recording of its own: 1.wav may be in every folder."""
    if path.is_relative_to(folder):
        path = path.relative_to(folder)
    return path.as_posix().removesuffix(path.suffix)


def find_in_name(pattern: str, name: str) -> str | None:
    """Return the first group of what a pattern finds in a name, or the whole of it.

    Raises:
        UsageError: It is not a regular expression.
    """
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise UsageError(
            f"pattern {pattern!r} is not a regular expression: {error}"
        ) from None
    if match is None:
        return None
    return match[1] if match.re.groups else match[0]
