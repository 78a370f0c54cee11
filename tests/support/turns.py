"""Threads that take turns as often as the interpreter lets them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def frequent_turns(seconds: float = 1e-6) -> Iterator[None]:
    """Have threads interrupt each other where they seldom would."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
