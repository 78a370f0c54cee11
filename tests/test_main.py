"""A signal at any moment of the start ends the process as documented, without noise."""

import contextlib
import os
import signal
import subprocess
import sys

import pytest

# The signal comes while `typer`, the first of the slow libraries, is imported.
DURING_IMPORT = """
import os, sys

class Finder:
    def find_spec(name, path=None, target=None):
        if name == "typer":
            os.kill(os.getpid(), int(sys.argv.pop()))

sys.meta_path.insert(0, Finder)
from monitor.__main__ import main
main()
"""


def run(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("arguments", "number", "code"),
    [
        (["--version"], signal.SIGINT, 130),
        (["run", "--help"], signal.SIGINT, 130),
        (["--version"], signal.SIGTERM, -signal.SIGTERM),
        (["run", "--help"], signal.SIGTERM, -signal.SIGTERM),
        (["--version"], signal.SIGHUP, -signal.SIGHUP),
        # A reload before the daemon can reload.
        (["run", "--help"], signal.SIGHUP, 0),
    ],
)
def test_a_signal_during_the_imports(
    arguments: list[str], number: signal.Signals, code: int
) -> None:
    result = run(DURING_IMPORT, *arguments, str(int(number)))
    assert (result.returncode, result.stderr) == (code, "")


THRESHOLDS = """
import gc
gc.set_threshold(2000, 11, 3)
import monitor.commands.app as app
import monitor.memory
from monitor.__main__ import main

def thresholds():
    print(gc.get_threshold()[0])
    monitor.memory.collect_as_usual()
    print(*gc.get_threshold())

app.main = thresholds
main()
"""


@pytest.mark.parametrize(("command", "during"), [("run", 200_000), ("train", 2000)])
def test_the_garbage_collector_is_set_for_the_start_of_the_daemon_alone(
    command: str, during: int
) -> None:
    assert run(THRESHOLDS, command).stdout == f"{during}\n2000 11 3\n"


AT_THE_END = """
import atexit, os, signal, sys, threading
import monitor.commands.app as app

def signals():
    os.kill(os.getpid(), signal.SIGINT)
    threading.Event().wait(60)

atexit.register(signals)
app.run_command_line = lambda _: 3
app.main()
"""


def test_a_signal_at_the_end_does_not_change_the_exit_code() -> None:
    result = run(AT_THE_END)
    assert (result.returncode, result.stderr) == (3, "")


INTERRUPTED_AFTERWARDS = """
import monitor.commands.app as app

def interrupted(_):
    raise KeyboardInterrupt

app.run_command_line = interrupted
app.main()
"""


def test_a_second_interruption_while_the_first_is_handled_is_no_traceback() -> None:
    result = run(INTERRUPTED_AFTERWARDS)
    assert (result.returncode, result.stderr) == (130, "")


WITH_A_THREAD = """
import threading
import monitor.commands.app as app

def fail(_):
    threading.Thread(target=threading.Event().wait, args=(60,)).start()
    raise ZeroDivisionError("a bug")

app.run_command_line = fail
app.main()
"""


def test_a_bug_is_shown_and_no_thread_is_waited_for() -> None:
    result = run(WITH_A_THREAD)
    assert result.returncode == 1
    assert result.stderr.endswith("ZeroDivisionError: a bug\n")


EXIT = """
import sys
import monitor.commands.app as app

app.run_command_line = lambda _: sys.exit(7)
app.main()
"""


def test_an_exit_inside_a_command_has_its_code() -> None:
    assert run(EXIT).returncode == 7


def test_an_error_of_the_daemon_waits_for_no_reader() -> None:
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with contextlib.suppress(BlockingIOError):
        while True:
            os.write(writer, b"full")
    os.set_blocking(writer, True)
    result = subprocess.run(
        [sys.executable, "-m", "monitor", "run", "--nothing"],
        stderr=writer,
        timeout=60,
        check=False,
    )
    os.close(reader)
    os.close(writer)
    assert result.returncode == 2
