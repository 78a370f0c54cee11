"""Set-up of a command's process: numeric threads, logging, stack traces."""

import contextlib
import faulthandler
import logging
import os
import sys

from monitor.text import printable

# The numeric libraries read these when they are imported.  By default they use every
# core, which at a batch of one can cost a hundred times as much.
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads(threads: int) -> None:
    """Limit the numeric libraries to `threads` threads.  Call before importing them."""
    for variable in _THREAD_VARIABLES:
        os.environ[variable] = str(threads)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Log to stderr, with priorities for the journal, otherwise with the time."""
    handler = logging.StreamHandler()
    handler.setFormatter(_JournalFormatter() if _is_journal() else _PLAIN)
    handler.addFilter(_Printable())
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for package in ("monitor", "training"):
        logging.getLogger(package).setLevel(level)


def enable_stack_traces() -> None:
    """Print the stack of every thread if a signal kills the process.

    For example SIGSEGV, or the SIGABRT that systemd sends to a monitor that hangs.
    """
    # Without a stderr, the monitor runs without stack traces.
    with contextlib.suppress(RuntimeError, OSError, ValueError):
        faulthandler.enable()


def _is_journal() -> bool:
    """Return True if stderr is connected to the journal; see systemd.exec(5).

    $JOURNAL_STREAM alone is no proof: terminals inherit it.
    """
    try:
        stderr = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    stream = f"{stderr.st_dev}:{stderr.st_ino}"
    return os.environ.get("JOURNAL_STREAM") == stream


_PLAIN = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S")


class _Printable(logging.Filter):
    """Removes control characters: messages quote devices, programs and servers."""

    def filter(self, record: logging.LogRecord) -> bool:
        lines = record.getMessage().splitlines()
        record.msg, record.args = "\n  ".join(map(printable, lines)), None
        return True


class _JournalFormatter(logging.Formatter):
    """Begins a line with `<N>`, the priority; see sd-daemon(3)."""

    def format(self, record: logging.LogRecord) -> str:
        priority = 3 if record.levelno >= logging.ERROR else 6
        if record.levelno == logging.WARNING:
            priority = 4
        # Without a priority, each further line would be a message of its own.
        return f"<{priority}>" + super().format(record).replace("\n", f"\n<{priority}>")
