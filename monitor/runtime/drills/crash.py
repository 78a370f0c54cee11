"""Crash: the monitor is killed at random moments, and started again."""

import random
import time
from pathlib import Path

from monitor.runtime.drills.endpoint import Endpoint, running_endpoint
from monitor.runtime.drills.outcome import Outcome, Say
from monitor.runtime.drills.plan import Plan, street_config
from monitor.runtime.drills.private import PrivateMonitor, private_monitor
from monitor.runtime.drills.street import PERIOD_SECONDS

KILLS = 4
MOST_SECONDS = 1.3 * PERIOD_SECONDS
"""From ready to the kill, at the most."""

HEAR_SECONDS = 60.0
DELIVER_SECONDS = 90.0


def crash(plan: Plan, folder: Path, say: Say) -> Outcome:
    """Kill the monitor again and again; nothing that it told may be missing.

    Raises:
        DrillError: It does not become ready again, or an alert does not come.
    """
    generator = random.Random()  # noqa: S311 - moments, not secrets
    ready: list[float] = []
    with running_endpoint() as endpoint:
        endpoint.open()
        config = street_config(plan, folder / "state", endpoint.url)
        for number in range(KILLS):
            with private_monitor(folder, config, f"run-{number}") as monitor:
                ready.append(monitor.wait_until_ready())
                if number == 0:
                    # At least one is killed while it hears something.
                    monitor.wait_for_line("began", 0.0, HEAR_SECONDS, "hear anything")
                    time.sleep(generator.uniform(0, 0.5))
                else:
                    time.sleep(generator.uniform(0, MOST_SECONDS))
                monitor.kill()
            say(f"killed {number + 1} of {KILLS} times")
        with private_monitor(folder, config, "last") as monitor:
            ready.append(monitor.wait_until_ready())
            _wait_for_alerts(monitor, endpoint)
            monitor.stop()
            missing = _missing(monitor, endpoint)
            open_events = _count(monitor, "end_reason IS NULL")
            interrupted = _count(monitor, "end_reason = 'interrupted'")
    told = [each.id for each in endpoint.accepted]
    slowest = max(ready[1:])
    return Outcome(
        "crash",
        not missing and not open_events and interrupted > 0,
        f"ready again after {slowest:.1f} s at most, {KILLS} kills; "
        f"{len(set(told))} alerts, {len(missing)} lost; {interrupted} open events "
        f"ended as interrupted, {open_events} left open",
        slowest,
        {
            "kills": KILLS,
            "ready_seconds": [round(seconds, 3) for seconds in ready],
            "alerts": len(set(told)),
            "told_twice": len(told) - len(set(told)),
            "lost": len(missing),
            "interrupted": interrupted,
            "left_open": open_events,
        },
    )


def _wait_for_alerts(monitor: PrivateMonitor, endpoint: Endpoint) -> None:
    """Wait until everything that was told before has come."""
    monitor.wait(
        lambda: not _missing(monitor, endpoint), DELIVER_SECONDS, "deliver all alerts"
    )


def _missing(monitor: PrivateMonitor, endpoint: Endpoint) -> set[tuple[str, str]]:
    """Which begins and ends stand in the event log, and were not told."""
    begun = {(record["id"], "onset") for record in monitor.records("onset")}
    ended = {(record["id"], "end") for record in monitor.records("event")}
    told = {(each.event_id, each.kind) for each in endpoint.accepted}
    return (begun | ended) - told


def _count(monitor: PrivateMonitor, condition: str) -> int:
    rows = monitor.query(f"SELECT count(*) FROM events WHERE {condition}")  # noqa: S608
    return int(rows[0][0]) if rows else 0
