"""The recordings below a folder, found by their names.

Imports no torch: a folder without recordings is rejected at once.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path

import soundfile

from monitor.errors import DatasetError, UsageError
from training.data.manifest import LeftOut, left_out_lines

# A file of RAW has no header, so it cannot be read by its name alone.
AUDIO_SUFFIXES = frozenset(
    f".{name.lower()}" for name in soundfile.available_formats() if name != "RAW"
) | {".aif", ".oga", ".opus"}
_CONVERTIBLE = frozenset(
    f".{name}"
    for name in (
        *("3gp", "aac", "ac3", "amr", "ape", "dts", "flv", "m4a", "m4b", "mka", "mkv"),
        *("mov", "mp4", "mpc", "raw", "webm", "wma", "wv"),
    )
)
_SYSTEM_FOLDERS = frozenset(
    ("$recycle.bin", "@eadir", "__macosx", "lost+found", "system volume information")
)


@dataclass(slots=True)
class Found:
    """The content of a folder, at any depth."""

    files: list[Path] = field(default_factory=list)
    """Files whose names are those of recordings."""
    folders: list[Path] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)


def find_recordings(folder: Path) -> Found:
    """Find all recordings below a folder, also behind symbolic links.

    What is neither a recording nor a folder of them is counted as left out.
    """
    found = Found()
    seen: dict[str, Path] = {}
    waiting = [folder]
    while waiting:
        place = waiting.pop()
        first = seen.setdefault(os.path.realpath(place), place)
        if first is not place:  # behind a link; a loop would never end
            found.left_out.append(LeftOut(place, f"the same folder as {first}"))
            continue
        try:
            entries = sorted(place.iterdir(), reverse=True)
        except OSError as error:
            reason = f"cannot be opened ({error.strerror})"
            found.left_out.append(LeftOut(place, reason))
            continue
        found.folders.append(place)
        for entry in entries:
            if entry.is_dir() and not _is_hidden(entry):
                waiting.append(entry)
            elif (problem := _not_recording(entry)) is None:
                found.files.append(entry)
            else:
                found.left_out.append(LeftOut(entry, problem))
    found.files.sort()
    return found


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.casefold() in _SYSTEM_FOLDERS


def _not_recording(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if _is_hidden(path):
        return "hidden, or of the system"
    if suffix in _CONVERTIBLE:
        return f"{suffix} cannot be read; convert it, as by ffmpeg -i FILE FILE.wav"
    return None if suffix in AUDIO_SUFFIXES else "not a recording"


def check_folder(folder: Path, content: str) -> None:
    """Check that a folder of some content is there.

    Raises:
        UsageError: It is not.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: no such folder of {content}")


def find_background(folder: Path) -> Found:
    """Find all recordings below a folder; they are a background without any label.

    Raises:
        UsageError: There is no such folder.
        DatasetError: There are none.
    """
    check_folder(folder, "recordings")
    found = find_recordings(folder)
    if not found.files:
        more = "".join(f"; {line}" for line in left_out_lines(found.left_out))
        raise DatasetError(f"{folder}: holds no recording{more}")
    return found


def find_streams(folder: Path) -> list[tuple[Path, Path]]:
    """Find the pairs NAME.wav and NAME.tsv of a folder; other formats are read, too.

    Raises:
        UsageError: There is no such folder.
        DatasetError: There is none, or a recording or an annotation is alone.
    """
    check_folder(folder, "streams")
    pairs = []
    tables = set(folder.glob("*.tsv"))
    for audio in sorted(folder.glob("*.*")):
        if audio.suffix.lower() not in AUDIO_SUFFIXES:
            continue
        table = audio.with_suffix(".tsv")
        if not table.is_file():
            raise DatasetError(f"{audio}: its annotation {table.name} is missing")
        pairs.append((audio, table))
    if alone := sorted(tables - {table for _, table in pairs}):
        raise DatasetError(f"{alone[0]}: its recording {alone[0].stem}.wav is missing")
    if not pairs:
        raise DatasetError(f"{folder}: there is no pair of NAME.wav and NAME.tsv")
    return pairs


def find_fold_models(run: Path) -> dict[int, Path]:
    """Find the networks of a cross-validation in its run folder, by their fold.

    Raises:
        DatasetError: There are none.
    """
    models = {
        int(number): file
        for file in sorted(run.glob("fold*/model.safetensors"))
        if (number := file.parent.name.removeprefix("fold")).isdecimal()
    }
    if not models:
        raise DatasetError(f"{run}: holds no networks of a cross-validation")
    return models
