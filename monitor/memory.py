"""Memory of this process: its garbage collector, and one heap for all threads."""

import ctypes
import gc
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_M_ARENA_MAX = -8
"""Parameter of mallopt(3)."""

_YOUNG_OBJECTS = 200_000
"""New objects before the collector looks at them, while nearly all of them stay."""

_usual_threshold = gc.get_threshold()


def collect_rarely() -> None:
    """Have the garbage collector pass over what a start makes: modules and a model.

    Looking through them again and again takes a tenth of the start.
    """
    gc.set_threshold(_YOUNG_OBJECTS)


def collect_as_usual() -> None:
    """Set the collector back as Python has it, and spare it all objects so far.

    To look through them again would cost it a tenth of a second each time, and the end
    of the process half a second.
    """
    gc.freeze()
    gc.set_threshold(*_usual_threshold)


def share_heap() -> None:
    """Have all threads allocate from one heap.  Call before any thread starts.

    The C library of Linux gives each of the first threads a heap of its own, eight for
    a core.  Blocks that one thread allocates and another one frees leave holes in each.
    """
    _glibc("mallopt")(_M_ARENA_MAX, 1)


def trim_heap() -> None:
    """Return memory that was freed to the system.  Takes some milliseconds.

    The C library keeps free memory between blocks that are in use, and up to 64 MiB at
    the end of the heap.
    """
    _glibc("malloc_trim")(0)


def resident_bytes() -> int | None:
    """Memory of this process, pages of shared libraries included.

    None where the system does not report it.
    """
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return None
    return pages * os.sysconf("SC_PAGE_SIZE")


def _glibc(name: str) -> Callable[..., Any]:
    """A function of glibc; elsewhere one that does nothing."""
    function: Callable[..., Any]
    try:
        function = getattr(ctypes.CDLL(None), name)
    except (OSError, AttributeError, TypeError):  # another C library, another system
        return lambda *_: None
    return function
