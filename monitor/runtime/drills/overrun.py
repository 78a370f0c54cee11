"""Overrun: the monitor stands still for longer than its memory holds."""

import os
import signal
import time
from datetime import datetime
from pathlib import Path
from statistics import median

from monitor.runtime.drills.endpoint import running_endpoint
from monitor.runtime.drills.outcome import Outcome, Say
from monitor.runtime.drills.plan import Plan, street_config
from monitor.runtime.drills.private import PrivateMonitor, private_monitor
from monitor.runtime.drills.street import BURST_DBFS, PERIOD_SECONDS

STOPPED_SECONDS = 24.0
"""The pipe between holds 12 s of the street, the ring 5 s."""

LEAST_LOST_SECONDS = 8.0
TRUE_SECONDS = 0.75
"""By so much times may be off, against those before."""

BURSTS = 3
LOUD_DBFS = BURST_DBFS - 15.0
"""An event that is louder holds a good part of a burst."""

SETTLE_SECONDS = 12.0
"""What is lost without a word is found by the clock, in five seconds and more."""

_HEAR_SECONDS = 60.0


def overrun(plan: Plan, folder: Path, say: Say) -> Outcome:
    """Stop the monitor by a signal, let it go on, and compare times with the truth.

    Raises:
        DrillError: It does not go on.
    """
    with (
        running_endpoint() as endpoint,
        private_monitor(
            folder, street_config(plan, folder / "state", endpoint.url)
        ) as monitor,
    ):
        endpoint.open()
        monitor.wait_until_ready()
        _wait_for_bursts(monitor, time.time())
        before = _lateness(_beginnings(monitor))
        say(f"the monitor is stopped for {STOPPED_SECONDS:.0f} s")
        stopped = time.time()
        os.kill(monitor.process.pid, signal.SIGSTOP)
        time.sleep(STOPPED_SECONDS)
        os.kill(monitor.process.pid, signal.SIGCONT)
        continued, at = time.time(), time.monotonic()
        again = monitor.wait_for_line("", at, _HEAR_SECONDS, "go on") - at
        say(f"it goes on after {again:.1f} s; are its times true?")
        _wait_for_bursts(monitor, continued + SETTLE_SECONDS)
        after = _lateness(_beginnings(monitor, continued + SETTLE_SECONDS))
        monitor.stop()
        gaps = [
            gap["end_seconds"] - gap["start_seconds"] for gap in monitor.records("gap")
        ]
    error = _around(after - before)
    lost = sum(gaps)
    is_told = LEAST_LOST_SECONDS <= lost <= continued - stopped + 1
    return Outcome(
        "overrun",
        is_told and abs(error) <= TRUE_SECONDS,
        f"went on after {again:.1f} s, {lost:.1f} of {continued - stopped:.1f} s lost "
        f"in {len(gaps)} gap{'s' * (len(gaps) != 1)}, times then off by "
        f"{abs(error):.2f} s",
        again,
        {
            "stopped_seconds": round(continued - stopped, 3),
            "lost_seconds": round(lost, 3),
            "gaps": len(gaps),
            "time_error_seconds": round(error, 3),
        },
    )


def _wait_for_bursts(monitor: PrivateMonitor, after: float) -> None:
    """Wait until so many bursts have been told that came after a time of day."""
    monitor.wait(
        # Of the newest burst not all events may have ended yet.
        lambda: len(_beginnings(monitor, after)) > BURSTS,
        _HEAR_SECONDS,
        "hear what the street plays",
    )


def _beginnings(monitor: PrivateMonitor, after: float = 0.0) -> list[float]:
    """When the surest event of each burst began, seconds since 1970."""
    surest: dict[int, tuple[float, float]] = {}
    for event in monitor.records("event"):
        start = datetime.fromisoformat(event["start"]).timestamp()
        # The network says something of the quiet between the bursts too.
        if start > after and event["level_dbfs"] > LOUD_DBFS:
            burst = round(start / PERIOD_SECONDS)
            score = event["peak_score"]
            surest[burst] = max(surest.get(burst, (0.0, start)), (score, start))
    return [start for _, start in surest.values()]


def _lateness(starts: list[float]) -> float:
    """How late after their bursts events begin; what a network does, it does always."""
    return median(_around(start) for start in starts)


def _around(seconds: float) -> float:
    """The same moment of the period, nearest to zero."""
    half = PERIOD_SECONDS / 2
    return (seconds + half) % PERIOD_SECONDS - half
