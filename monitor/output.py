"""Standard output and error of the daemon, which no reader can block.

Whoever writes to a full pipe, to a terminal stopped by Ctrl-S or to a frozen connection
waits for as long as nobody reads.  So the daemon hands its output to a thread, and what
finds no room is dropped and counted.
"""

import atexit
import contextlib
import errno
import functools
import io
import logging
import os
import select
import stat
import sys
import threading
from collections import deque
from typing import Any

logger = logging.getLogger(__name__)

MOST_BYTES = 2**20
"""Text that waits for a slow reader: some ten thousand lines."""

END_SECONDS = 0.5
"""Time for the last lines at the end of the process."""

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


class HandOver(io.RawIOBase):
    """Takes lines from any thread; its own thread writes them to a descriptor.

    `write` never waits and never fails.  A line is one call of it.
    """

    def __init__(
        self, descriptor: int, name: str, *, is_log: bool, most_bytes: int = MOST_BYTES
    ) -> None:
        """Start the thread.

        Args:
            descriptor: Stays open; shared with others, so its flags do not change.
            name: See the attribute.
            is_log: See the attribute.
            most_bytes: Limit of the text that waits.
        """
        self.is_log = is_log
        """The log goes here too, and says how many lines were dropped."""

        self.dropped = 0
        """Number of lines that were not written."""

        self.failure: OSError | None = None
        """Why nothing can be written any more."""

        self._descriptor = descriptor
        self.name = name
        """Name of the output in sentences."""

        self._most_bytes = most_bytes
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._reported = 0
        self._is_failing = False
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def write(self, data: Any) -> int:
        """Have one line written, unless too much waits already.  Any thread."""
        line = bytes(data)
        with self._changed:
            has_room = self._bytes + len(line) <= self._most_bytes
            if self.failure is None and not self.closed and has_room:
                self._waiting.append(line)
                self._bytes += len(line)
                self._changed.notify_all()
            else:
                self.dropped += 1
        return len(line)

    @property
    def is_behind(self) -> bool:
        """True while lines wait for the reader."""
        return bool(self._waiting)

    def drain(self, seconds: float = END_SECONDS) -> bool:
        """Wait until all is written, at most `seconds`; return whether it is."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting, seconds)

    def close(self) -> None:
        """Take no more lines; the thread ends when those that wait are written."""
        with self._changed:
            super().close()
            self._changed.notify_all()

    def writable(self) -> bool:
        """Return True: it is an output."""
        return True

    def fileno(self) -> int:
        """Return the descriptor, whose terminal has a size."""
        return self._descriptor

    def isatty(self) -> bool:
        """Return True if the descriptor is a terminal."""
        return os.isatty(self._descriptor)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self.closed)
                if not self._waiting:
                    return
                line = self._waiting[0]
            failure = self._write_out(line)
            with self._changed:
                self._waiting.popleft()
                self._bytes -= len(line)
                if failure is not None:
                    self.dropped += 1
                if failure is not None and failure.errno not in _NO_SPACE:
                    self.failure = failure
                    self.dropped += len(self._waiting)
                    self._waiting.clear()
                is_behind = self.is_behind
                self._changed.notify_all()
            self._report(failure, is_behind=is_behind)

    def _write_out(self, line: bytes) -> OSError | None:
        view = memoryview(line)
        while view:
            try:
                view = view[os.write(self._descriptor, view) :]
            except BlockingIOError:
                # Another program has made the shared terminal non-blocking.
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError as error:
                return error
        return None

    def _report(self, failure: OSError | None, *, is_behind: bool) -> None:
        if self.failure is not None:
            logger.warning(
                "%s is closed (%s); no lines are printed there any more",
                self.name,
                self.failure.strerror,
            )
        elif failure is not None:
            if not self._is_failing:
                logger.warning("%s cannot be written: %s", self.name, failure.strerror)
            self._is_failing = True
        elif not is_behind:
            self._is_failing = False
            count, self._reported = self.dropped - self._reported, self.dropped
            if count:
                self._say_dropped(count)

    def _say_dropped(self, count: int) -> None:
        sentence = f"{count} lines of {self.name} were dropped: nobody took them"
        logger.warning("%s", sentence)
        if not self.is_log:
            self.write(f"{sentence}\n".encode())


class Output:
    """Standard output and error of this process, from now on handed over.

    To one thread if both are the same file, so that the order of the lines remains.
    """

    def __init__(self) -> None:
        sys.stdout.flush()
        is_one = os.path.samestat(os.fstat(1), os.fstat(2))
        out, err = os.dup(1), os.dup(2)
        self.err = HandOver(err, "the output" if is_one else "stderr", is_log=True)
        self.out = self.err if is_one else HandOver(out, "stdout", is_log=False)
        for descriptor in (1, 2):
            _let_nothing_wait(descriptor)
        # Without a reference, they would close their descriptors.
        self._replaced = sys.stdout, sys.stderr
        sys.stdout = _text(self.out, sys.stdout.encoding)
        sys.stderr = _text(self.err, sys.stderr.encoding)
        atexit.register(self._drain)

    @property
    def dropped_lines(self) -> int:
        """Number of lines that were not written."""
        return sum(each.dropped for each in {self.out, self.err})

    def _drain(self) -> None:
        for each in (self.err, self.out):
            each.drain()


@functools.cache
def output_of_process() -> Output:
    """Hand over the output of this process, once."""
    return Output()


def _let_nothing_wait(descriptor: int) -> None:
    """Make the writes of native libraries fail where they would wait for a reader.

    The flags belong to all programs on a terminal or a pipe, so it is opened anew.
    """
    if not (os.isatty(descriptor) or stat.S_ISFIFO(os.fstat(descriptor).st_mode)):
        return
    flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY
    # That of another user cannot be opened.
    with contextlib.suppress(OSError):
        opened = os.open(f"/proc/self/fd/{descriptor}", flags)
        os.dup2(opened, descriptor)
        os.close(opened)


def _text(handed: HandOver, encoding: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        # Each text is handed over as it is written.
        handed,
        encoding,
        errors="backslashreplace",
        write_through=True,
    )
