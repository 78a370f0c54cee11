"""Named threads that are started and joined in one place."""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.05


class Threads:
    """Threads that live and end together.

    An exception in one of them stops all: a monitor with a dead thread would miss
    sounds without a sign.  One of them may be ended alone.
    """

    def __init__(self) -> None:
        self.stop: threading.Event = _StopOfAll()
        """Set by any thread to end all of them."""

        self.failure: Exception | None = None
        """The first exception that ended a thread."""

        self._running: list[RunningThread] = []

    def start(
        self, name: str, run: Callable[[threading.Event], None]
    ) -> "RunningThread":
        """Start `run(stop)` on a thread of its own; it returns soon after `stop`."""
        assert isinstance(self.stop, _StopOfAll)
        stop = self.stop.of_one()

        def guarded() -> None:
            try:
                run(stop)
            except Exception as error:  # noqa: BLE001 - reported, and it ends the process
                self.failure = self.failure or error
                self.stop.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        running = RunningThread(thread, stop)
        self._running = [each for each in self._running if each.is_alive]
        self._running.append(running)
        thread.start()
        return running

    def join(
        self,
        deadline_seconds: float,
        hurry: Callable[[], bool] = lambda: False,
        hurry_seconds: float = 0.0,
        without: str = "",
    ) -> list[str]:
        """Wait for all threads together, but one; see `join`."""
        waited = [each for each in self._running if each.name != without]
        return join(waited, deadline_seconds, hurry, hurry_seconds)


class RunningThread:
    """A thread, and the event that ends it alone."""

    def __init__(self, thread: threading.Thread, stop: threading.Event) -> None:
        self.name = thread.name
        self.stop = stop
        """Set to end this thread alone."""

        self._thread = thread

    @property
    def is_alive(self) -> bool:
        """True unless it has ended."""
        return self._thread.ident is None or self._thread.is_alive()

    def join(self, seconds: float) -> bool:
        """Wait for its end; return True if it has ended."""
        self._thread.join(min(max(0.0, seconds), threading.TIMEOUT_MAX))
        return not self._thread.is_alive()


def join(
    threads: Iterable[RunningThread],
    deadline_seconds: float,
    hurry: Callable[[], bool] = lambda: False,
    hurry_seconds: float = 0.0,
) -> list[str]:
    """Wait for threads together; return the names of those still running.

    Once `hurry` returns True, `hurry_seconds` of the time are left at most.
    """
    running = list(threads)
    now = time.monotonic()
    until, hurried_until = now + deadline_seconds, math.inf
    for thread in running:
        while now < min(until, hurried_until):
            if thread.join(min(POLL_SECONDS, until - now)):
                break
            now = time.monotonic()
            if hurried_until == math.inf and hurry():
                hurried_until = now + hurry_seconds
    return [thread.name for thread in running if not thread.join(0)]


class _StopOfAll(threading.Event):
    """An event that sets others with it."""

    def __init__(self) -> None:
        super().__init__()
        self._of_ones: list[threading.Event] = []

    def of_one(self) -> threading.Event:
        """An event that is set with this one, and may be set alone before."""
        stop = threading.Event()
        self._of_ones = [each for each in self._of_ones if not each.is_set()]
        self._of_ones.append(stop)
        if self.is_set():
            stop.set()
        return stop

    def set(self) -> None:
        """Set this one and the others."""
        super().set()
        for each in self._of_ones:
            each.set()
