"""The event log: onsets, events, gaps and health as JSON Lines in a file.

`LineFile` appends whole lines to a file that rotates by size, `EventLog` is the sink,
and `erase_lines` deletes lines of a log, also while it is written.
"""

import contextlib
import errno
import json
import logging
import os
import stat
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import count, islice, takewhile
from pathlib import Path
from typing import Any

from monitor.private_files import FOLDER_MODE, make_private, open_private
from monitor.records import Timed
from monitor.sinks.encoding import encode_line
from monitor.sinks.sink import Sink
from monitor.statistics import Statistics

logger = logging.getLogger(__name__)

MEMORY_RECORDS = 10_000
RESUMED = timedelta(seconds=10)
"""A new session begins with windows that started so much earlier, at most."""


class LineFile:
    """Appends lines to a file that others may read, move away or delete.

    It has one writer.  Rotated files are PATH.1, the youngest, to PATH.`keep`; with
    `keep` 0 the file itself is emptied.  Files beyond `keep` are not touched.
    Not thread-safe.
    """

    def __init__(self, path: Path, limit_bytes: int, keep: int) -> None:
        self.path = path
        self._limit_bytes = limit_bytes
        self._keep = keep
        self._descriptor: int | None = None
        self._is_rotation_failing = False

    def open(self) -> None:
        """Open the file at the path; create it and its folder where they are missing.

        A last line without its end, left by a crash, is ended.

        Raises:
            OSError: The file cannot be opened or read, or is a link or of another user;
                trying again later may help.
        """
        self.close()
        self.path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT
        self._descriptor = open_private(self.path, flags)
        for rotated in takewhile(Path.is_file, _rotated(self.path)):
            with contextlib.suppress(OSError):  # a link is replaced by the rotation
                make_private(rotated)
        try:
            self._end_last_line(self._descriptor)
        except OSError:
            self.close()
            raise

    def close(self) -> None:
        """Close the file if it is open."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def append(self, lines: deque[bytes]) -> None:
        """Append `lines`, each with its newline; remove those written from the left.

        The file stays within its limit, unless a single line is longer.  Lines that fit
        are one write.

        Raises:
            OSError: The disk is full or the file cannot be written.  It still consists
                of whole lines, and `lines` are those that are not in it.
        """
        descriptor = self._follow()
        while lines:
            size = os.fstat(descriptor).st_size
            if size and size + len(lines[0]) > self._limit_bytes:
                self._rotate(descriptor)
                descriptor = self._follow()
                size = os.fstat(descriptor).st_size
            self._write(descriptor, size, lines)

    def _follow(self) -> int:
        """Descriptor of the file at the path, which may have been moved or deleted."""
        try:
            is_there = self._descriptor is not None and os.path.samestat(
                os.fstat(self._descriptor), self.path.stat()
            )
        except FileNotFoundError:
            is_there = False
        if not is_there:
            self.open()
        assert self._descriptor is not None
        return self._descriptor

    def _write(self, descriptor: int, size: int, lines: deque[bytes]) -> None:
        """Append the lines that fit behind `size`, at least one."""
        batch = bytearray(lines[0])
        for line in islice(lines, 1, None):
            if size + len(batch) + len(line) > self._limit_bytes:
                break
            batch += line
        written = 0
        try:
            while written < len(batch):
                written += os.write(descriptor, batch[written:])
        except OSError:
            written = batch.rfind(b"\n", 0, written) + 1
            self._cut(descriptor, size + written)
            raise
        finally:
            for _ in range(batch.count(b"\n", 0, written)):
                lines.popleft()

    def _cut(self, descriptor: int, size: int) -> None:
        """Remove the part of a line that did not fit."""
        try:
            if os.fstat(descriptor).st_size > size:
                os.ftruncate(descriptor, size)
        except OSError:
            self.close()  # opening it again ends the line

    def _end_last_line(self, descriptor: int) -> None:
        if stat.S_ISFIFO(os.fstat(descriptor).st_mode) or os.isatty(descriptor):
            # Half a line cannot be removed, and a reader that does not read would
            # stop the monitor.
            raise OSError(errno.ESPIPE, "it is a pipe or a terminal")
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            os.write(descriptor, b"\n")
            logger.warning(
                "%s: the last line was incomplete and has been ended", self.path
            )

    def _rotate(self, descriptor: int) -> None:
        try:
            if self._keep == 0:
                os.ftruncate(descriptor, 0)
            else:
                self._shift()
        except OSError as error:
            # A file that is too long is better than lost records.
            if not self._is_rotation_failing:
                logger.error("%s cannot be rotated: %s", self.path, error.strerror)
            self._is_rotation_failing = True
        else:
            self._is_rotation_failing = False

    def _shift(self) -> None:
        """Move each file up one number, as far as the first number that is free.

        From the oldest to the newest: wherever this is interrupted, no file but the
        oldest has been replaced, and the next rotation goes on.
        """
        names = [self.path, *islice(_rotated(self.path), self._keep)]
        free = next((n for n in range(1, self._keep) if not names[n].exists()), None)
        for number in range(free or self._keep, 0, -1):
            names[number - 1].replace(names[number])


class EventLog(Sink):
    """Appends a line of schema 1 for every onset, event, gap and health record.

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
        is_forgotten: Callable[[Timed], bool] = lambda _: False,
    ) -> None:
        """Open the log; where that fails, log it and try again with every call.

        `rotate_mib` and `keep` are those of `EventLogSettings`; `memory_records` are
        kept in memory while the file cannot be written; what `is_forgotten` is not
        written.
        """
        self._is_forgotten = is_forgotten
        self._file = LineFile(path, max(1, int(rotate_mib * 2**20)), keep)
        self._memory_records = memory_records
        self._waiting: deque[bytes] = deque()
        self._is_failing = False
        self.lost_records = 0
        """Records that memory had no room for since the file could last be written."""

        self._flush()

    @property
    def queues(self) -> dict[str, int]:
        """Records in memory, because the file cannot be written."""
        return {"event-log": len(self._waiting)}

    def write(self, batch: Sequence[Timed]) -> None:
        """Append the records of `batch`; a full disk raises nothing."""
        for timed in batch:
            line = None if self._is_forgotten(timed) else encode_line(timed)
            if line is not None:
                self._waiting.append(line)
        if self._waiting:
            self._flush()

    def report(self, _: Statistics) -> None:
        """Write records that wait in memory, if the file can be written again."""
        if self._is_failing:
            self._flush()

    def forget(self, since: datetime | None, until: datetime) -> None:
        """Drop waiting records that began before `until` and end after `since`."""
        erased = _are_erased(self._waiting, since, None, {})
        self._waiting = deque(
            line
            for line, is_erased in zip(self._waiting, erased, strict=True)
            if not is_erased or _begins_after(line, until)
        )

    def reopen(self) -> None:
        """Open the file at the path again, after logrotate has moved it."""
        self._file.close()
        self._flush()

    def close(self) -> None:
        """Write records that wait in memory, or log their loss; close the file."""
        self._flush()
        if self._waiting:
            logger.error(
                "event log %s: %d records could not be written and are lost",
                self._file.path,
                len(self._waiting),
            )
        self._file.close()

    def _flush(self) -> None:
        held = len(self._waiting)
        try:
            self._file.append(self._waiting)
        except OSError as error:
            if not self._is_failing:
                logger.warning(
                    "event log %s cannot be written: %s; the newest %d records are "
                    "kept in memory",
                    self._file.path,
                    error.strerror,
                    self._memory_records,
                )
            self._is_failing = True
            self._drop_oldest()
            return
        if self._is_failing:
            logger.warning(
                "event log %s is written again: %d records came from memory, %d are "
                "lost",
                self._file.path,
                held,
                self.lost_records,
            )
        self._is_failing, self.lost_records = False, 0

    def _drop_oldest(self) -> None:
        while len(self._waiting) > self._memory_records:
            if not self.lost_records:
                logger.error(
                    "event log %s: memory for %d records is full, the oldest are lost",
                    self._file.path,
                    self._memory_records,
                )
            self._waiting.popleft()
            self.lost_records += 1


