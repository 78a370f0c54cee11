"""A program ends with everything that it started, also when the monitor was killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from monitor import subreaper
from tests.support.source_programs import program_arguments, wait_for_end

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")

FAMILY = """
def name(): put(f"{os.getpid()}\\n".encode())
name()
if not os.fork():
    name(); sleep_for_ever()              # a child
if not os.fork():
    os.setsid(); name(); sleep_for_ever()       # one in a session of its own
if not os.fork():
    os.setsid()
    if os.fork(): os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    name(); sleep_for_ever()              # a daemon, whose parent is gone
sleep_for_ever()
"""


@contextmanager
def started(code: str, *, keep: bool = False) -> Iterator["subprocess.Popen[str]"]:
    argv = subreaper.command_line(program_arguments(code), keep=keep)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        argv, stdout=pipe, stderr=pipe, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def family(process: "subprocess.Popen[str]") -> list[int]:
    assert process.stdout is not None
    pids = [int(process.stdout.readline()) for _ in range(4)]
    for pid in pids:
        os.kill(pid, 0)  # it exists
    return pids


def test_sigterm_ends_all_that_a_program_started() -> None:
    with started(FAMILY) as process:
        pids = family(process)
        process.terminate()
        assert process.wait() == -signal.SIGTERM
    for pid in pids:
        wait_for_end(pid)


def test_all_end_when_the_monitor_was_killed() -> None:
    code = (
        "import subprocess, sys, time\n"
        "from monitor import subreaper\n"
        f"argv = subreaper.command_line({program_arguments(FAMILY)!r})\n"
        "subprocess.Popen(argv, start_new_session=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
    ) as monitor:
        pids = family(monitor)
        monitor.kill()
    for pid in pids:
        wait_for_end(pid)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("sys.exit(0)", 0),
        ("sys.exit(3)", 3),
        ("os.kill(os.getpid(), signal.SIGSEGV)", -signal.SIGSEGV),
        ("os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL),
        ("os.kill(os.getpid(), signal.SIGRTMIN + 3)", -signal.SIGRTMIN - 3),
        ("os.kill(0, signal.SIGTERM); sleep_for_ever()", -signal.SIGTERM),
    ],
)
def test_it_exits_as_the_program_did(code: str, status: int) -> None:
    with started(code) as process:
        assert process.wait() == status


def test_it_waits_for_what_is_left_and_then_exits_as_the_program_did() -> None:
    code = (
        "parent = os.getpid()\n"
        "if os.fork(): sys.exit(5)\n"
        "while os.getppid() == parent: time.sleep(0.01)\n"
        "put(b'orphan\\n'); sleep_for_ever()"
    )
    with started(code) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.terminate()
        assert process.wait() == 5


def test_what_is_left_may_go_on_if_it_is_to_be_kept() -> None:
    code = (
        "if not os.fork(): os.setsid(); sleep_for_ever()\n"
        "put(open('/proc/self/task/%d/children' % os.getpid(), 'rb').read() + b'\\n')"
    )
    with started(code, keep=True) as process:
        assert process.stdout is not None
        left = int(process.stdout.readline())
        assert process.wait() == 0
    os.kill(left, signal.SIGKILL)
    wait_for_end(left)


def test_a_program_that_is_not_there_is_a_sentence() -> None:
    argv = subreaper.command_line(["/no/such/program"])
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert result.returncode == subreaper.CANNOT_START
    assert "'/no/such/program' cannot be started: " in result.stderr


def test_signals_that_python_ignores_are_not_ignored_by_the_program() -> None:
    """A program of a pipeline has to end by SIGPIPE."""
    argv = ["/bin/cat", "/proc/self/status"]
    result = subprocess.run(
        subreaper.command_line(argv), capture_output=True, text=True, check=True
    )
    status = dict(line.split(":", 1) for line in result.stdout.splitlines())
    assert int(status["SigBlk"], 16) == int(status["SigIgn"], 16) == 0
