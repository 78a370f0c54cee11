"""What the process takes from its machine."""

import os
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

EVERY_SECONDS = 10.0
RECENT_SECONDS = 60.0

_MEMORY = Path("/proc/self/statm")
_FILES = Path("/proc/self/fd"), Path("/dev/fd")


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """Of the daemon alone, without the programs that it has started."""

    rss_bytes: int | None
    """Memory in use; None, as below: this system does not tell."""

    open_files: int | None
    threads: int
    cpu_share: float | None
    """Of one core, in the latest minute."""


class Process:
    """Looks at this process.  Any thread."""

    def __init__(self, now: float) -> None:
        """Begin to count at `now`, monotonic seconds."""
        self._spent: deque[tuple[float, float]] = deque([(now, time.process_time())])

    def mark(self, now: float) -> None:
        """Remember what has been spent up to now.  Call often."""
        spent = self._spent
        if now - spent[-1][0] >= EVERY_SECONDS:
            spent.append((now, time.process_time()))
        while len(spent) > 1 and spent[1][0] <= now - RECENT_SECONDS:
            spent.popleft()

    def facts(self, now: float) -> ProcessFacts:
        """How it is at this moment."""
        since, spent = self._spent[0]
        passed = now - since
        used = time.process_time() - spent
        return ProcessFacts(
            _rss_bytes(),
            _open_files(),
            threading.active_count(),
            used / passed if passed > 0 else None,
        )


def _rss_bytes() -> int | None:
    try:
        pages = int(_MEMORY.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _open_files() -> int | None:
    for folder in _FILES:
        try:
            # One of them is that of the listing itself.
            return sum(1 for _ in folder.iterdir()) - 1
        except OSError:
            continue
    return None
