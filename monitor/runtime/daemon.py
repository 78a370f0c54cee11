"""The daemon: threads, signals and the exit code."""

import contextlib
import gc
import logging
import queue
import signal
from collections.abc import Iterator
from pathlib import Path

from monitor.clock import SystemClock
from monitor.config.config import Config
from monitor.errors import SoundMonitorError
from monitor.runtime.alerting import Alerting
from monitor.runtime.app import Site, Station, build_station, load_engine, open_screen
from monitor.runtime.assembly import Speed
from monitor.runtime.reload import THREAD as RELOAD
from monitor.runtime.reload import Reloader, Reread
from monitor.runtime.supervisor import ServiceManager, Supervisor
from monitor.runtime.threads import Threads
from monitor.sinks.status_snapshot import DaemonFacts

logger = logging.getLogger(__name__)

LOOK = 0
"""Among the signals: no signal, but something to look at."""

POLL_SECONDS = 0.25
STOP_SECONDS = 1.6
"""Time in which everything must have ended after SIGINT or SIGTERM."""

LAST_WORDS_SECONDS = 0.3
"""Time for the alerts of what was ended by SIGINT or SIGTERM; others wait."""

LAST_ALERTS_SECONDS = 10.0
"""Time for the last alerts of recordings that are over."""


def run_daemon(
    config: Config,
    *,
    speed: Speed,
    state_dir: Path,
    facts: DaemonFacts,
    reread: Reread,
) -> int:
    """Listen until SIGINT or SIGTERM, or until every source is a recording that ended.

    Runs on the main thread, whose signal handlers it takes.  SIGHUP reads
    the configuration again, and opens event log and database anew.

    Args:
        config: What to do.
        speed: How fast recordings are fed.
        state_dir: Folder for what the monitor writes.
        facts: What is told of the daemon to who asks; kept up to date.
        reread: Reads the configuration again.

    Returns:
        The exit code: 0, or 1 if a thread failed.

    Raises:
        SoundMonitorError: The model, a source or a file cannot be used.
    """
    clock = SystemClock()
    engine = load_engine(config)
    site = Site(clock, speed, state_dir, facts)
    with open_screen(config, engine.classifier, clock) as screen:
        station = build_station(config, engine, site, screen)
        supervisor = Supervisor(
            ServiceManager(),
            clock,
            station.monitor.turns,
            station.sinks.summary.sentence,
        )
        return _run(station, reread, supervisor)


def _run(station: Station, reread: Reread, supervisor: Supervisor) -> int:
    monitor, telling = station.monitor, station.telling
    threads = Threads()
    # What was loaded stays.  To look through it again would cost the collector a tenth
    # of a second each time, and the end of the process half a second.
    gc.freeze()
    with _signals() as signals:
        monitor.start(threads)
        if telling is not None:
            telling.start()
        supervisor.start()
        reloader = Reloader(
            station, reread, threads, supervisor, done=lambda: signals.put(LOOK)
        )
        is_asked_to_stop = _wait(station, supervisor, reloader, threads, signals)
        supervisor.stop()
        code = _end(threads)
        if telling is not None:
            # The last alerts were made when the worker ended what was sounding.
            seconds = LAST_WORDS_SECONDS if is_asked_to_stop else LAST_ALERTS_SECONDS
            code = max(code, _end_telling(telling, seconds, signals))
    # What went wrong with a recording has been said by its capture.
    return 1 if monitor.failure else code


def _wait(
    station: Station,
    supervisor: Supervisor,
    reloader: Reloader,
    threads: Threads,
    signals: queue.SimpleQueue[int],
) -> bool:
    """Look after everything until it ends; return whether a signal asked for that."""
    telling = station.telling
    while not threads.stop.is_set():
        supervisor.look()
        reloader.look()
        station.site.facts.watchdog = supervisor.watchdog
        if telling is not None and telling.failure:
            threads.stop.set()
        with contextlib.suppress(queue.Empty):
            number = signals.get(timeout=POLL_SECONDS)
            if number == signal.SIGHUP:
                reloader.ask()
            elif number != LOOK:
                threads.stop.set()
                return True
    return False


def _end_telling(
    telling: Alerting, seconds: float, signals: queue.SimpleQueue[int]
) -> int:
    late = telling.finish(seconds, lambda: not signals.empty())
    if late:
        logger.error("%s did not stop", ", ".join(late))
    if telling.failure is not None:
        logger.critical("the monitor ends: a thread failed", exc_info=telling.failure)
    return 1 if late or telling.failure else 0


@contextlib.contextmanager
def _signals() -> Iterator[queue.SimpleQueue[int]]:
    """Queue SIGINT, SIGTERM and SIGHUP as they come."""
    # Unlike Event.set, SimpleQueue.put may interrupt itself: a handler runs between
    # any two instructions of the main thread.
    received: queue.SimpleQueue[int] = queue.SimpleQueue()
    before = {
        number: signal.signal(number, lambda number, _frame: received.put(number))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(threads: Threads) -> int:
    # One that loads a model has touched nothing, and ends with the process.
    late = [name for name in threads.join(STOP_SECONDS) if name != RELOAD]
    if late:
        logger.error("%s did not stop in %.1f s", ", ".join(late), STOP_SECONDS)
    failure = threads.failure
    if isinstance(failure, SoundMonitorError):
        raise failure
    if failure is not None:
        logger.critical("the monitor ends: a thread failed", exc_info=failure)
    return 1 if late or failure else 0
