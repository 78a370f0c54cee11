"""A file of whole lines: appended, rotated by size, mended after a crash."""

import errno
import logging
import os
import stat
from collections import deque
from itertools import islice
from pathlib import Path

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
