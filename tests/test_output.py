"""Nobody who prints waits for a reader; what is not taken is dropped and counted."""

import errno
import fcntl
import io
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from monitor.output import HandOver

LIMIT = 4096
DEADLINE_SECONDS = 20.0
LINE = b"%05d" + b"." * 58 + b"\n"


class Pipe:
    """A pipe of one page whose reader begins when it is told to."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        fcntl.fcntl(self.writer, fcntl.F_SETPIPE_SZ, 4096)
        self.output = HandOver(self.writer, "stdout", is_log=False, most_bytes=LIMIT)

    def read(self, last: str) -> list[str]:
        """Read lines up to one that contains `last`."""
        data = b""
        while last.encode() not in data or not data.endswith(b"\n"):
            data += os.read(self.reader, 65_536)
        return data.decode().splitlines()

    def finish(self) -> None:
        """End the thread."""
        self.output.close()
        for thread in threading.enumerate():
            if thread.name == "stdout":
                thread.join(DEADLINE_SECONDS)

    def close(self) -> None:
        """Close both ends, and so let the thread end."""
        with suppress(OSError):
            os.close(self.reader)
        self.finish()
        os.close(self.writer)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_a_line_is_written_once_it_is_drained(pipe: Pipe) -> None:
    pipe.output.write(b"a line\n")
    assert pipe.output.drain(DEADLINE_SECONDS)
    assert not pipe.output.is_behind
    assert pipe.read("a line") == ["a line"]
    assert pipe.output.dropped == 0


def test_a_reader_that_does_not_read_stops_nobody(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    """It gets the lines in order, and learns how many are missing."""
    for number in range(1000):
        pipe.output.write(LINE % number)
    dropped = pipe.output.dropped
    # The pipe and the queue hold a page each.
    assert 1000 - 128 <= dropped <= 1000 - 64
    assert pipe.output.is_behind
    assert not pipe.output.drain(0)
    lines = pipe.read("dropped")
    sentence = f"{dropped} lines of stdout were dropped: nobody took them"
    assert [int(line[:5]) for line in lines[:-1]] == list(range(1000 - dropped))
    assert lines[-1] == sentence
    assert caplog.messages == [sentence]
    pipe.output.write(b"and on\n")
    assert pipe.read("and on") == ["and on"]


def test_where_the_log_goes_it_alone_says_how_many_lines_are_missing(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    pipe.output.is_log = True
    for number in range(200):
        pipe.output.write(LINE % number)
    last = f"{199 - pipe.output.dropped:05}"
    lines = pipe.read(last)
    pipe.finish()
    assert lines[-1].startswith(last)
    assert len(caplog.messages) == 1


def test_a_reader_that_is_gone_is_said_once(
    pipe: Pipe, caplog: pytest.LogCaptureFixture
) -> None:
    os.close(pipe.reader)
    pipe.reader = -1
    for _ in range(3):
        pipe.output.write(b"a line\n")
    pipe.finish()
    assert pipe.output.failure is not None
    assert pipe.output.failure.errno == errno.EPIPE
    assert pipe.output.dropped == 3
    assert caplog.messages == [
        "stdout is closed (Broken pipe); no lines are printed there any more"
    ]


def test_a_full_disk_is_said_once_and_printing_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Path("/dev/full").open("wb") as full:
        output = HandOver(full.fileno(), "stdout", is_log=True)
        for _ in range(3):
            output.write(b"a line\n")
            assert output.drain(DEADLINE_SECONDS)
        assert output.failure is None
        assert output.dropped == 3
        output.close()
    assert caplog.messages == ["stdout cannot be written: No space left on device"]


def test_a_terminal_that_others_made_non_blocking_gets_every_line(pipe: Pipe) -> None:
    os.set_blocking(pipe.writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(pipe.writer, b"full\n")
    for number in range(50):
        pipe.output.write(LINE % number)
    lines = [line for line in pipe.read("00049") if line[-1] == "."]
    assert len(lines) == 50


REPLACE = """
import logging, os, sys
from monitor.output import Output
output = Output()
logging.getLogger().addHandler(logging.StreamHandler())
print("one")
logging.warning("two")
print("drei \\u00e4 \\u2603")
logging.warning("four")
print(output.dropped_lines)
"""


def test_printed_and_logged_lines_keep_their_order() -> None:
    """The last ones are written before the process ends."""
    printed = subprocess.run(
        [sys.executable, "-c", REPLACE],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PYTHONIOENCODING": "latin-1"},
        check=True,
    ).stdout
    assert printed == b"one\ntwo\ndrei \xe4 \\u2603\nfour\n0\n"


NATIVE = """
import os
from monitor.output import Output
output = Output()
for descriptor in (1, 2):
    try:
        os.write(descriptor, bytes(1_000_000))  # as a library does
        os.write(descriptor, bytes(1_000_000))
    except BlockingIOError:
        pass
"""


def test_a_library_that_writes_to_a_full_pipe_does_not_wait() -> None:
    reader, writer = os.pipe()
    for streams in ({"stdout": writer}, {"stderr": writer}):
        subprocess.run(
            [sys.executable, "-c", NATIVE],
            **{"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, **streams},
            timeout=DEADLINE_SECONDS,
            check=True,
        )
    assert os.get_blocking(writer)
    os.close(reader)
    os.close(writer)


def test_each_text_is_one_line_for_the_hand_over() -> None:
    lines: list[bytes] = []

    class Kept(HandOver):
        def write(self, data: bytes) -> int:
            lines.append(bytes(data))
            return len(data)

    with Path(os.devnull).open("wb") as null:
        handed = Kept(null.fileno(), "stdout", is_log=False)
        text = io.TextIOWrapper(handed, "utf-8", write_through=True)
        text.write("a line\n")
        text.write("x" * 100_000)
        text.close()
    assert list(map(len, lines)) == [7, 100_000]
