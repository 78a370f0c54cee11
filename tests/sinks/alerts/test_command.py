"""The command hook runs a program, and is not held up by it."""

import json
import logging
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

from monitor.config.hooks import CommandSettings
from monitor.errors import ConfigError
from monitor.sinks.alerts.hooks import Delivered, Outcome, Retry
from monitor.sinks.alerts.hooks.command import Command
from tests.support.alerts import alert
from tests.support.clock import wait_until


def command(*argv: str, total_seconds: float = 10.0) -> Command:
    settings = CommandSettings(argv=argv, total_seconds=total_seconds)
    return Command(settings, "alerts[0].command", os.environ)


def python(script: str, *argv: str, total_seconds: float = 10.0) -> Command:
    return command(sys.executable, "-c", script, *argv, total_seconds=total_seconds)


def is_gone(pid: int) -> bool:
    """True if it has ended; whoever adopted it may still have to collect it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def test_the_alert_is_on_stdin_and_in_the_environment(tmp_path: Path) -> None:
    script = (
        "import json, os, sys;"
        "own = {k: v for k, v in os.environ.items() if k[:14] == 'SOUND_MONITOR_'};"
        "json.dump([json.load(sys.stdin), own, sys.argv[2:]], open(sys.argv[1], 'w'))"
    )
    out = tmp_path / "out"
    hook = python(script, str(out), "$HOME; exit 1", "*")
    assert hook.deliver(alert(text="ü\0")) == Delivered("exit code 0")
    body, variables, arguments = json.loads(out.read_text())
    assert body == alert(text="ü\0").body
    assert variables["SOUND_MONITOR_LABEL"] == "siren"
    assert variables["SOUND_MONITOR_PEAK_SCORE"] == "0.93"
    assert variables["SOUND_MONITOR_ID"] == alert().id
    assert variables["SOUND_MONITOR_END"] == ""
    assert arguments == ["$HOME; exit 1", "*"]  # there is no shell


LONG = "x" * 1_000_000
"""More than fits into a pipe."""


def test_a_body_of_any_length_arrives(tmp_path: Path) -> None:
    script = (
        "import json, sys, time; time.sleep(0.2);"
        "raise SystemExit(json.load(sys.stdin)['long'] != 1_000_000 * 'x')"
    )
    assert python(script).deliver(alert(long=LONG)) == Delivered("exit code 0")


def test_a_program_that_does_not_read_a_long_body_holds_nothing_up() -> None:
    hook = command("sleep", "30", total_seconds=0.3)
    assert hook.deliver(alert(long=LONG)) == Retry("killed after 0.3 s")
    assert command("true").deliver(alert(long=LONG)) == Delivered("exit code 0")


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("raise SystemExit(3)", "exit code 3"),
        (
            "print('a'); raise SystemExit('no route\\x1b\\n\\n')",
            "exit code 1: no route?",
        ),
        ("print('x' * 9999); exit('last')", "exit code 1: last"),
        ("exit('x' * 500)", f"exit code 1: {'x' * 200}"),
        ("import os; os.kill(os.getpid(), 37)", "ended by signal 37"),
        ("import os; os.kill(os.getpid(), 9)", "ended by SIGKILL"),
    ],
)
def test_a_failure_is_tried_again(script: str, reason: str) -> None:
    assert python(script).deliver(alert()) == Retry(reason)


def test_a_program_that_has_gone_is_tried_again(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o700)
    hook = command(str(program))
    program.unlink()
    assert hook.deliver(alert()) == Retry("cannot be started: it is gone")


def test_a_program_that_is_not_there_is_named_with_its_place() -> None:
    with pytest.raises(ConfigError, match=r"alerts\[0\]\.command\.argv: '/no/such'"):
        command("/no/such")


def test_a_program_over_its_time_limit_is_killed_with_its_children(
    tmp_path: Path,
) -> None:
    pid_file = tmp_path / "pid"
    script = (
        "import pathlib, subprocess, sys, time;"
        "child = subprocess.Popen(['sleep', '60'], start_new_session=True);"
        "pathlib.Path(sys.argv[1]).write_text(str(child.pid));"
        "time.sleep(60)"
    )
    hook = python(script, str(pid_file), total_seconds=3.0)
    assert hook.deliver(alert()) == Retry("killed after 3 s")
    wait_until(lambda: is_gone(int(pid_file.read_text())))


def test_without_a_subreaper_the_group_of_a_program_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "other")
    pid_file = tmp_path / "pid"
    script = "sleep 60 & echo $! > $0; wait"
    hook = command("sh", "-c", script, str(pid_file), total_seconds=3.0)
    assert hook.deliver(alert()) == Retry("killed after 3 s")
    wait_until(lambda: is_gone(int(pid_file.read_text())))


def test_a_run_can_be_cancelled() -> None:
    hook = python("import time; time.sleep(60)")
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(hook.deliver(alert())))
    thread.start()
    hook.cancel()
    thread.join(5)
    assert not thread.is_alive()
    assert isinstance(outcomes[0], Retry)
    assert command("true").deliver(alert()) == Delivered("exit code 0")


def test_output_goes_to_the_log_and_is_bounded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    hook = python("print('\\x1b[31mhello'); print('x' * 1_000_000)")
    assert isinstance(hook.deliver(alert()), Delivered)
    messages = [record.getMessage() for record in caplog.records]
    assert messages[0].endswith("?[31mhello")
    assert messages[-1].endswith("bytes more)")
    assert sum(len(message) for message in messages) < 5_000


def test_a_program_in_the_background_does_not_hold_the_hook(tmp_path: Path) -> None:
    """Though it has the hook's pipe open for longer than a run may take."""
    pid_file = tmp_path / "pid"
    script = 'sleep 60 & echo $! > "$0"'
    hook = command("sh", "-c", script, str(pid_file), total_seconds=10.0)
    assert hook.deliver(alert()) == Delivered("exit code 0")
    os.kill(int(pid_file.read_text()), signal.SIGKILL)


def test_a_program_that_does_not_read_is_no_problem() -> None:
    assert command("true").deliver(alert()) == Delivered("exit code 0")


def test_few_programs_run_at_once(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys, time;"
        "mine = pathlib.Path(sys.argv[1]) / str(os.getpid());"
        "mine.touch(); n = len(list(mine.parent.iterdir()));"
        "time.sleep(0.3); mine.unlink(); raise SystemExit(n > 4)"
    )
    outcomes: list[Outcome] = []
    threads = [
        threading.Thread(
            target=lambda: outcomes.append(
                python(script, str(tmp_path)).deliver(alert())
            )
        )
        for _ in range(7)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes == [Delivered("exit code 0")] * 7
