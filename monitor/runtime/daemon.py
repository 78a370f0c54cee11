"""The daemon: threads, signals and the exit code."""

import logging
import signal
import sys
import threading
import uuid
from pathlib import Path
from types import FrameType

from monitor.config import Config
from monitor.errors import SoundMonitorError
from monitor.model.classifier import Classifier
from monitor.model.model_file import load_model
from monitor.runtime.assembly import Speed, build_monitor
from monitor.runtime.clock import SystemClock
from monitor.runtime.threads import Threads
from monitor.sinks.console import ConsoleSink
from monitor.sinks.event_log import EventLog
from monitor.sinks.plain import PlainSink
from monitor.sinks.sink import Sink

logger = logging.getLogger(__name__)

STOP_SECONDS = 1.8
"""Time in which everything must have ended after SIGINT or SIGTERM."""


def run_daemon(config: Config, *, speed: Speed, state_dir: Path) -> int:
    """Listen until SIGINT or SIGTERM, or until every source is a recording that ended.

    Runs on the main thread, whose signal handlers it takes.  SIGHUP opens the event log
    anew.

    Returns:
        The exit code: 0, or 1 if a thread failed.

    Raises:
        SoundMonitorError: The model, a source or a file cannot be used.
    """
    model = load_model(None if config.model.file is None else Path(config.model.file))
    classifier = Classifier(model, config.model.compute_device, config.model.threads)
    screen = _screen(config, classifier)
    sinks: list[Sink] = [screen]
    if config.event_log.path is not None:
        sinks.append(EventLog(state_dir / config.event_log.path, config.event_log))
    stop = threading.Event()
    monitor = build_monitor(
        config,
        classifier,
        sinks,
        speed=speed,
        session=uuid.uuid4().hex,
        clock=SystemClock(),
    )
    _take_signals(stop, monitor.worker.reopen_sinks)
    threads = Threads(stop)
    monitor.start(threads)
    stop.wait()
    return _end(threads)
