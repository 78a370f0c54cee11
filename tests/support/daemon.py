"""The daemon as a user runs it: the real command in a process of its own."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

Event = dict[str, Any]

START_SECONDS = 30.0


class RunningMonitor:
    """`sound-monitor run` with its state in a folder of the test.

    A context manager: whatever happens, the process is gone afterwards.
    """

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        self.state_dir = folder / "state"
        self.output = folder / "stdout"
        self.errors = folder / "stderr"
        with self.output.open("ab") as output, self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "monitor.commands.app", "run", *arguments],
                env={
                    **os.environ,
                    "STATE_DIRECTORY": str(self.state_dir),
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )

    def __enter__(self) -> "RunningMonitor":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    @property
    def lines(self) -> list[str]:
        """What was printed so far."""
        return self.output.read_text().splitlines()

    @property
    def log(self) -> str:
        """What was logged so far."""
        return self.errors.read_text()

    def records(self, kind: str | None = None) -> list[Event]:
        """What stands in the event log so far; of one type, if `kind` says which."""
        path = self.state_dir / "events.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        records = [json.loads(line) for line in lines]
        return [record for record in records if kind in (None, record["type"])]

    def wait_until(
        self, condition: Callable[["RunningMonitor"], object], seconds: float
    ) -> float:
        """Wait for `condition` of this monitor.

        Returns:
            The monotonic time at which it was first seen to hold.
        """
        deadline = monotonic() + seconds
        while not condition(self):
            assert self.process.poll() is None, f"it ended:\n{self.log}"
            assert monotonic() < deadline, f"{self.lines}\n{self.log}"
            sleep(0.01)
        return monotonic()

    def wait_for_line(self, part: str, seconds: float = START_SECONDS) -> float:
        """Wait until a printed line contains `part`; return when, monotonic."""
        return self.wait_until(
            lambda it: any(part in line for line in it.lines), seconds
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> tuple[int, float]:
        """Send a signal; return the exit code, and the seconds until it ended."""
        began = monotonic()
        self.process.send_signal(number)
        code = self.process.wait(20)
        return code, monotonic() - began
