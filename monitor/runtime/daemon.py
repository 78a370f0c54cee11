"""The daemon: threads, signals and the exit code."""

import contextlib
import logging
import queue
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from monitor.config import Config
from monitor.errors import SoundMonitorError
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from monitor.runtime.assembly import Monitor, Speed, build_monitor, rules_of
from monitor.runtime.clock import Clock, SystemClock
from monitor.runtime.threads import Threads
from monitor.sinks.console import LiveConsole, can_show
from monitor.sinks.event_log import EventLog
from monitor.sinks.plain import Plain
from monitor.sinks.sink import Sink
from monitor.sinks.store.session import Session
from monitor.sinks.store.store import Store

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.25
STOP_SECONDS = 1.6
"""Time in which everything must have ended after SIGINT or SIGTERM."""


def run_daemon(config: Config, *, speed: Speed, state_dir: Path) -> int:
    """Listen until SIGINT or SIGTERM, or until every source is a recording that ended.

    Runs on the main thread, whose signal handlers it takes.  SIGHUP opens event log
    and database anew.

    Returns:
        The exit code: 0, or 1 if a thread failed.

    Raises:
        SoundMonitorError: The model, a source or a file cannot be used.
    """
    model = load_model(config.model.file)
    classifier = Classifier(model, config.model.compute_device, config.model.threads)
    clock = SystemClock()
    session = uuid.uuid4().hex
    with _screen(config, classifier, clock) as screen:
        # First the store: what any other sink tells is on the disk by then.
        sinks: list[Sink] = [
            *_stores(config, classifier, clock, session, state_dir),
            screen,
        ]
        log = config.event_log
        if log.path is not None:
            path = state_dir / log.path
            sinks.append(EventLog(path, rotate_mib=log.rotate_mib, keep=log.keep))
        monitor = build_monitor(
            config,
            classifier,
            sinks,
            speed=speed,
            session=session,
            clock=clock,
        )
        return _run(monitor)


def _stores(
    config: Config, classifier: Classifier, clock: Clock, session: str, state_dir: Path
) -> list[Store]:
    """The database, if there shall be one."""
    if config.store.path is None:
        return []
    run = Session(
        session, classifier.name, classifier.labels, classifier.spec.sample_rate
    )
    return [Store(state_dir / config.store.path, config.store, run, clock)]


@contextlib.contextmanager
def _screen(
    config: Config, classifier: Classifier, clock: Clock
) -> Iterator[Plain | LiveConsole]:
    """A live console on a terminal, which takes the log lines too; else plain lines."""
    console = Console()
    if not can_show(console):
        yield Plain(sys.stdout)
        return
    live = LiveConsole(
        console,
        sources=[source.name for source in config.sources],
        labels=classifier.labels,
        sample_rate=classifier.spec.sample_rate,
        now=clock.monotonic,
        onset_thresholds={
            label: rule.onset_threshold
            for label, rule in rules_of(config, classifier).items()
        },
        title=classifier.name,
    )
    root = logging.getLogger()
    handlers = root.handlers
    root.handlers = [live.log_handler]
    try:
        yield live
    finally:
        live.close()
        root.handlers = handlers


def _run(monitor: Monitor) -> int:
    stop = threading.Event()
    threads = Threads(stop)
    with _signals() as signals:
        monitor.start(threads)
        while not stop.is_set():
            with contextlib.suppress(queue.Empty):
                if signals.get(timeout=POLL_SECONDS) == signal.SIGHUP:
                    monitor.worker.reopen_sinks()
                else:
                    stop.set()
        code = _end(threads)
    # What went wrong with a recording has been said by its capture.
    return 1 if monitor.failure else code


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
    late = threads.join(STOP_SECONDS)
    if late:
        logger.error("%s did not stop in %.1f s", ", ".join(late), STOP_SECONDS)
    failure = threads.failure
    if isinstance(failure, SoundMonitorError):
        raise failure
    if failure is not None:
        logger.critical("the monitor ends: a thread failed", exc_info=failure)
    return 1 if late or failure else 0
