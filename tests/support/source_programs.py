"""Commands for `command:` sources: small Python programs, and the end of a process."""

import os
import select
import shlex
import sys

DEADLINE_SECONDS = 10.0

# Raw PCM of a file, again and again, at the speed of sound.
LOOP = """
import sys, time
data = open(sys.argv[1], "rb").read()
began, sent = time.monotonic(), 0
while True:
    for start in range(0, len(data), 8820):
        sys.stdout.buffer.write(data[start : start + 8820])
        sys.stdout.buffer.flush()
        sent += len(data[start : start + 8820]) / 88200
        time.sleep(max(0, began + sent - time.monotonic()))
"""

_PRELUDE = """
import os, signal, struct, sys, time
def put(data):
    view = memoryview(data)
    while view:
        view = view[os.write(1, view):]
def numbers(start, count):
    put(struct.pack(f"<{count}h", *range(start, start + count)))
def sleep_for_ever():
    while True:
        time.sleep(60)
"""


def program(code: str) -> str:
    """Return a command line that runs `code`, which may call the functions above."""
    return shlex.join(program_arguments(code))


def program_arguments(code: str) -> list[str]:
    """Return the same as a list of arguments."""
    # Isolated and without site: it starts in a fraction of the time.
    return [sys.executable, "-I", "-S", "-c", _PRELUDE + code]


def wait_for_end(pid: int) -> None:
    """Wait until a process has ended; it need not be a child of this one."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        ended = select.poll()
        ended.register(descriptor, select.POLLIN)
        assert ended.poll(DEADLINE_SECONDS * 1e3), f"process {pid} is still there"
    finally:
        os.close(descriptor)
