"""The daemon: threads, signals and the exit code."""

import contextlib
import logging
import queue
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from monitor.audio.sources.source import Speed
from monitor.clock import SystemClock
from monitor.config.config import Config
from monitor.controlling_terminal import ControllingTerminal
from monitor.errors import SoundMonitorError, shortage
from monitor.memory import collect_as_usual, trim_heap
from monitor.output import Output
from monitor.runtime.alerting import STOP_SECONDS as ALERTING_STOP_SECONDS
from monitor.runtime.app import App, Environment, load, plan_app
from monitor.runtime.commands import CommandContext, MonitorCommands
from monitor.runtime.reload import THREAD as RELOAD
from monitor.runtime.reload import Reloader, Reread, report_overrides
from monitor.runtime.screen import Screen
from monitor.runtime.supervisor import ServiceManager, Summary, Supervisor
from monitor.runtime.threads import Threads
from monitor.sinks.status_snapshot import DaemonFacts

logger = logging.getLogger(__name__)

RELOAD_ENDED = 0
"""Put into the queue of signals when a reload has ended."""

POLL_SECONDS = 0.25
TRIM_SECONDS = 30.0
"""Interval at which memory that was freed is returned to the system.

The start, a trial of the canary and a reload need more for a moment.
"""

STOP_SECONDS = 7.0
"""Time for the threads to end: most of TimeoutStopSec of the unit.

Usually they need a fraction of a second; ten sources on a busy machine need more.
"""

HURRY_SECONDS = 2.0
"""What is left of that time at a second SIGINT or SIGTERM."""

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
    output: Output,
    terminal: ControllingTerminal,
    loaded: Callable[[], None],
    watchdog_seconds: float | None = None,
) -> int:
    """Listen until SIGINT or SIGTERM, or until every source is a recording that ended.

    Runs on the main thread, whose signal handlers it takes for the rest of the process.
    On a terminal, the web page stays after recordings, until SIGINT or SIGTERM.
    SIGHUP reads the configuration again, and reopens the event log and the database.
    Once `terminal` is closed, it ends as by SIGINT: a microphone must not stay open
    where nobody sees it.
    `loaded` is called once, before anything is shown.
    If a thread does not move for `watchdog_seconds`, the process ends with 1.

    Returns:
        The exit code: 0, or 1 if a thread failed.

    Raises:
        SoundMonitorError: The model, a source or a file is unusable.
    """
    clock = SystemClock()
    commands = MonitorCommands()
    environment = Environment(
        clock,
        speed,
        state_dir,
        facts,
        Summary(clock),
        commands=commands,
        output=output,
        screen=Screen(facts),
    )
    try:
        plan = plan_app(config, environment, load(config, environment.state_dir))
        loaded()
        app = App(plan, environment)
        signals = Signals(terminal)
        manager = ServiceManager(exit_seconds=watchdog_seconds)
        code = _run(app, reread, commands, signals, manager)
    finally:
        environment.screen.close()
    if code == 0:
        environment.screen.say_end()
        if facts.page is not None and sys.stdout.isatty():
            _keep_page(facts, signals)
    return code


def _keep_page(facts: DaemonFacts, signals: "Signals") -> None:
    """After recordings, leave the page to its viewers until the user stops it."""
    told = ""
    while not (signals.stop_requests or signals.terminal.is_closed):
        if facts.page and facts.page != told:
            told = facts.page
            sys.stdout.write(f"\nThe page stays at {told} until Ctrl-C.\n")
        with contextlib.suppress(queue.Empty):
            signals.received.get(timeout=POLL_SECONDS)


