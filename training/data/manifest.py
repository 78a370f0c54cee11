"""Manifest of a data set: clips with label, fold and group, and the files left out."""

import base64
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from monitor.audio.sources.recording import Recording
from monitor.errors import AudioFileError, DatasetError, UsageError
from monitor.text import counted, name_problem, printable

NO_FOLD = -1
"""The fold of clips that are always trained on."""
FEW_GROUPS = 5
"""A label with fewer recordings than this can hardly be learned; a warning says so."""
_NAMED_FILES = 3
_NAMED_LABELS = 30


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording, or a slice of one."""

    path: Path
    label: int | None
    """Index into the labels; None for material of no class."""

    group: str
    """Clips of one group stem from one recording and are never split."""

    fold: int
    """The fold it belongs to, from 0; NO_FOLD: none."""

    is_foreground: bool = True
    """The label is the loudest sound in it; from UrbanSound8K's column `salience`."""

    digest: bytes = b""
    """Hash of its file; empty before the file is checked."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file or folder that is not used, and the reason."""

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
    notes: tuple[str, ...] = ()
    """How the data was read, where that is not plain; for the summary."""
    origin: str = ""
    """Option and path, for messages; empty: not stated."""

    @property
    def folds(self) -> tuple[int, ...]:
        """The folds of the clips."""
        return tuple(sorted({clip.fold for clip in self.clips} - {NO_FOLD}))

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

    def summary(self, what: str) -> Iterator[str]:
        """Describe in lines what is used, how it was read, and what is left out.

        Args:
            what: Noun for one group of the clips.
        """
        folds = ", ".join(str(fold) for fold in self.folds)
        fold = "fold" if len(self.folds) == 1 else "folds"
        groups = counted(len({clip.group for clip in self.clips}), what)
        yield f"{counted(len(self.clips), 'clip')} of {groups}, " + (
            f"in {fold} {folds}" if folds else "in no folds"
        )
        if self.labels:
            count = Counter(clip.label for clip in self.clips)
            rare = sorted(range(len(self.labels)), key=lambda label: count[label])
            named = [f"{self.labels[label]} {count[label]}" for label in rare]
            if len(named) > _NAMED_LABELS:
                named[_NAMED_LABELS:] = ["..."]
            yield f"{counted(len(rare), 'label')}: {', '.join(named)}"
        for name, labels in self._bound_labels().items():
            yield f"labels with all clips {name}: {', '.join(labels)}"
        yield from self.notes
        yield from left_out_lines(self.left_out)

    def _bound_labels(self) -> dict[str, list[str]]:
        """Labels that a test of one fold has all clips of, or none, by the fold."""
        folds: dict[int | None, set[int]] = defaultdict(set)
        for clip in self.clips:
            folds[clip.label].add(clip.fold)
        found = defaultdict(list)
        for index, label in enumerate(self.labels):
            if self.folds and len(folds[index]) == 1:
                (fold,) = folds[index]
                name = f"in fold {fold}"
                if fold == NO_FOLD:
                    name = "of one recording, which is trained on and never tested"
                found[name].append(label)
        return found

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
        reasons = Counter(entry.reason for entry in self.left_out)
        why = ", ".join(f"{count} {reason}" for reason, count in reasons.items())
        first = f"; the first: {self.left_out[0].path}" if self.left_out else ""
        why = f"({why or 'no files'}{first})"
        where = f"{self.origin}: " if self.origin else ""
        if not self.clips:
            notes = "".join(f"; {note}" for note in self.notes)
            raise DatasetError(f"{where}no usable recording was found {why}{notes}")
        present = {clip.label for clip in self.clips}
        for index, label in enumerate(self.labels):
            if index not in present:
                raise DatasetError(
                    f"{where}label {label!r} has no usable recording {why}"
                )
        return self


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
        replace(clip, label=index[further.labels[clip.label]], fold=NO_FOLD)
        for clip in further.clips
        if clip.label is not None
    )
    return replace(
        manifest,
        clips=manifest.clips + clips,
        left_out=manifest.left_out + further.left_out,
        notes=manifest.notes + further.notes,
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


_MARK_BYTES, _MOST_MARKS = 6, 20_000


def marks(clips: Iterable[Clip]) -> str:
    """Return short hashes of the files, for the model that was trained on them.

    Empty if they would fill the header of the model file.
    """
    parts = {clip.digest[:_MARK_BYTES] for clip in clips}
    few = sorted(parts) if len(parts) <= _MOST_MARKS else []
    return base64.b64encode(b"".join(few)).decode()


def join_marks(*several: str) -> str:
    """Join the marks of several trainings; empty if they are too many."""
    parts = {part for each in several for part in _parts_of(each)}
    few = sorted(parts) if len(parts) <= _MOST_MARKS else []
    return base64.b64encode(b"".join(few)).decode()


def _parts_of(marks: str) -> set[bytes]:
    try:
        content = base64.b64decode(marks)
    except ValueError:  # a model file may come from anybody
        return set()
    starts = range(0, len(content), _MARK_BYTES)
    return {content[start : start + _MARK_BYTES] for start in starts}


def count_marked(clips: Iterable[Clip], marks: str) -> int:
    """Count the clips whose files are among `marks`."""
    known = _parts_of(marks)
    return sum(clip.digest[:_MARK_BYTES] in known for clip in clips)


def left_out_lines(left_out: Iterable[LeftOut]) -> Iterator[str]:
    """Describe files that are not used: a line for each reason."""
    by_reason = defaultdict(list)
    for entry in left_out:
        by_reason[entry.reason].append(printable(str(entry.path)))
    for reason, paths in by_reason.items():
        more = ", ..." if len(paths) > _NAMED_FILES else ""
        names = ", ".join(paths[:_NAMED_FILES])
        yield f"left out, {reason}: {len(paths)} ({names}{more})"


def checked_labels(places: dict[str, str]) -> tuple[str, ...]:
    """Return the labels in order, if all of them can be names in a model.

    Args:
        places: By label, where it was found, for messages.

    Raises:
        UsageError: One cannot, or two differ in case only.
    """
    known: dict[str, str] = {}
    for label, place in sorted(places.items()):
        if (problem := name_problem(label)) is not None:
            raise UsageError(f"{place}: {label!a} cannot be a label: {problem}")
        other = known.setdefault(label.casefold(), label)
        if other != label:
            raise UsageError(
                f"{place}: label {label!r} differs from {other!r} "
                f"({places[other]}) in case only; give one sound one label"
            )
    return tuple(sorted(places))


def check_files(manifest: Manifest, seen: set[bytes]) -> Manifest:
    """Leave out missing, empty, unreadable and duplicate files.

    Files with the same content under two labels are all left out: one of the labels is
    wrong.  `seen` holds the hashes of other data sets, and gets those of this one.
    """
    left_out = list(manifest.left_out)
    same: dict[bytes, list[Clip]] = defaultdict(list)
    for clip in manifest.clips:
        digest, reason = _examine(clip.path)
        if reason is None:
            same[digest].append(replace(clip, digest=digest))
        else:
            left_out.append(LeftOut(clip.path, reason))
    kept = []
    for digest, clips in same.items():
        named = sorted({manifest.labels[c.label] for c in clips if c.label is not None})
        if len(named) > 1:
            reason = f"the same file under several labels: {', '.join(named)}"
            left_out += [LeftOut(clip.path, reason) for clip in clips]
            continue
        if digest not in seen:
            kept.append(clips.pop(0))
        left_out += [LeftOut(clip.path, "duplicate") for clip in clips]
    seen.update(same)
    return replace(manifest, clips=tuple(kept), left_out=tuple(left_out)).checked()


def _examine(path: Path) -> tuple[bytes, str | None]:
    """Hash a file, and say in a word why it cannot be used; None: it can."""
    try:
        if not path.is_file():  # reading a pipe or a device would never end
            return b"", "not a file" if path.exists() else "missing"
        with path.open("rb") as file:
            digest = hashlib.file_digest(
                file, lambda: hashlib.blake2b(digest_size=16)
            ).digest()
            if file.tell() == 0:
                return digest, "empty"
        Recording(path).close()
    except OSError as error:
        return b"", f"cannot be read ({error.strerror})"
    except AudioFileError as error:
        return digest, error.reason
    return digest, None
