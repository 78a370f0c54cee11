"""The check of an installed bundle: `sound-monitor check` in a child process."""

import json
import os
import subprocess
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from monitor import subreaper
from monitor.own_command import own_command
from monitor.runtime.rollout_state import STAGED
from monitor.text import first_fault

CHECK_SECONDS = 300.0
"""Longest time of the child process."""

NICENESS = 15

Check = Callable[[int, threading.Event], str]
"""Checks an installed bundle; returns its problems in a sentence, empty: none."""


def check_installed(
    environ: Mapping[str, str], seconds: float = CHECK_SECONDS
) -> Check:
    """Return the check of an installed bundle, by `sound-monitor check`.

    A model that is wrong, or too large, ends that process and not the monitor.
    `environ` are variables of the process, besides those of this one.
    """

    def check(version: int, stop: threading.Event) -> str:
        argv, ours = own_command("check", "--json")
        process = subprocess.Popen(  # noqa: S603 - our own program
            subreaper.command_line(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**ours, **environ, STAGED: str(version)},
            start_new_session=True,
        )
        with process:
            with suppress(OSError):  # the sandbox of the service may forbid it
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
            output = _communicate(process, seconds, stop)
            if output is None:
                return f"its check took longer than {seconds:g} s"
            return _problems(process.returncode, *output)

    return check


def _communicate(
    process: "subprocess.Popen[bytes]", seconds: float, stop: threading.Event
) -> tuple[bytes, bytes] | None:
    """Return what a process has written until its end; None: it was ended."""
    for _ in range(int(seconds)):
        try:
            return process.communicate(timeout=1.0)
        except subprocess.TimeoutExpired:
            if stop.is_set():
                break
    process.terminate()
    return None


def _problems(code: int, output: bytes, errors: bytes) -> str:
    if code == 0:
        return ""
    found: Any = None
    with suppress(ValueError):
        found = json.loads(output)
    problems = found.get("problems") if isinstance(found, dict) else None
    if problems:
        return first_fault("\n".join(map(str, problems)))
    last = errors.decode(errors="replace").strip().splitlines()[-1:]
    return f"its check ended with {code}: {''.join(last)}"