def erase_lines(
    path: Path, since: datetime | None, session_start: datetime | None = None
) -> int:
    """Delete the lines of sounds after `since`, also in the rotated files.

    The onset of an event, and the beginning of a problem, go with their end.  One
    without an end goes on, and is deleted, if it is not older than `session_start`, the
    start of the newest run; None: unknown.  A line without a time of day is kept,
    unless `since` is None, which deletes all lines.  A line that is appended during the
    deletion may be deleted too.

    Returns:
        The number of lines deleted.

    Raises:
        OSError: A file cannot be written.
    """
    files = [path, *takewhile(Path.exists, _rotated(path))]
    ends: dict[str, bool] = {}
    return sum(
        _erase(file, since, session_start, ends) for file in files if file.exists()
    )


def _rotated(path: Path) -> Iterator[Path]:
    return (path.with_name(f"{path.name}.{number}") for number in count(1))


def _erase(
    file: Path,
    since: datetime | None,
    session_start: datetime | None,
    ends: dict[str, bool],
) -> int:
    lines = file.read_bytes().splitlines(keepends=True)
    is_erased = _are_erased(lines, since, session_start, ends)
    if not any(is_erased):
        return 0
    first = is_erased.index(True)
    kept = [line for line, erased in zip(lines, is_erased, strict=True) if not erased]
    # The writer appends, so it continues behind whatever is left.
    descriptor = open_private(file, os.O_WRONLY | os.O_APPEND)
    try:
        os.ftruncate(descriptor, sum(map(len, lines[:first])))
        os.write(descriptor, b"".join(kept[first:]))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return sum(is_erased)


def _are_erased(
    lines: Sequence[bytes],
    since: datetime | None,
    session_start: datetime | None,
    ends: dict[str, bool],
) -> list[bool]:
    """Decide about each line, the newest first; newer ones have filled `ends`."""
    found = (_is_erased(line, since, session_start, ends) for line in reversed(lines))
    return list(found)[::-1]


def _is_erased(
    line: bytes,
    since: datetime | None,
    session_start: datetime | None,
    ends: dict[str, bool],
) -> bool:
    if since is None:
        return True
    try:
        fields: Any = json.loads(line)
        end, key = fields.get("end"), fields.get("id")
        moment = end or fields.get("start")
        if moment is None:
            return False
        at = datetime.fromisoformat(moment)
        is_after = at >= since
        if end is None:
            goes_on = session_start is None or at >= session_start - RESUMED
            return bool(ends.pop(key, is_after or goes_on))
        if fields.get("type") != "gap":  # which has no line of its beginning
            ends[key] = is_after
        return is_after
    except (ValueError, AttributeError, TypeError, OverflowError, RecursionError):
        return False


def _begins_after(line: bytes, until: datetime) -> bool:
    start = json.loads(line).get("start")
    return start is not None and datetime.fromisoformat(start) >= until
