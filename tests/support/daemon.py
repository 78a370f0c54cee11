"""The daemon as a user runs it: the real command in a process of its own."""

from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from monitor.runtime.drills.monitor_process import MonitorProcess

Event = dict[str, Any]

START_SECONDS = 30.0


class RunningMonitor(MonitorProcess):
    """`sound-monitor run` with its state in a folder of the test."""

    def __init__(self, folder: Path, *arguments: str, **environment: str) -> None:
        super().__init__(folder, arguments, environment)

    @property
    def lines(self) -> list[str]:
        """The lines printed so far."""
        return [line.text for line in list(self.printed)]

    @property
    def log(self) -> str:
        """The text logged so far."""
        return "".join(f"{line.text}\n" for line in list(self.logged))

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
