"""A monitor whose wall clock is wrong, and can be set; the machine's clock stays.

`python -m monitor.runtime.drills.wrong_clock FILE run ...`, where FILE has the seconds
by which the clock is ahead.
"""

import runpy
import sys
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

from monitor.clock import SystemClock


class WrongClock(SystemClock):
    """The clocks of this machine, but that the time of day is wrong."""

    def __init__(self, path: Path) -> None:
        """Be ahead by the seconds that the file `path` has at the time."""
        self._path = path

    def utc(self) -> datetime:
        """Time of day; steps whenever the file is changed."""
        return super().utc() + timedelta(seconds=float(self._path.read_text()))


def set_ahead(path: Path, seconds: float) -> None:
    """Set the clock that reads `path`."""
    beside = path.with_suffix(".new")
    beside.write_text(f"{seconds}")
    beside.replace(path)


def main() -> None:
    """Run the command line with the wrong clock; never returns."""
    path = Path(sys.argv.pop(1))
    clock = WrongClock(path)
    with mock.patch("monitor.runtime.daemon.SystemClock", return_value=clock):
        runpy.run_module("monitor", run_name="__main__")


if __name__ == "__main__":
    main()
