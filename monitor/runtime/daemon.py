"""The daemon: threads, signals and the exit code."""

import contextlib
import gc
import logging
import queue
import signal
from collections.abc import Iterator
from pathlib import Path

from monitor.audio.sources.source import Speed
from monitor.clock import SystemClock
from monitor.config.config import Config
from monitor.errors import SoundMonitorError
from monitor.runtime.alerting import STOP_SECONDS as ALERTING_STOP_SECONDS
from monitor.runtime.app import App, Environment, load, plan_app
from monitor.runtime.reload import THREAD as RELOAD
from monitor.runtime.reload import Reloader, Reread
from monitor.runtime.supervisor import ServiceManager, Summary, Supervisor
from monitor.runtime.threads import Threads
from monitor.sinks.status_snapshot import DaemonFacts

logger = logging.getLogger(__name__)

RELOAD_ENDED = 0
"""Put into the queue of signals when a reload has ended."""

POLL_SECONDS = 0.25
STOP_SECONDS = 1.6
"""Time in which everything must have ended after SIGINT or SIGTERM."""

ENDED_EVENTS_SECONDS = 0.3
"""Time for the alerts of events that SIGINT or SIGTERM ended."""

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
    the configuration again, and reopens the event log and the database.

    Returns:
        The exit code: 0, or 1 if a thread failed.

    Raises:
        SoundMonitorError: The model, a source or a file is unusable.
    """
    clock = SystemClock()
    environment = Environment(clock, speed, state_dir, facts, Summary(clock))
    handlers = logging.getLogger().handlers
    try:
        app = App(plan_app(config, environment, load(config)), environment)
        return _run(app, reread)
    finally:
        # The live console has taken the log lines.
        logging.getLogger().handlers = handlers


def _run(app: App, reread: Reread) -> int:
    environment = app.environment
    supervisor = Supervisor(
        ServiceManager(), environment.clock, app.turns, environment.summary.sentence
    )
    # Loaded objects stay.  To look through them again would cost the collector a tenth
    # of a second each time, and the end of the process half a second.
    gc.freeze()
    with _signals() as signals:
        app.start()
        supervisor.start()
        reloader = Reloader(
            app, reread, supervisor, done=lambda: signals.put(RELOAD_ENDED)
        )
        is_asked_to_stop = _wait(app, supervisor, reloader, signals)
        supervisor.stop()
        code = _end(app.threads)
        # The last alerts were made when the worker ended the open events.
        seconds = ENDED_EVENTS_SECONDS if is_asked_to_stop else LAST_ALERTS_SECONDS
        code = max(code, _end_alerting(app, seconds, signals))
    # The capture has logged what is wrong with a recording.
    return 1 if app.failure else code


def _wait(
    app: App,
    supervisor: Supervisor,
    reloader: Reloader,
    signals: queue.SimpleQueue[int],
) -> bool:
    """Supervise until the end; return True if a signal asked for it."""
    stop = app.threads.stop
    while not stop.is_set():
        supervisor.look()
        reloader.look()
        app.environment.facts.watchdog = supervisor.watchdog
        if app.senders.failure:
            stop.set()
        with contextlib.suppress(queue.Empty):
            number = signals.get(timeout=POLL_SECONDS)
            if number == signal.SIGHUP:
                reloader.ask()
            elif number != RELOAD_ENDED:
                stop.set()
                return True
    return False


def _end_alerting(app: App, seconds: float, signals: queue.SimpleQueue[int]) -> int:
    alerting, senders = app.plan.alerting, app.senders
    if alerting is None:
        senders.stop.set()
        late = senders.join(ALERTING_STOP_SECONDS)
    else:
        late = alerting.finish(senders, seconds, lambda: not signals.empty())
    if late:
        logger.error("%s did not stop", ", ".join(late))
    if senders.failure is not None:
        logger.critical("the monitor ends: a thread failed", exc_info=senders.failure)
    return 1 if late or senders.failure else 0


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
    # One that came during the start is delivered now.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end(threads: Threads) -> int:
    # A reload that loads a model has touched nothing, and ends with the process.
    late = [name for name in threads.join(STOP_SECONDS) if name != RELOAD]
    if late:
        logger.error("%s did not stop in %.1f s", ", ".join(late), STOP_SECONDS)
    failure = threads.failure
    if isinstance(failure, SoundMonitorError):
        raise failure
    if failure is not None:
        logger.critical("the monitor ends: a thread failed", exc_info=failure)
    return 1 if late or failure else 0
