"""The processes that a process has started, and theirs."""

import contextlib
from pathlib import Path


def children(pid: int) -> list[int]:
    """Processes that `pid` has started and that have not ended."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has just ended
            found += [int(child) for child in listing.read_text().split()]
    return found


def descendants(pid: int) -> list[int]:
    """The same, and theirs, and so on; the nearest first."""
    nearest = children(pid)
    return nearest + [each for child in nearest for each in descendants(child)]
