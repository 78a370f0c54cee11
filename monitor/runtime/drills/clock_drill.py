"""Drill of the wall clock: the `clock` of the monitor is wrong, and is set.

`python -m monitor.runtime.drills.clock_drill FILE run ...` runs a monitor whose wall
clock is ahead by the seconds that FILE has at the time; the machine's clock stays.
"""

import runpy
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path
from unittest import mock

from monitor.clock import SystemClock
from monitor.runtime.drills.endpoint import running_endpoint
from monitor.runtime.drills.monitor_process import DrillResult, MonitorProcess, Say
from monitor.runtime.drills.plan import (
    DELIVER_SECONDS,
    DETECT_SECONDS,
    DrillPlan,
    noise_monitor,
)

HOUR, DAY = 3600, 86_400
ATTEMPTS_SECONDS = 4.0
MAINTENANCE_SECONDS = 6.0


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


def clock(plan: DrillPlan, folder: Path, say: Say) -> DrillResult:
    """Let the clock be wrong, and set it; no alert and no record may be lost.

    Raises:
        DrillError: No alert is made, or one does not arrive.
    """
    ahead = folder / "ahead"
    module = (__spec__.name, ahead)
    with running_endpoint() as endpoint:
        set_ahead(ahead, -5 * DAY)
        with noise_monitor(plan, folder, endpoint, module=module) as monitor:
            say("the clock is five days behind, and the endpoint refuses connections")
            monitor.wait(lambda: len(_alerts(monitor)) > 1, DETECT_SECONDS, "alert")
            time.sleep(ATTEMPTS_SECONDS)
            set_ahead(ahead, 0)
            say("the clock is right")
            time.sleep(ATTEMPTS_SECONDS)
            set_ahead(ahead, -HOUR)
            pending = _alerts(monitor)
            endpoint.open()
            accepting = time.monotonic()
            say(f"the clock is an hour behind; {len(pending)} alerts can be delivered")
            monitor.wait(
                lambda: pending <= set(endpoint.ids),
                DELIVER_SECONDS,
                "deliver the pending alerts",
            )
            monitor.stop()
            events = _events(monitor)
        recovery = max(e.at for e in endpoint.accepted if e.id in pending) - accepting
        set_ahead(ahead, 400 * DAY)
        before = len(endpoint.accepted)
        with noise_monitor(plan, folder, endpoint, module=module) as monitor:
            say("another start: the clock is 400 days ahead")
            monitor.wait(
                lambda: len(endpoint.accepted) > before, DETECT_SECONDS, "alert"
            )
            time.sleep(MAINTENANCE_SECONDS)
            monitor.stop()
            deleted = len(events - _events(monitor))
            query = "SELECT count(*) FROM alerts WHERE state = 'dead'"
            (given_up,) = monitor.column(query)
    return DrillResult(
        "clock",
        not deleted and not given_up and not endpoint.twice,
        f"{len(pending)} alerts of a clock that was five days behind delivered within "
        f"{recovery:.1f} s, {given_up} given up, {endpoint.twice} twice; {deleted} of "
        f"{len(events)} events deleted 400 days ahead",
        recovery,
        {
            "waited": len(pending),
            "given_up": given_up,
            "twice": endpoint.twice,
            "events": len(events),
            "deleted": deleted,
        },
    )


def _alerts(monitor: MonitorProcess) -> set[str]:
    return set(monitor.column("SELECT id FROM alerts"))


def _events(monitor: MonitorProcess) -> set[str]:
    return set(monitor.column("SELECT id FROM events"))


def main() -> None:
    """Run the command line with the wrong clock; never returns."""
    clock = WrongClock(Path(sys.argv.pop(1)))
    with mock.patch("monitor.runtime.daemon.SystemClock", return_value=clock):
        runpy.run_module("monitor", run_name="__main__")


if __name__ == "__main__":
    main()
