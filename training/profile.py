"""Profile of a training: the seconds of each part of the work.

Code names its part, `with timed("forward"): ...`, which costs next to nothing while
no profile is made.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TypeVar

T = TypeVar("T")
OTHER = "everything else"


class Profile:
    """Seconds by part; those of a nested part count for that part only."""

    def __init__(
        self,
        settle: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        """Seconds of this process."""
        self.worker_seconds: dict[str, float] = defaultdict(float)
        """Seconds of all worker processes together."""
        self._settle = settle
        self._clock = clock
        self._open = [OTHER]
        self._since = clock()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time within as `name`."""
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def take(self) -> dict[str, float]:
        """Return the seconds counted since the last call."""
        self._count()
        taken = {name: s for name, s in self.seconds.items() if name != OTHER}
        self.seconds.clear()
        return taken

    def _count(self) -> None:
        if self._settle is not None:
            self._settle()
        now = self._clock()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def facts(self) -> dict[str, dict[str, float]]:
        """Seconds by part, longest first, of this process and of its workers."""
        self._count()
        return {
            "process": _most_first(self.seconds),
            "workers": _most_first(self.worker_seconds),
        }


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


def is_profiling() -> bool:
    """True while a profile is made."""
    return _profile is not None


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


def begin_in_worker() -> None:
    """Begin a profile.  Called once in a worker process."""
    global _profile  # noqa: PLW0603 - see `profiling`
    _profile = Profile()


def seconds_of_worker() -> Mapping[str, float] | None:
    """Seconds of this worker since the last call; None in the main process."""
    from torch.utils.data import get_worker_info

    if _profile is None or get_worker_info() is None:
        return None
    return _profile.take()


def count_worker(seconds: Mapping[str, float] | None) -> None:
    """Add the seconds of a worker."""
    if _profile is not None and seconds is not None:
        for name, value in seconds.items():
            _profile.worker_seconds[name] += value
