"""The threads of the process: named, started and joined in one place."""

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)


class Threads:
    """Threads that live and end together.

    An exception in one of them stops all: a monitor with a dead thread would be deaf,
    and nobody would know.
    """

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.failure: Exception | None = None
        """The first exception that ended a thread."""

        self._threads: list[threading.Thread] = []

    def start(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Start `run(stop)` on a thread of its own; it returns soon after `stop`."""

        def guarded() -> None:
            try:
                run(self.stop)
            except Exception as error:  # noqa: BLE001 - told, and it ends the process
                self.failure = self.failure or error
                self.stop.set()

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self, deadline_seconds: float) -> list[str]:
        """Wait for all threads together; return the names of those still running."""
        until = time.monotonic() + deadline_seconds
        for thread in self._threads:
            left = max(0.0, until - time.monotonic())
            thread.join(min(left, threading.TIMEOUT_MAX))
        return [thread.name for thread in self._threads if thread.is_alive()]
