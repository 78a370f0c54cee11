"""Profile of a training: the seconds of each part of the work.

Code names its part, `with timed("forward"): ...`, which costs next to nothing while
no profile is made.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

T = TypeVar("T")
OTHER = "everything else"


class Profile:
    """Seconds by part; those of a nested part count for that part only.

    The thread that makes the profile, and all others together, are told apart.
    """

    def __init__(
        self,
        settle: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._settle = settle
        self._clock = clock
        self._owner = threading.get_ident()
        self._threads: dict[int, _Parts] = {}
        self._count()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time within as `name`.  May be called on any thread."""
        parts = self._count()
        parts.open.append(name)
        try:
            yield
        finally:
            self._count()
            parts.open.pop()

    def _count(self) -> "_Parts":
        """Count the seconds of this thread since the last call."""
        thread = threading.get_ident()
        if self._settle is not None and thread == self._owner:
            self._settle()
        now = self._clock()
        parts = self._threads.setdefault(thread, _Parts(now))
        parts.seconds[parts.open[-1]] += now - parts.since
        parts.since = now
        return parts

    def facts(self) -> dict[str, dict[str, float]]:
        """Seconds by part, longest first: of this thread, and of all others."""
        self._count()
        others: dict[str, float] = defaultdict(float)
        for thread, parts in self._threads.items():
            for name, seconds in parts.seconds.items():
                if thread != self._owner and name != OTHER:
                    others[name] += seconds
        return {
            "process": _most_first(self._threads[self._owner].seconds),
            "workers": _most_first(others),
        }


class _Parts:
    """The parts of one thread."""

    def __init__(self, now: float) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.open = [OTHER]
        self.since = now


def _most_first(seconds: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(seconds.items(), key=lambda part: -part[1]))


_profile: Profile | None = None
_NOTHING = nullcontext()


@contextmanager
def profiling(
    settle: Callable[[], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Profile]:
    """Profile the code within."""
    global _profile  # noqa: PLW0603 - a clock that every part would have to be handed
    _profile = Profile(settle, clock)
    try:
        yield _profile
    finally:
        _profile = None


def timed(name: str) -> AbstractContextManager[None]:
    """Count the time within as `name`, if a profile is made."""
    return _NOTHING if _profile is None else _profile.part(name)


def waiting(name: str, items: Iterator[T]) -> Iterator[T]:
    """Yield the items; count the making of each as `name`."""
    while True:
        with timed(name):
            try:
                item = next(items)
            except StopIteration:
                return
        yield item
