"""Unplug: the process that captures is killed, and then frozen.

Overrun: the monitor stands still for longer than its memory holds.
"""

import os
import signal
import time
from datetime import datetime
from pathlib import Path
from statistics import median
from typing import Any

from monitor.runtime.drills.endpoint import running_endpoint
from monitor.runtime.drills.noise_bursts import BURST_DBFS, PERIOD_SECONDS
from monitor.runtime.drills.plan import Plan, microphone_config, street_config
from monitor.runtime.drills.private_monitor import (
    DrillError,
    Outcome,
    PrivateMonitor,
    Say,
    children,
    private_monitor,
)

LISTEN_SECONDS = 25.0
RECOVER_SECONDS = 20.0
UNDISTURBED_SECONDS = 3.0
"""Heard for so long, a source is opened again without delay."""

TOLERANCE_SECONDS = 1.0
"""By so much the gap may differ from the time in which nothing was heard."""

_HEARD = "  listening"


def unplug(plan: Plan, folder: Path, say: Say) -> Outcome:
    """Take the source away twice, and see how soon it is heard again.

    Raises:
        DrillError: It is not heard at all, or not again.
    """
    assert plan.source is not None, "it was planned for"
    what = plan.source.input
    with private_monitor(folder, microphone_config(plan, folder / "state")) as monitor:
        monitor.wait_until_ready()
        try:
            monitor.wait_for_line(_HEARD, 0.0, LISTEN_SECONDS, "hear the source")
        except DrillError as error:
            raise DrillError(_why_deaf(what, error)) from None
        say(f"{what} is heard; its process is killed")
        killed = _take_away(monitor, signal.SIGKILL)
        say(f"heard again after {killed:.1f} s; now it is frozen")
        frozen = _take_away(monitor, signal.SIGSTOP)
        monitor.stop()
        gaps = [_seconds(gap) for gap in monitor.records("gap")]
    lost, away = sum(gaps), killed + frozen
    return Outcome(
        "unplug",
        len(gaps) >= 2 and abs(lost - away) <= 2 * TOLERANCE_SECONDS,
        f"heard again after {killed:.1f} s (killed) and {frozen:.1f} s (frozen), "
        f"{len(gaps)} gaps of {lost:.1f} s together recorded",
        max(killed, frozen),
        {
            "input": what,
            "killed_seconds": round(killed, 3),
            "frozen_seconds": round(frozen, 3),
            "gap_seconds": gaps,
        },
    )


def _take_away(monitor: PrivateMonitor, number: signal.Signals) -> float:
    """Send a signal to who captures; return the seconds until sound is heard again."""
    time.sleep(UNDISTURBED_SECONDS)
    found = children(monitor.process.pid)
    if not found:
        raise DrillError("there is no process that captures, so none can be taken away")
    began = time.monotonic()
    for pid in found:
        os.kill(pid, number)
    again = monitor.wait_for_line(
        _HEARD, began, RECOVER_SECONDS, "hear the source again"
    )
    return again - began


def _seconds(gap: dict[str, Any]) -> float:
    start, end = (datetime.fromisoformat(gap[key]) for key in ("start", "end"))
    return round((end - start).total_seconds(), 3)


def _why_deaf(what: str, error: DrillError) -> str:
    sentence = str(error)
    if what.startswith("mic:"):
        sentence += (
            "; a sound card that only one program can use may be held by the running "
            "monitor: stop that for the drill, or take --input demo:"
        )
    return sentence


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
