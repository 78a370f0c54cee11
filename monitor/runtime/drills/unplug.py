"""Unplug: the process that captures is killed, and then frozen."""

import os
import signal
import time
from datetime import datetime
from pathlib import Path
from typing import Any

from monitor.runtime.drills.outcome import DrillError, Outcome, Say
from monitor.runtime.drills.plan import Plan, microphone_config
from monitor.runtime.drills.private import PrivateMonitor, private_monitor
from monitor.runtime.drills.processes import children

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
