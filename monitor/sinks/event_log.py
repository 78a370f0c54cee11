"""The event log: onsets, events, gaps and health as JSON Lines in a file.

A file of whole lines: appended, rotated by size, mended after a crash.

Deleting lines of an event log while it may be written.
"""

import errno
import json
import logging
import os
import stat
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

from monitor.records import Timed
from monitor.sinks.encoding import encode_line
from monitor.sinks.sink import Sink
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)


# When which sound was heard tells when somebody was at home.
FILE_MODE = 0o600
FOLDER_MODE = 0o700


class LineFile:
    """Appends lines to a file that others read, move away or delete meanwhile.

    It has one writer.  Rotated files are PATH.1, the youngest, to PATH.`keep`; with
    `keep` 0 the file itself begins anew.  Files beyond `keep` are not touched.
    Not thread-safe.
    """

    def __init__(self, path: Path, limit_bytes: int, keep: int) -> None:
        self.path = path
        self.limit(limit_bytes, keep)
        self._descriptor: int | None = None
        self._said_that_rotation_fails = False

    def limit(self, limit_bytes: int, keep: int) -> None:
        """Rotate before a line would go beyond `limit_bytes`; keep so many files."""
        self._limit_bytes = limit_bytes
        self._keep = keep

    def open(self) -> None:
        """Open the file that stands at the path now, made with its folder if need be.

        A last line without its end, left by a crash, is ended: what follows is whole.

        Raises:
            OSError: It cannot be opened or mended; trying again later may help.
        """
        self.close()
        self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        descriptor = os.open(self.path, flags, FILE_MODE)
        try:
            self._mend(descriptor)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def close(self) -> None:
        """Close the file if it is open."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def append(self, lines: deque[bytes]) -> None:
        """Append `lines`, each with its newline, and take those written off the left.

        The file stays within its limit, unless a single line is longer.  A batch is one
        write, as long as it fits.

        Raises:
            OSError: The disk is full or the file cannot be written.  It holds whole
                lines all the same, and `lines` those that are not in it.
        """
        descriptor = self._follow()
        while lines:
            size = os.fstat(descriptor).st_size
            if size and size + len(lines[0]) > self._limit_bytes:
                descriptor = self._rotate(descriptor)
                size = os.fstat(descriptor).st_size
            self._write(descriptor, size, self._batch(lines, size), lines)

    def _follow(self) -> int:
        """Descriptor of the file at the path, which may have been moved or deleted."""
        if self._descriptor is not None and not self._is_at_path(self._descriptor):
            self.close()
        if self._descriptor is None:
            self.open()
        assert self._descriptor is not None
        return self._descriptor

    def _is_at_path(self, descriptor: int) -> bool:
        try:
            return os.path.samestat(os.fstat(descriptor), self.path.stat())
        except FileNotFoundError:
            return False

    def _batch(self, lines: deque[bytes], size: int) -> bytes:
        """As many lines as fit, at least one."""
        batch = bytearray(lines[0])
        for line in islice(lines, 1, None):
            if size + len(batch) + len(line) > self._limit_bytes:
                break
            batch += line
        return bytes(batch)

    def _write(
        self, descriptor: int, size: int, batch: bytes, lines: deque[bytes]
    ) -> None:
        written = 0
        try:
            while written < len(batch):
                count = os.write(descriptor, batch[written:])
                if count == 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                written += count
        except OSError:
            written = batch.rfind(b"\n", 0, written) + 1
            self._cut(descriptor, size + written)
            raise
        finally:
            for _ in range(batch.count(b"\n", 0, written)):
                lines.popleft()

    def _cut(self, descriptor: int, size: int) -> None:
        """Take back the part of a line that did not fit."""
        try:
            if os.fstat(descriptor).st_size > size:
                os.ftruncate(descriptor, size)
        except OSError:
            self.close()  # opening it again ends the torn line

    def _mend(self, descriptor: int) -> None:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            # Half a line cannot be taken back from a pipe.
            raise OSError(errno.ESPIPE, "it is a pipe")
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            os.write(descriptor, b"\n")
            logger.warning("%s ended in the middle of a line; ended it", self.path)

    def _rotate(self, descriptor: int) -> int:
        try:
            if self._keep == 0:
                os.ftruncate(descriptor, 0)
                return descriptor
            self._shift()
        except OSError as error:
            # A file that is too long is better than records that are nowhere.
            if not self._said_that_rotation_fails:
                logger.error("%s cannot be rotated: %s", self.path, error.strerror)
            self._said_that_rotation_fails = True
            return descriptor
        self._said_that_rotation_fails = False
        return self._follow()

    def _shift(self) -> None:
        """Move each file up one number, as far as the first number that is free.

        From the oldest to the newest: wherever this is interrupted, no file but the
        oldest has been replaced, and the next rotation goes on.
        """
        names = [self.path] + [
            self.path.with_name(f"{self.path.name}.{number}")
            for number in range(1, self._keep + 1)
        ]
        free = next((n for n in range(1, self._keep) if not names[n].exists()), None)
        for number in range(free or self._keep, 0, -1):
            names[number - 1].replace(names[number])


MEMORY_RECORDS = 10_000


class EventLog(Sink):
    """Appends a line of schema 1 for every onset, event, gap and record of health.

    While the file cannot be written, the newest records wait in memory, and every call
    tries again.
    """

    def __init__(
        self,
        path: Path,
        *,
        rotate_mib: float,
        keep: int,
        memory_records: int = MEMORY_RECORDS,
    ) -> None:
        """Open the log; where that fails, say so and wait for better times.

        Args:
            path: The file; its folder is made.
            rotate_mib: See `EventLogSettings`.
            keep: See `EventLogSettings`.
            memory_records: Records kept in memory while the file cannot be written.
        """
        self._file = LineFile(path, _bytes(rotate_mib), keep)
        self._memory_records = memory_records
        self._waiting: deque[bytes] = deque()
        self._lost_now = 0
        self._is_failing = False
        self.lost_records = 0
        """Records that were given up, because memory was full or the log was closed."""

        self._flush()

    @property
    def waiting_records(self) -> int:
        """Records in memory, because the file cannot be written."""
        return len(self._waiting)

    def change(self, *, rotate_mib: float, keep: int) -> None:
        """Rotate as other settings say, from the next record on."""
        self._file.limit(_bytes(rotate_mib), keep)

    def write(self, batch: Sequence[Timed]) -> None:
        """Append what the log is for; never raises for a full disk."""
        for timed in batch:
            line = encode_line(timed)
            if line is not None:
                self._waiting.append(line)
        if self._waiting:
            self._flush()

    def report(self, _: Statistics) -> None:
        """Try again to write what waits."""
        if self._is_failing:
            self._flush()

    def reopen(self) -> None:
        """Open the file at the path, after logrotate moved the one that was open."""
        self._file.close()
        self._flush()

    def close(self) -> None:
        """Write what waits, or say that it is lost; close the file."""
        self._flush()
        if self._waiting:
            logger.error(
                "event log %s: %d records could not be written and are lost",
                self._file.path,
                len(self._waiting),
            )
            self.lost_records += len(self._waiting)
            self._waiting.clear()
        self._file.close()

    def _flush(self) -> None:
        held = len(self._waiting)
        try:
            self._file.append(self._waiting)
        except OSError as error:
            self._fail(error)
        else:
            self._recover(held)
        self._drop_oldest()

    def _fail(self, error: OSError) -> None:
        if not self._is_failing:
            logger.warning(
                "event log %s cannot be written: %s; keeping up to %d records in "
                "memory until it can",
                self._file.path,
                error.strerror,
                self._memory_records,
            )
        self._is_failing = True

    def _recover(self, held: int) -> None:
        if self._is_failing:
            logger.warning(
                "event log %s is written again: %d records came from memory, %d are "
                "lost",
                self._file.path,
                held,
                self._lost_now,
            )
        self._is_failing = False
        self._lost_now = 0

    def _drop_oldest(self) -> None:
        excess = len(self._waiting) - self._memory_records
        if excess <= 0:
            return
        if not self._lost_now:
            logger.error(
                "event log %s: memory for %d records is full, the oldest are lost",
                self._file.path,
                self._memory_records,
            )
        for _ in range(excess):
            self._waiting.popleft()
        self._lost_now += excess
        self.lost_records += excess


def _bytes(mib: float) -> int:
    return max(1, int(mib * 2**20))


def erase_lines(path: Path, since: datetime | None) -> int:
    """Delete the lines about what lies after `since`, also in the rotated files.

    A line without a time of day is kept, unless `since` is None: then all go.  A line
    that is appended in the instant of the deletion may go too.

    Returns:
        How many lines are gone.

    Raises:
        OSError: A file cannot be written.
    """
    erased = 0
    for file in _files(path):
        erased += _erase(file, since)
    return erased


def _files(path: Path) -> list[Path]:
    files = [path] if path.exists() else []
    for number in count(1):
        rotated = path.with_name(f"{path.name}.{number}")
        if not rotated.exists():
            return files
        files.append(rotated)
    raise AssertionError


def _erase(file: Path, since: datetime | None) -> int:
    lines = file.read_bytes().splitlines(keepends=True)
    goes = [since is None or _is_after(line, since) for line in lines]
    if not any(goes):
        return 0
    first = goes.index(True)
    kept = [line for line, gone in zip(lines, goes, strict=True) if not gone][first:]
    # The writer appends, so it goes on behind whatever is left.
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND)
    try:
        os.ftruncate(descriptor, sum(map(len, lines[:first])))
        os.write(descriptor, b"".join(kept))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return sum(goes)


def _is_after(line: bytes, since: datetime) -> bool:
    try:
        fields: Any = json.loads(line)
        moment = fields.get("end") or fields.get("start")
        return moment is not None and datetime.fromisoformat(moment) >= since
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return False
