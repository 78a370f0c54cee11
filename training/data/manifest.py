"""Manifest of a data set: clips with label, fold and group, and the files left out."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import soundfile

from monitor.errors import DatasetError

AUDIO_SUFFIXES = frozenset(
    f".{name.lower()}" for name in soundfile.available_formats()
) | {".aif", ".oga", ".opus"}
FEW_GROUPS = 5
"""A label with fewer recordings than this can hardly be learned; a warning says so."""

URBANSOUND_LICENCE = (
    "trained on UrbanSound8K and ESC-50 recordings, CC BY-NC; not for commercial use"
)
_URBANSOUND_CSV = Path("metadata", "UrbanSound8K.csv")
_URBANSOUND_COLUMNS = (
    *("slice_file_name", "fsID", "salience"),
    *("fold", "classID", "class"),
)
_FOREGROUND = 1
_ESC50_NAME = re.compile(r"^(?P<fold>\d)-(?P<group>\d+)-[A-Z](-\d+)?$")


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording, or a slice of one."""

    path: Path
    label: int | None
    """Index into the labels; None for material of no class."""

    group: str
    """Clips of one group stem from one recording and are never split."""

    fold: int
    """The fold it belongs to, from 1; 0: it is in no fold and always trained on."""

    is_foreground: bool = True
    """The label is the loudest sound in it; from UrbanSound8K's column `salience`."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that is not used, and the reason."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """The recordings of one data set."""

    labels: tuple[str, ...]
    clips: tuple[Clip, ...]
    left_out: tuple[LeftOut, ...] = ()
    has_folds: bool = False
    licence: str = "not stated"

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds of the clips, without 0."""
        return tuple(sorted({clip.fold for clip in self.clips} - {0}))

    def check_folds(self, folds: Iterable[int], what: str = "data") -> None:
        """Check that the folds exist.

        Raises:
            DatasetError: There is no such fold.
        """
        for fold in folds:
            if fold not in self.folds:
                known = ", ".join(str(each) for each in self.folds) or "none"
                raise DatasetError(
                    f"there is no fold {fold} in the {what}; found {known}"
                )

    def of_folds(self, folds: Sequence[int], what: str = "data") -> list[Clip]:
        """Return the clips of some folds; of all if none is given.

        Raises:
            DatasetError: There is no such fold.
        """
        self.check_folds(folds, what)
        return [clip for clip in self.clips if not folds or clip.fold in folds]

    def few(self) -> dict[str, int]:
        """Labels with too few groups, and their number of groups."""
        groups = {(clip.label, clip.group) for clip in self.clips}
        count = Counter(label for label, _ in groups)
        return {
            name: count[index]
            for index, name in enumerate(self.labels)
            if count[index] < FEW_GROUPS
        }

    def without(self, left_out: Sequence[LeftOut]) -> "Manifest":
        """Return the manifest without more files."""
        gone = {entry.path for entry in left_out}
        clips = tuple(clip for clip in self.clips if clip.path not in gone)
        return replace(
            self, clips=clips, left_out=(*self.left_out, *left_out)
        ).checked()

    def checked(self) -> "Manifest":
        """Return the manifest if it has clips of every label.

        Raises:
            DatasetError: No clip, or no clip of some label, can be used.
        """
        if not self.clips:
            reasons = Counter(entry.reason for entry in self.left_out)
            why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
            raise DatasetError(f"no usable recording was found ({why or 'no files'})")
        present = {clip.label for clip in self.clips}
        for index, label in enumerate(self.labels):
            if index not in present:
                raise DatasetError(f"label {label!r} has no usable recording")
        return self


def read_manifest(
    data: str | Path,
    label_pattern: str | None = None,
    group_pattern: str | None = None,
) -> Manifest:
    """Find the recordings of a data set.

    Args:
        data: A folder with metadata/UrbanSound8K.csv and audio/fold*/, a folder with
            one sub-folder for each label, or a CSV of path,label[,fold][,group] with
            paths relative to it.
        label_pattern: Regular expression that is searched in a file's name; its first
            group is the label.  For folders without a sub-folder for each label.
        group_pattern: The same for the group, which is else the file's stem.

    Raises:
        DatasetError: There is nothing usable, or a table lacks a column.
    """
    data = Path(data)
    if data.is_file():
        manifest = _from_table(data, group_pattern)
    elif (data / _URBANSOUND_CSV).is_file():
        manifest = _from_urbansound(data)
    elif data.is_dir():
        manifest = _from_folders(data, label_pattern, group_pattern)
    else:
        raise DatasetError(f"{data}: no such folder or table of recordings")
    return _check_files(manifest).checked()


def read_negatives(folders: Sequence[Path]) -> Manifest:
    """Find all recordings below `folders`: material of no class.

    Files named as in ESC-50 (fold-recording-take) keep its folds and recordings.
    """
    clips = []
    for folder in folders:
        if not folder.is_dir():
            raise DatasetError(f"{folder}: no such folder of negatives")
        for path in _audio_files(folder):
            match = _ESC50_NAME.match(path.stem)
            group, fold = (match["group"], int(match["fold"])) if match else (None, 0)
            clips.append(Clip(path, None, group or path.stem, fold))
    has_folds = bool(clips) and all(clip.fold for clip in clips)
    return _check_files(Manifest((), tuple(clips), has_folds=has_folds)).checked()


