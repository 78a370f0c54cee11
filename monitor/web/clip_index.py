"""The clips of events: found by the id of the event, never by a name from outside."""

import os
import stat
import struct
import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from monitor.text import utc_text

SOUND, PICTURE = ".flac", ".png"
LOWEST_HZ = 50
"""As in `sinks/clip_files`, which imports numpy."""

EARLIER, LATER = timedelta(minutes=2), timedelta(minutes=10)
"""A clip begins so much before and after its event at most: by its settings at most a
minute before; later, if the beginning had been overwritten."""

SETTLED_NS = 1_000_000_000

_HEADER_BYTES = 8192
_STREAM_INFO, _COMMENTS = 0, 4


@dataclass(frozen=True, slots=True)
class ClipFile:
    """A clip in the folder."""

    sound: Path
    event_id: str
    begins: datetime
    """Time of the first sample, UTC."""

    seconds: float
    sample_rate: int

    @property
    def picture(self) -> Path:
        """Its spectrogram."""
        return self.sound.with_suffix(PICTURE)


class ClipIndex:
    """The clips in a folder.  Any thread.

    Names begin with the time of the clip.  So that of an event is searched among few,
    and it is the one whose comment names the event.
    """

    def __init__(self, folder: Path) -> None:
        """Nothing is read before the first question."""
        self.folder = folder
        self._lock = threading.Lock()
        self._changed = -1
        self._names: Sequence[str] = ()
        self._read: dict[str, ClipFile | None] = {}

    def find(
        self, event_id: str, source: str, starts: datetime | None
    ) -> ClipFile | None:
        """Return the clip of an event that started then; None: there is none."""
        if starts is None:
            return None
        with self._lock:
            try:
                self._refresh()
            except OSError:  # no clip has been stored yet
                return None
            first = bisect_left(self._names, _name_part(starts - EARLIER))
            last = bisect_right(self._names, _name_part(starts + LATER))
            for name in self._names[first:last]:
                if f"_{source}_" not in name:
                    continue
                if name not in self._read:
                    self._read[name] = _read_clip(self.folder / name)
                clip = self._read[name]
                if clip is not None and clip.event_id == event_id:
                    return clip
        return None

    def _refresh(self) -> None:
        changed = self.folder.stat().st_mtime_ns
        if changed == self._changed:
            return
        names = sorted(
            each.name for each in self.folder.iterdir() if each.suffix == SOUND
        )
        self._read = {name: self._read[name] for name in names if name in self._read}
        # The time of a folder is coarse: one that has just changed is read again.
        is_settled = time.time_ns() - changed > SETTLED_NS
        self._names, self._changed = names, changed if is_settled else -1


def _name_part(moment: datetime) -> str:
    return str(utc_text(moment)).replace(":", "-")


def open_clip(path: Path) -> int:
    """Open a file of a clip; return its descriptor.

    Raises:
        OSError: It is gone, or a symbolic link, or no regular file.
    """
    # A pipe would wait for its writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return descriptor


def _read_clip(path: Path) -> ClipFile | None:
    """Read the header of a clip; None: no monitor has written it."""
    try:
        time_text = path.name.partition("_")[0]
        begins = datetime.strptime(time_text, "%Y-%m-%dT%H-%M-%S.%f%z")
        with os.fdopen(open_clip(path), "rb") as file:
            blocks = _blocks(file.read(_HEADER_BYTES))
        packed = int.from_bytes(blocks[_STREAM_INFO][10:18], "big")
        rate, samples = packed >> 44, packed & (1 << 36) - 1
        words = _comment(blocks[_COMMENTS]).replace(";", " ").split()
        if words[0] != "event":
            return None
        return ClipFile(path, words[1], begins, samples / rate, rate)
    except (OSError, ValueError, LookupError, ArithmeticError, struct.error):
        return None


def _blocks(header: bytes) -> dict[int, bytes]:
    """Split the header of a FLAC file into its metadata blocks, by type (RFC 9639)."""
    if header[:4] != b"fLaC":
        raise ValueError("this is no FLAC file")
    blocks, at, is_last = {}, 4, False
    while not is_last and at + 4 <= len(header):
        kind, size = header[at], int.from_bytes(header[at + 1 : at + 4], "big")
        is_last = bool(kind & 0x80)
        blocks[kind & 0x7F] = header[at + 4 : at + 4 + size]
        at += 4 + size
    return blocks


def _comment(block: bytes) -> str:
    """Return the tag `comment` of a Vorbis comment; empty: there is none."""
    (size,) = struct.unpack_from("<I", block)
    at = 4 + size
    (count,) = struct.unpack_from("<I", block, at)
    at += 4
    for _ in range(min(count, 100)):
        (size,) = struct.unpack_from("<I", block, at)
        tag = block[at + 4 : at + 4 + size].decode("utf-8", "replace")
        at += 4 + size
        key, _, value = tag.partition("=")
        if key.lower() in ("comment", "description"):
            return value
    return ""
