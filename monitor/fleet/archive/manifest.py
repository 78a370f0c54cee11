"""The manifest of an archive: a line of JSON for each recording that was analysed.

Each shard has a manifest of its own, so that jobs on many machines write one folder.
"""

import fcntl
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import IO, Literal, Self

from monitor.errors import SoundMonitorError
from monitor.fleet.archive.tables import KINDS
from monitor.fleet.parquet import replaced
from monitor.text import path_text, printable

PATTERN = "manifest*.jsonl"

_LEFT = re.compile(r"\..*\.part|\.[0-9a-f]{32}(\.[^.]*)?")
"""Files that are being written, and copies of recordings at URLs."""

Status = Literal["done", "damaged", "failed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """What became of a recording."""

    file: str
    """Its name, and what else identifies its content."""

    size: int
    version: str
    model: str
    """SHA-256 of the model files, and of the labels that they score."""

    settings: str
    """SHA-256 of the settings by which it was analysed."""

    status: Status
    """damaged: a part of it was read, and its records are there; failed: none are."""

    error: str | None = None
    """Why, in a sentence; None: it is done."""

    output: str | None = None
    """Name of its Parquet files without their suffix; None: there are none."""

    source: str | None = None
    start: str | None = None
    """Its begin, UTC in ISO 8601; None: it is unknown."""

    time_from: str | None = None
    """Where the begin was found; see `RecordingTime`."""

    seconds: float = 0.0
    """Length of what was analysed."""

    windows_ms: Sequence[Sequence[int]] = ()
    """Parts that windows cover, [begin, end], from the begin of the recording."""

    events: int = 0
    sample_rate: int | None = None
    """Samples a second of the model."""

    generation: int = 0
    """Number of identities that the recording had before, as by another change or with
    other settings, in whatever manifest: the highest one counts.
    """

    @property
    def identity(self) -> tuple[str, int, str, str, str]:
        """Two with the same one have the same results."""
        return (self.file, self.size, self.version, self.model, self.settings)

    @property
    def rank(self) -> tuple[int, bool]:
        """Of several entries of a recording that of the highest rank counts."""
        return (self.generation, self.output is not None)


class Manifest:
    """The manifest of a run, and those of all other runs in the same folder."""

    def __init__(self, folder: Path, shard: tuple[int, int] | None = None) -> None:
        """Open the manifest of a shard, and lock it.

        Raises:
            SoundMonitorError: Another run writes it, or the folder cannot be written.
        """
        self._folder = folder
        name = "manifest" if shard is None else "manifest-{}-of-{}".format(*shard)
        self._path = folder / f"{name}.jsonl"
        try:
            for kind in KINDS:
                (folder / kind).mkdir(parents=True, exist_ok=True)
            self._lock = (folder / f".{name}.lock").open("a")
            self._log: IO[str] | None = None
        except OSError as error:
            raise SoundMonitorError(
                f"--out: {printable(path_text(folder))}: {error.strerror}"
            ) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._lock.close()
            raise SoundMonitorError(
                f"--out: another run is writing {printable(path_text(self._path))}; "
                "wait for it, or give each a --shard of its own"
            ) from None
        self._presence = _sweep(folder)
        self._own = _newest(_read(self._path))
        self.entries = _newest(
            entry for path in sorted(folder.glob(PATTERN)) for entry in _read(path)
        )
        """The newest of each recording, of any shard."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, entry: Entry) -> None:
        """Write a line, after the files of the recording; delete those of before."""
        before = self.entries.get(entry.file)
        if before is not None:
            is_other = before.identity != entry.identity
            entry = replace(entry, generation=before.generation + is_other)
        self.entries[entry.file] = self._own[entry.file] = entry
        if self._log is None:
            self._end_torn_line()
            self._log = self._path.open("a", encoding="utf-8")
        self._log.write(_line(entry))
        self._log.flush()
        os.fsync(self._log.fileno())
        if before is not None and before.output not in (None, entry.output):
            for kind in KINDS:
                with suppress(FileNotFoundError):
                    (self._folder / kind / f"{before.output}.parquet").unlink()

    def close(self) -> None:
        """Write one line for each recording, in the order of their names."""
        if self._log is not None:
            self._log.close()
            with replaced(self._path) as file:
                for name in sorted(self._own):
                    file.write(_line(self._own[name]).encode())
        self._presence.close()
        self._lock.close()

    def _end_torn_line(self) -> None:
        """End the line that a kill or a full disk has cut off."""
        if self._path.exists() and not self._path.read_bytes().endswith(b"\n"):
            with self._path.open("a", encoding="utf-8") as file:
                file.write("\n")


def _newest(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return the entry of each recording that counts; later ones are newer."""
    found: dict[str, Entry] = {}
    for entry in entries:
        before = found.get(entry.file)
        if before is None or entry.rank >= before.rank:
            found[entry.file] = entry
    return found


def _sweep(folder: Path) -> IO[str]:
    """Delete what a kill has left, unless another run writes into the folder.

    Returns:
        A file whose lock, until it is closed, keeps other runs from doing so.
    """
    lock = (folder / ".runs.lock").open("a")
    with suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for place in (folder, *(folder / kind for kind in KINDS)):
            for path in place.glob(".*"):
                if _LEFT.fullmatch(path.name):
                    path.unlink()
    fcntl.flock(lock, fcntl.LOCK_SH)
    return lock


def recorded_days(folder: Path) -> list[date]:
    """Return the days, in local time, on which recordings begin or end."""
    days = set()
    for path in folder.glob(PATTERN):
        for entry in _read(path):
            if entry.output is not None and entry.start is not None:
                with suppress(ValueError, OverflowError):
                    start = datetime.fromisoformat(entry.start)
                    end = start + timedelta(seconds=entry.seconds)
                    days |= {it.astimezone().date() for it in (start, end)}
    return sorted(days)


def _line(entry: Entry) -> str:
    return json.dumps(asdict(entry), allow_nan=False) + "\n"


def _read(path: Path) -> Iterator[Entry]:
    """Read the entries of a manifest; lines that are none are left out."""
    known = {field.name for field in fields(Entry)}
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            with suppress(ValueError, TypeError, AttributeError):
                facts = json.loads(line)
                yield Entry(**{k: it for k, it in facts.items() if k in known})