def join(manifest: Manifest, further: Manifest) -> Manifest:
    """Add clips that belong to no fold, and so are always trained on.

    Raises:
        DatasetError: They have a label that the data set does not have.
    """
    index = {label: number for number, label in enumerate(manifest.labels)}
    for label in further.labels:
        if label not in index:
            raise DatasetError(
                f"label {label!r} of the further recordings is not one of the data "
                f"set: {', '.join(manifest.labels)}"
            )
    clips = tuple(
        replace(clip, label=index[further.labels[clip.label]], fold=0)
        for clip in further.clips
        if clip.label is not None
    )
    return replace(
        manifest,
        clips=manifest.clips + clips,
        left_out=manifest.left_out + further.left_out,
    )


def relabel(manifest: Manifest, labels: Sequence[str]) -> Manifest:
    """Number the clips by the labels of a model.

    Raises:
        DatasetError: The data has a label that the model does not know.
    """
    for label in manifest.labels:
        if label not in labels:
            raise DatasetError(
                f"label {label!r} of the data is not one of the model's: "
                f"{', '.join(labels)}"
            )
    index = {number: labels.index(name) for number, name in enumerate(manifest.labels)}
    clips = tuple(
        clip if clip.label is None else replace(clip, label=index[clip.label])
        for clip in manifest.clips
    )
    return replace(manifest, labels=tuple(labels), clips=clips)


def _from_urbansound(data: Path) -> Manifest:
    table = pd.read_csv(data / _URBANSOUND_CSV)
    _require(table, _URBANSOUND_COLUMNS, data)
    names = table.drop_duplicates("classID").sort_values("classID")
    ids = {int(number): place for place, number in enumerate(names["classID"])}
    clips = tuple(
        Clip(
            data / "audio" / f"fold{row.fold}" / str(row.slice_file_name),
            ids[int(str(row.classID))],
            str(row.fsID),
            int(str(row.fold)),
            int(str(row.salience)) == _FOREGROUND,
        )
        for row in table.itertuples(index=False)
    )
    labels = tuple(str(name) for name in names["class"])
    return Manifest(labels, clips, has_folds=True, licence=URBANSOUND_LICENCE)


def _from_table(path: Path, group_pattern: str | None) -> Manifest:
    try:
        table = pd.read_csv(path, dtype=str)
    except (ValueError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"{path}: not a table of comma-separated values: {error}"
        ) from None
    _require(table, ("path", "label"), path)
    labels = tuple(sorted(set(table["label"].dropna())))
    has_folds = "fold" in table.columns
    clips = []
    for row in table.to_dict("records"):
        file = path.parent / str(row["path"])
        group = row.get("group") or _group_of(file, group_pattern)
        fold = _whole(row["fold"], path) if has_folds else 0
        clips.append(Clip(file, labels.index(str(row["label"])), str(group), fold))
    return Manifest(labels, tuple(clips), has_folds=has_folds)


def _from_folders(
    data: Path, label_pattern: str | None, group_pattern: str | None
) -> Manifest:
    named: list[tuple[Path, str]] = []
    left_out = []
    for path in _audio_files(data):
        label: str | None = path.relative_to(data).parts[0]
        if label_pattern is not None:
            label = _search(label_pattern, path.name)
        elif path.parent == data:
            label = None
        if label is None:
            left_out.append(LeftOut(path, "without a label"))
        else:
            named.append((path, label))
    labels = tuple(sorted({label for _, label in named}))
    clips = tuple(
        Clip(path, labels.index(label), _group_of(path, group_pattern), 0)
        for path, label in named
    )
    return Manifest(labels, clips, tuple(left_out))


def _audio_files(folder: Path) -> list[Path]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(path for path in files if path.suffix.lower() in AUDIO_SUFFIXES)


def _group_of(path: Path, pattern: str | None) -> str:
    return (_search(pattern, path.name) if pattern else None) or path.stem


def _search(pattern: str, name: str) -> str | None:
    try:
        match = re.search(pattern, name)
    except re.error as error:
        raise DatasetError(
            f"pattern {pattern!r} is not a regular expression: {error}"
        ) from None
    if match is None:
        return None
    return match[1] if match.re.groups else match[0]


def _whole(value: object, path: Path) -> int:
    try:
        return int(str(value))
    except ValueError:
        raise DatasetError(f"{path}: fold: {value!r} is not a whole number") from None


def _require(table: pd.DataFrame, columns: Iterable[str], path: Path) -> None:
    for column in columns:
        if column not in table.columns:
            raise DatasetError(
                f"{path}: there is no column {column!r}; found "
                f"{', '.join(str(name) for name in table.columns)}"
            )


def _file_problem(path: Path, seen: set[bytes]) -> str | None:
    """Describe in a word why a file cannot be used; None: it can."""
    try:
        content = path.read_bytes()
    except OSError:
        return "missing"
    digest = hashlib.blake2b(content, digest_size=16).digest()
    if not content:
        return "empty"
    if digest in seen:
        return "duplicate"
    try:
        frames: int = soundfile.info(os.fsencode(path)).frames
    except soundfile.LibsndfileError:
        return "unreadable"
    if frames == 0:
        return "empty"
    seen.add(digest)
    return None


def _check_files(manifest: Manifest) -> Manifest:
    """Leave out missing, empty, unreadable and duplicate files."""
    seen: set[bytes] = set()
    kept: list[Clip] = []
    left_out = list(manifest.left_out)
    for clip in manifest.clips:
        reason = _file_problem(clip.path, seen)
        if reason is None:
            kept.append(clip)
        else:
            left_out.append(LeftOut(clip.path, reason))
    return replace(manifest, clips=tuple(kept), left_out=tuple(left_out))
