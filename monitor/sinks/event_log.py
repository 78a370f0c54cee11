"""The event log: onsets, events, gaps and health as JSON Lines in a file."""

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from monitor.records import Statistics, Timed
from monitor.sinks.encoding import encode_line
from monitor.sinks.line_file import LineFile

logger = logging.getLogger(__name__)

MEMORY_RECORDS = 10_000


class EventLog:
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
