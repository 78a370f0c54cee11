"""The reload: another configuration while the monitor runs."""

import gc
import logging
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from monitor.config.config import Config
from monitor.errors import ConfigError, SoundMonitorError
from monitor.runtime.exchange import exchange
from monitor.runtime.reload_plan import prepare
from monitor.runtime.station import Station
from monitor.runtime.supervision import Supervisor
from monitor.runtime.threads import Running, Threads
from monitor.sinks.status.daemon import Reload

logger = logging.getLogger(__name__)

THREAD = "reload"


class Again(NamedTuple):
    """The configuration as it is now."""

    config: Config
    state_dir: Path
    """Folder for what the monitor writes."""

    placed: Callable[[str], str] = str
    """Puts file and line before sentences about settings."""


Reread = Callable[[], Again]
"""Reads the configuration again."""


class Reloader:
    """Reloads when it is asked to, on a thread of its own.

    Everything new is built and checked there, while the monitor goes on; only then are
    parts exchanged.  A configuration that cannot be is refused whole.  Who asks during
    a reload is served by one more after it.  Used by the main thread.
    """

    def __init__(
        self,
        station: Station,
        reread: Reread,
        threads: Threads,
        supervisor: Supervisor,
        done: Callable[[], None],
    ) -> None:
        """Prepare for the first one.

        Args:
            station: What runs; its parts are exchanged.
            reread: Reads the configuration again.
            threads: Of the process.
            supervisor: Tells the service manager.
            done: Called on the thread of the reload at its end; then `look`.
        """
        self._station = station
        self._reread = reread
        self._threads = threads
        self._supervisor = supervisor
        self._done = done
        self._is_asked = False
        self._running: Running | None = None

    def ask(self) -> None:
        """Reload now, or after the reload that is going on."""
        self._is_asked = True
        self.look()

    def look(self) -> None:
        """Tell that a reload is over, and begin the next.  Call several times a second.

        Never waits.
        """
        if self._running is not None and not self._running.is_alive:
            self._running = None
            self._supervisor.reloaded(self._remark)
        if self._is_asked and self._running is None:
            self._is_asked = False
            self._supervisor.reloading()
            self._running = self._threads.start(THREAD, self._run)

    @property
    def _remark(self) -> str:
        latest = self._station.site.facts.reload
        is_refused = latest is not None and not latest.is_taken
        return "the new configuration was refused, see the log" if is_refused else ""

    def _run(self, stop: threading.Event) -> None:
        placed: Callable[[str], str] = str
        try:
            config, state_dir, placed = self._reread()
            plan = prepare(self._station, config, state_dir)
        except ConfigError as error:
            self._refuse(placed(str(error)))
        except SoundMonitorError as error:
            self._refuse(str(error))
        else:
            if stop.is_set():
                plan.close(self._station)
            elif exchange(self._station, plan, self._threads):
                self._take(plan.sentence or "nothing changed")
                _settle()
        self._done()

    def _refuse(self, sentence: str) -> None:
        # Whoever rotates logs sends the same signal.
        worker = self._station.monitor.worker
        worker.ask(worker.reopen_sinks)
        self._say(sentence, is_taken=False)
        logger.error(
            "the configuration was not reloaded, and the one before goes on: %s",
            sentence,
        )

    def _take(self, sentence: str) -> None:
        self._say(sentence, is_taken=True)
        logger.info("configuration reloaded: %s", sentence)

    def _say(self, detail: str, *, is_taken: bool) -> None:
        facts = self._station.site.facts
        facts.reload = Reload(datetime.now(UTC), is_taken, detail)


def _settle() -> None:
    """Free what was exchanged, and spare the collector what has come, as at the start.

    What was frozen then would not be freed for as long as the process lives.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
