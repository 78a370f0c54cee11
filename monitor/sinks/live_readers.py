"""The readers of the live feed: connections, each with a bounded backlog."""

import contextlib
import json
import queue
import socket
import threading
from collections import deque
from collections.abc import Iterable
from itertools import islice

MOST_READERS = 4
MOST_BYTES = 2**18
"""Most bytes that wait for a reader; the lines for which there is no room are lost."""

MOST_LINES = 100
"""Lines that are sent in one call, so that a reader wakes up once for them."""

STALLED_SECONDS = 10.0
"""A reader that has taken nothing for so long, while lines wait for it, is dropped."""


class Reader:
    """One connection.  Its socket does not block.  Used by one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._sent = 0  # of the first line
        self._lost = 0
        self._stalled_since: float | None = None

    @property
    def is_behind(self) -> bool:
        """True if lines wait for it."""
        return bool(self._lines)

    def give(self, lines: Iterable[bytes]) -> None:
        """Put lines into its backlog, as far as there is room."""
        for line in lines:
            if self._bytes + len(line) > MOST_BYTES:
                self._lost += 1
                continue
            if self._lost:
                remark = {"type": "dropped", "count": self._lost}
                self._append(json.dumps(remark).encode("ascii") + b"\n")
                self._lost = 0
            self._append(line)

    def send(self, now: float) -> bool:
        """Send what it takes; `now` is in monotonic seconds.

        Returns:
            False if it is gone, or has read nothing for too long.
        """
        while self._lines:
            lines = list(islice(self._lines, MOST_LINES))
            lines[0] = lines[0][self._sent :]
            try:
                self._sent += self._connection.sendmsg(lines)
            except BlockingIOError:
                if self._stalled_since is None:
                    self._stalled_since = now
                return now - self._stalled_since < STALLED_SECONDS
            except OSError:
                return False
            self._stalled_since = None
            while self._lines and self._sent >= len(self._lines[0]):
                size = len(self._lines.popleft())
                self._bytes -= size
                self._sent -= size
        return True

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _append(self, line: bytes) -> None:
        self._lines.append(line)
        self._bytes += len(line)


class LiveReaders:
    """The readers of the process; a reload hands them from one feed to the next."""

    def __init__(self) -> None:
        self.wakeup = threading.Event()
        """Set when there is a new reader."""

        self._lock = threading.Lock()
        self._count = 0
        self._new: queue.SimpleQueue[Reader] = queue.SimpleQueue()

    @property
    def count(self) -> int:
        """Number of readers.  Any thread."""
        return self._count

    def add(self, connection: socket.socket) -> bool:
        """Take a connection that does not block, unless there are too many.

        Any thread.
        """
        with self._lock:
            if self._count >= MOST_READERS:
                return False
            self._count += 1
        self._new.put(Reader(connection))
        self.wakeup.set()
        return True

    def take(self) -> list[Reader]:
        """Return the readers that no feed serves yet."""
        found = []
        with contextlib.suppress(queue.Empty):
            while True:
                found.append(self._new.get_nowait())
        return found

    def give_back(self, readers: Iterable[Reader]) -> None:
        """Leave readers to the feed that follows."""
        for reader in readers:
            self._new.put(reader)
        self.wakeup.set()

    def drop(self, reader: Reader) -> None:
        """Close the connection of a reader."""
        reader.close()
        with self._lock:
            self._count -= 1

    def close(self) -> None:
        """Close the connections that no feed serves."""
        for reader in self.take():
            self.drop(reader)
