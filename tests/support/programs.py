"""Commands for `command:` sources: small Python programs that behave as told."""

import shlex
import sys

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
    """A command line that runs `code`; it may call what stands above."""
    return shlex.join(program_arguments(code))


def program_arguments(code: str) -> list[str]:
    """The same as a list of arguments."""
    # Isolated and without site: it starts in a fraction of the time.
    return [sys.executable, "-I", "-S", "-c", _PRELUDE + code]
