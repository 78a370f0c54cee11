"""How a command sets up its own process: numeric threads, the log, last words."""

import contextlib
import faulthandler
import logging
import os
import sys

from monitor.sinks.wording import printable

# The numeric libraries read these when they are loaded, and take every core if they
# are missing: at a batch of one that can cost a hundred times.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads(threads: int) -> None:
    """Give the numeric libraries `threads` threads.  Call before they are imported."""
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Write log lines to stderr: with their level for the journal, else with time."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JournalFormatter() if _is_journal() else _PlainFormatter())
    handler.addFilter(_Harmless())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for package in ("monitor", "training"):
        logging.getLogger(package).setLevel(level)


def leave_traces() -> None:
    """Say on stderr where every thread was, if the process dies of a signal.

    Such as SIGSEGV, or the SIGABRT with which systemd ends a monitor that hangs.
    """
    # There may be no stderr, and the monitor runs without one.
    with contextlib.suppress(RuntimeError, OSError, ValueError):
        faulthandler.enable()


def _is_journal() -> bool:
    """Whether stderr goes to the journal, as systemd.exec(5) says how to find out.

    That $JOURNAL_STREAM is set is not enough: terminals hand it on.
    """
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    stream = f"{stderr.st_dev}:{stderr.st_ino}"
    return os.environ.get("JOURNAL_STREAM") == stream


class _Harmless(logging.Filter):
    """Lets nothing through that moves a cursor, or that pretends to be another line.

    What devices, programs and servers say of themselves goes into the log.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        lines = record.getMessage().splitlines()
        record.msg, record.args = "\n  ".join(map(printable, lines)), None
        return True


class _PlainFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")


class _JournalFormatter(logging.Formatter):
    """Begins a line with `<N>`, the priority, as sd-daemon(3) describes."""

    def format(self, record: logging.LogRecord) -> str:
        priority = 3 if record.levelno >= logging.ERROR else 6
        if record.levelno == logging.WARNING:
            priority = 4
        # Each line of the text would otherwise be a message of its own, unmarked.
        return f"<{priority}>" + super().format(record).replace("\n", f"\n<{priority}>")
