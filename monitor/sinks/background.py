"""A thread of a sink's own, for what may have to wait for the world."""

import threading
from collections.abc import Callable


class Background:
    """Runs one function on a daemon thread, for one sink.

    The worker never waits for it, except for a moment at the end.  What is raised there
    comes up in the worker: a sink whose thread has died would be silent for ever.
    """

    def __init__(self, name: str, run: Callable[[threading.Event], None]) -> None:
        """Prepare `run(stop)`; it starts with the first `keep_running`.

        Args:
            name: Of the thread.
            run: Returns soon after `stop` is set, if it can.
        """
        self._run = run
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._guarded, name=name, daemon=True)

    def keep_running(self) -> None:
        """Start it if it does not run yet; raise what has ended it."""
        if self._failure is not None:
            raise self._failure
        if self._thread.ident is None:
            self._thread.start()

    def finish(self, seconds: float) -> bool:
        """Ask it to end; return whether it did within `seconds`.

        One that hangs where nothing can wake it, such as in the resolver, does not keep
        the process from ending.
        """
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _guarded(self) -> None:
        try:
            self._run(self._stop)
        except Exception as error:  # noqa: BLE001 - comes up in the worker
            self._failure = error
