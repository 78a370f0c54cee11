"""Threads that the interpreter switches as often as it can."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frequent_switches(seconds: float = 1e-6) -> Iterator[None]:
    """Have threads interrupt each other at any instruction."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
