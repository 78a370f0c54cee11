"""Drill of the display: a `terminal` that is not read."""

import contextlib
import os
import select
import time
from collections.abc import Iterator
from pathlib import Path

from monitor.runtime.drills.endpoint import running_endpoint
from monitor.runtime.drills.monitor_process import DrillError, DrillResult, Say
from monitor.runtime.drills.noise_bursts import PERIOD_SECONDS
from monitor.runtime.drills.plan import DETECT_SECONDS, DrillPlan, noise_monitor

UNREAD_SECONDS = 2.5 * PERIOD_SECONDS
SHOW_SECONDS = 10.0
REFILL_SECONDS = 2.0
"""The terminal is full again by the end."""

STOP_SECONDS = 8.0

_QUIET_SECONDS = 0.05
_TITLE = b"sound-monitor"


def terminal(plan: DrillPlan, folder: Path, say: Say) -> DrillResult:
    """Read nothing of the live display; alerts must go on, and the end must come.

    Raises:
        DrillError: The monitor does not start, alert, draw again or end.
    """
    with running_endpoint() as endpoint, _pseudo_terminal() as (reader, writer):
        endpoint.open()
        # Nobody reads from the start: the terminal is full within a second.
        with noise_monitor(plan, folder, endpoint, terminal=writer) as monitor:
            say("the monitor shows its display on a terminal that nobody reads")
            time.sleep(UNREAD_SECONDS)
            before = len(endpoint.accepted)
            monitor.wait(
                lambda: any(e.kind == "onset" for e in endpoint.accepted[before:]),
                DETECT_SECONDS,
                "alert while its terminal is not read",
            )
            during = len(endpoint.accepted)
            say(f"{during} alerts arrived meanwhile; the terminal is read again")
            shown = _seconds_until_drawn(reader)
            time.sleep(REFILL_SECONDS)
            code, seconds = monitor.stop()
            query = "SELECT count(*) FROM events WHERE end_reason IS NULL"
            is_written = monitor.column(query) == [0]
    return DrillResult(
        "terminal",
        code == 0 and is_written and seconds < STOP_SECONDS,
        f"{during} alerts arrived while the terminal was not read; drawn again after "
        f"{shown:.1f} s; ended after {seconds:.1f} s with exit code {code}, open "
        f"events {'' if is_written else 'NOT '}written",
        shown,
        {
            "alerts_meanwhile": during,
            "stop_seconds": round(seconds, 3),
            "exit_code": code,
        },
    )


def _seconds_until_drawn(reader: int) -> float:
    """Read until the display is drawn anew, behind everything that waited."""
    began = time.monotonic()
    has_been_quiet = False
    while (now := time.monotonic()) - began < SHOW_SECONDS:
        if not select.select([reader], [], [], _QUIET_SECONDS)[0]:
            has_been_quiet = True
        elif _TITLE in os.read(reader, 65_536) and has_been_quiet:
            return now - began
    raise DrillError(f"the monitor did not draw its display in {SHOW_SECONDS:.0f} s")


@contextlib.contextmanager
def _pseudo_terminal() -> Iterator[tuple[int, int]]:
    """The end of a terminal that shows, and the end that a program prints on."""
    reader, writer = os.openpty()
    try:
        yield reader, writer
    finally:
        os.close(reader)
        os.close(writer)