def _run(
    app: App,
    reread: Reread,
    commands: MonitorCommands,
    signals: "Signals",
    manager: ServiceManager,
) -> int:
    environment = app.environment
    supervisor = Supervisor(
        manager, environment.clock, app.turns, environment.summary.sentence
    )
    collect_as_usual()
    report_overrides(environment)
    app.start()
    supervisor.start()
    reloader = Reloader(
        app, reread, supervisor, done=lambda: signals.received.put(RELOAD_ENDED)
    )
    ask_reload = partial(signals.received.put, signal.SIGHUP)
    commands.attach(CommandContext(app, ask_reload, reread))
    is_asked_to_stop = _wait(app, supervisor, reloader, signals)
    supervisor.stop()
    # The next request is the second, or the first after recordings that are over.
    requests = signals.stop_requests if is_asked_to_stop else 0

    def hurry() -> bool:
        return signals.stop_requests > requests

    code = _end(app.threads, hurry)
    # The last alerts were made when the worker ended the open events.
    seconds = ENDED_EVENTS_SECONDS if is_asked_to_stop else LAST_ALERTS_SECONDS
    code = max(code, _end_alerting(app, seconds, hurry))
    # What is wrong has been logged, by the capture of a recording or by the sinks.
    return 1 if app.failure or app.sinks.pending_records else code


def _wait(
    app: App,
    supervisor: Supervisor,
    reloader: Reloader,
    signals: "Signals",
) -> bool:
    """Supervise until the end; return True if the user asked for it."""
    stop, monotonic = app.threads.stop, app.environment.clock.monotonic
    trim_at = monotonic()
    while not stop.is_set():
        if monotonic() >= trim_at:
            trim_heap()
            trim_at = monotonic() + TRIM_SECONDS
        supervisor.look()
        reloader.look()
        facts, output = app.environment.facts, app.environment.output
        facts.watchdog = supervisor.watchdog
        facts.dropped_lines = 0 if output is None else output.dropped_lines
        if app.senders.failure:
            stop.set()
        number = RELOAD_ENDED
        with contextlib.suppress(queue.Empty):
            number = signals.received.get(timeout=POLL_SECONDS)
        is_closed = signals.terminal.is_closed
        if is_closed:
            logger.warning("the terminal of the monitor was closed: it stops")
        if is_closed or number in (signal.SIGINT, signal.SIGTERM):
            stop.set()
            return True
        if number == signal.SIGHUP:
            reloader.ask()
    return False


def _end_alerting(app: App, seconds: float, hurry: Callable[[], bool]) -> int:
    alerting, senders = app.plan.alerting, app.senders
    if alerting is None:
        senders.stop.set()
        late = senders.join(ALERTING_STOP_SECONDS)
    else:
        late = alerting.finish(senders, seconds, hurry)
    if late:
        logger.error("%s did not stop", ", ".join(late))
    if senders.failure is not None:
        if shortage(senders.failure):
            raise senders.failure
        logger.critical("the monitor ends: a thread failed", exc_info=senders.failure)
    return 1 if late or senders.failure else 0


class Signals:
    """SIGINT, SIGTERM and SIGHUP as they come, and the terminal that can go."""

    def __init__(self, terminal: ControllingTerminal) -> None:
        """Take the handlers; a SIGHUP that came during the start is delivered now."""
        # Unlike Event.set, SimpleQueue.put may interrupt itself: a handler runs between
        # any two instructions of the main thread.
        self.received: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.terminal = terminal
        self.stop_requests = 0
        """Number of SIGINT and SIGTERM."""

        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self._take(number))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})

    def _take(self, number: int) -> None:
        self.stop_requests += number != signal.SIGHUP
        self.received.put(number)


def _end(threads: Threads, hurry: Callable[[], bool]) -> int:
    # A reload that loads a model has touched nothing, and ends with the process.
    late = threads.join(STOP_SECONDS, hurry, HURRY_SECONDS, without=RELOAD)
    if late:
        logger.error("%s did not stop in time", ", ".join(late))
    failure = threads.failure
    if isinstance(failure, SoundMonitorError) or (failure and shortage(failure)):
        raise failure
    if failure is not None:
        logger.critical("the monitor ends: a thread failed", exc_info=failure)
    return 1 if late or failure else 0
