"""The recordings of an archive: found in folders, by patterns, and at URLs."""

import glob
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import soundfile

from monitor.errors import UsageError
from monitor.extras import pip_install
from monitor.text import counted, first_line, path_text, printable

logger = logging.getLogger(__name__)

# A file of RAW has no header, so it cannot be read by its name alone.
_SUFFIXES = frozenset(
    f".{name.lower()}" for name in soundfile.available_formats() if name != "RAW"
) | {".aif", ".oga", ".opus"}

_VIDEO = {".3gp", ".mkv", ".mov", ".mp4", ".webm"}
_UNREADABLE = frozenset({".aac", ".ac3", ".amr", ".m4a", ".wma", ".wv"} | _VIDEO)
"""Formats of sound that libsndfile does not read."""

_VERSIONS = ("ETag", "etag", "md5", "CRC", "mtime", "LastModified", "Last-Modified")
"""Keys of what file systems say about a file, of which the first that is there shows
whether its content has changed."""


@dataclass(frozen=True, slots=True)
class ArchiveInput:
    """A recording that is to be analysed."""

    name: str
    """Path from the folder of the argument on, with the name of that folder."""

    location: str
    """Path or URL."""

    size: int
    """Bytes."""

    version: str
    """Time of its last change or, of a URL, a tag of its content."""

    @property
    def is_url(self) -> bool:
        """True if fsspec has to fetch it."""
        return "://" in self.location

    def is_of_shard(self, shard: int, shards: int) -> bool:
        """Return True if it belongs to a shard, counted from 1."""
        digest = hashlib.sha256(self.name.encode()).digest()
        return int.from_bytes(digest[:8], "big") % shards == shard - 1


def find_inputs(arguments: Sequence[str]) -> list[ArchiveInput]:
    """Find the recordings of all arguments, in the order of their names.

    Raises:
        UsageError: An argument is nothing that can be read, or two recordings have the
            same name.
    """
    found: dict[str, ArchiveInput] = {}
    for argument in arguments:
        place = argument.removeprefix("file://")
        left_out = Counter[str]()
        find = _at_url if "://" in place else _at_path
        inputs = find(place, left_out)
        count = 0
        for each in inputs:
            other = found.setdefault(each.name, each)
            if other.location != each.location:
                raise UsageError(
                    f"{printable(each.location)} and {printable(other.location)} would "
                    f"both be {printable(each.name)} in the archive: name the folder "
                    "that holds both, or analyse them into two archives"
                )
            count += 1
        if left_out:
            logger.warning(
                "%s left out: %s; 'archive' cannot read that: convert to .wav or .flac",
                counted(left_out.total(), "file"),
                ", ".join(sorted(left_out)),
            )
        if not count:
            raise UsageError(f"{printable(argument)}: no recording was found there")
    return [found[name] for name in sorted(found)]


def _at_path(argument: str, left_out: Counter[str]) -> Iterator[ArchiveInput]:
    path = Path(argument)
    if path.is_dir():
        root = _absolute(path)
        yield from (_local(file, root) for file in _walk(root, left_out))
    elif os.path.lexists(path):
        yield _local(_absolute(path), _absolute(path).parent)
    elif glob.has_magic(argument):
        root = _absolute(_plain_part(argument))
        for match in sorted(glob.glob(argument, recursive=True)):  # noqa: PTH207 - `**`
            place = _absolute(match)
            if place.is_dir():
                yield from (_local(it, root) for it in _walk(place, left_out))
            elif _is_recording(place.name, left_out):
                yield _local(place, root)
    else:
        raise UsageError(f"{printable(path_text(path))}: there is no such file")


def _absolute(path: str | Path) -> Path:
    """Make a path absolute, with the names of links as they are."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - resolves no links


def _walk(folder: Path, left_out: Counter[str]) -> Iterator[Path]:
    # Links to folders are not followed: one may lead back.
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (
            Path(place, name) for name in sorted(files) if _is_recording(name, left_out)
        )


def _local(file: Path, root: Path) -> ArchiveInput:
    try:
        name = f"{root.name}/{file.relative_to(root)}".lstrip("/")
    except ValueError as error:
        raise UsageError(f"{printable(path_text(file))}: {error}") from None
    shown = printable(path_text(name))
    try:
        facts = file.stat()
    except OSError:  # its analysis says so
        return ArchiveInput(shown, str(file), 0, "")
    return ArchiveInput(shown, str(file), facts.st_size, str(facts.st_mtime_ns))


def _plain_part(pattern: str) -> str:
    """Return the folders before the first one that has a wildcard."""
    parts = pattern.split("/")
    first = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    return "/".join(parts[:first]) or ("/" if pattern.startswith("/") else ".")


def _is_recording(name: str, left_out: Counter[str]) -> bool:
    """Return True unless a name, or a path below a folder, is hidden or of no sound.

    Suffixes of sound that cannot be read are counted in `left_out`.
    """
    suffix = Path(name).suffix.lower()
    if any(part.startswith(".") for part in name.split("/")):
        return False
    left_out.update([suffix] if suffix in _UNREADABLE else [])
    return suffix in _SUFFIXES


def _at_url(argument: str, left_out: Counter[str]) -> Iterator[ArchiveInput]:
    try:
        system, path = fsspec.core.url_to_fs(argument)
        found, root = _listing(system, path, left_out)
    except ImportError as error:
        raise UsageError(f"{printable(argument)}: {_lack(error)}") from None
    except Exception as error:  # noqa: BLE001 - each file system has its own
        raise UsageError(f"{printable(argument)}: {first_line(error)}") from None
    # `zip://inside.wav::file:///archive.zip` has what is outside behind.
    outside = "".join(f"::{part}" for part in argument.split("::")[1:])
    for path, facts in sorted(found.items()):
        inside = path.removeprefix(root).strip("/")
        folder = root.rstrip("/").rpartition("/")[2]
        yield ArchiveInput(
            printable(f"{folder}/{inside}".lstrip("/")),
            system.unstrip_protocol(path) + outside,
            int(facts.get("size") or 0),
            next((str(facts[key]) for key in _VERSIONS if facts.get(key)), ""),
        )


def _listing(
    system: Any, path: str, left_out: Counter[str]
) -> tuple[dict[str, Mapping[str, Any]], str]:
    """Return what is known of each recording by its path, and the folder of all."""
    if glob.has_magic(path):
        every, root = system.glob(path, detail=True), _plain_part(path)
    elif system.isdir(path):
        every, root = system.find(path, detail=True), path
    else:
        return {path: system.info(path)}, path.rpartition("/")[0]
    return {
        # A listing by HTTP has names alone.
        name: facts if facts.get("size") is not None else system.info(name)
        for name, facts in every.items()
        if facts.get("type") != "directory"
        and _is_recording(name.removeprefix(root), left_out)
    }, root


def _lack(error: ImportError) -> str:
    """Name the packages of a file system that are missing.

    fsspec says `Install x to access y`, or `Y requires "x" and "z" to be installed`.
    """
    text = str(error)
    lacking = re.findall(r'"([\w-]+)"', text) or re.findall(
        r"[Ii]nstall (?:the )?([\w-]+)", text
    )
    if not lacking:
        return f"a library is missing: {error}"
    return f"needs {' and '.join(lacking)}: run `{pip_install(*lacking)}`"
