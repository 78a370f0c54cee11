"""What every test gets: one numeric thread, and a check that it leaves nothing behind.

The limits stand before the first import of numpy or torch, which read them then.
"""

import contextlib
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

# A shell's background job ignores Ctrl-C, and so would all programs that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
# nohup ignores the end of the terminal, and so would they.
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# How long one example takes says how busy the machine is.
settings.register_profile(
    "unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unhurried")

GRACE_SECONDS = 2.0

# Belong to the interpreter and live as long as it does.
_SERVICE_PROCESSES = (
    b"multiprocessing.resource_tracker",
    b"multiprocessing.forkserver",
)


# These run against the clock of a machine that may be doing other things as well.
_AGAINST_THE_CLOCK = (
    "benchmarks",
    "browser",
    "faults",
    "integration",
    "system",
    "web",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that race the clock a second and a third chance."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in _AGAINST_THE_CLOCK:
            item.add_marker(pytest.mark.flaky(reruns=2))


@pytest.fixture(autouse=True)
def _nothing_is_left_behind() -> Iterator[None]:
    """Fail a test that leaves a thread or a child process running."""
    threads, children = set(threading.enumerate()), _children()
    yield
    until = time.monotonic() + GRACE_SECONDS
    # Not joined: one may just be starting another.
    while set(threading.enumerate()) - threads and time.monotonic() < until:
        time.sleep(0.005)
    left = [thread.name for thread in set(threading.enumerate()) - threads]
    left += [f"process {process}" for process in _children() - children]
    if left:
        pytest.fail(f"still running after the test: {', '.join(sorted(left))}")


@pytest.fixture(autouse=True)
def _no_configuration_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what the developer's shell says out of the tests."""
    for variable in (
        "SOUND_MONITOR_CONFIG",
        "STATE_DIRECTORY",
        "RUNTIME_DIRECTORY",
        "XDG_RUNTIME_DIR",
        "JOURNAL_STREAM",
    ):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def _in_utc() -> None:
    """Begin each test in one time zone, whatever the machine's, or a test before."""
    os.environ["TZ"] = "UTC"
    time.tzset()


_LOGGERS = ("", "monitor", "monitor.audio.capture", "training")


@pytest.fixture(autouse=True)
def _log_as_before() -> Iterator[None]:
    """Undo what a command that ran in this process did to the log."""
    loggers = [logging.getLogger(name or None) for name in _LOGGERS]
    before = [(list(logger.handlers), logger.level) for logger in loggers]
    yield
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.handlers[:] = [each for each in logger.handlers if each in handlers]
        logger.setLevel(level)


def _children() -> set[int]:
    """Child processes of this one, also those that ended and were not waited for."""
    found: set[int] = set()
    for listing in Path("/proc/self/task").glob("*/children"):
        with contextlib.suppress(OSError):  # the thread has just ended
            found.update(int(pid) for pid in listing.read_text().split())
    return {pid for pid in found if not _is_service(pid)}


def _is_service(pid: int) -> bool:
    try:
        command_line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return any(name in command_line for name in _SERVICE_PROCESSES)
