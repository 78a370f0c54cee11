"""Drills of storage and delivery: `webhook` failures, a full `disk`, a `crash`."""

import random
import time
from pathlib import Path

from monitor.runtime.drills.endpoint import Endpoint, running_endpoint
from monitor.runtime.drills.full_disk import small_disk
from monitor.runtime.drills.monitor_process import DrillResult, MonitorProcess, Say
from monitor.runtime.drills.noise_bursts import PERIOD_SECONDS
from monitor.runtime.drills.plan import (
    DELIVER_SECONDS,
    DETECT_SECONDS,
    DrillPlan,
    noise_monitor,
)

PHASE_SECONDS = 4.0
ATTEMPT_SECONDS = 30.0
FULL_SECONDS = 2.5 * PERIOD_SECONDS
STORE_SECONDS = 60.0
KILLS = 4
LONGEST_RUN_SECONDS = 1.3 * PERIOD_SECONDS


def webhook(plan: DrillPlan, folder: Path, say: Say) -> DrillResult:
    """Let the endpoint refuse, fail and hang; each alert must arrive once, in order.

    Raises:
        DrillError: No alert is made, or one does not arrive.
    """
    with (
        running_endpoint() as endpoint,
        noise_monitor(plan, folder, endpoint) as monitor,
    ):
        say("the endpoint refuses connections")
        monitor.wait(lambda: len(_alerts(monitor)) > 1, DETECT_SECONDS, "alert")
        time.sleep(PHASE_SECONDS)
        endpoint.behaviour = "fails"
        endpoint.open()
        say("the endpoint answers 500")
        monitor.wait(lambda: endpoint.attempts, ATTEMPT_SECONDS, "try again")
        endpoint.behaviour = "hangs"
        attempts = endpoint.attempts
        say("the endpoint does not answer")
        monitor.wait(lambda: endpoint.attempts > attempts, ATTEMPT_SECONDS, "try again")
        time.sleep(PHASE_SECONDS)
        pending = set(_alerts(monitor))
        endpoint.behaviour = "accepts"
        accepting = time.monotonic()
        say(f"the endpoint accepts alerts; {len(pending)} are pending")
        monitor.wait(
            lambda: pending <= set(endpoint.ids),
            DELIVER_SECONDS,
            "deliver the pending alerts",
        )
        monitor.stop()
        made = _alerts(monitor)
    recovery = max(e.at for e in endpoint.accepted if e.id in pending) - accepting
    once = list(dict.fromkeys(endpoint.ids))
    in_order = [alert for alert in made if alert in set(once)] == once
    return DrillResult(
        "webhook",
        not endpoint.twice and in_order,
        f"{len(pending)} pending alerts delivered within {recovery:.1f} s, "
        f"{'in order' if in_order else 'OUT OF ORDER'}, "
        f"{f'{endpoint.twice} of them twice' if endpoint.twice else 'each once'}",
        recovery,
        {
            "waited": len(pending),
            "delivered": len(endpoint.ids),
            "twice": endpoint.twice,
            "in_order": in_order,
        },
    )


def _alerts(monitor: MonitorProcess) -> list[str]:
    """Ids of all alerts, in order."""
    return monitor.column("SELECT id FROM alerts ORDER BY sequence")


def disk(plan: DrillPlan, folder: Path, say: Say) -> DrillResult:
    """Fill the disk; alerts must go on, and everything must be stored afterwards.

    Raises:
        DrillError: The monitor ends, sends no alerts, or does not store again.
    """
    (folder / "state").mkdir()
    with small_disk(folder / "state") as limited, running_endpoint() as endpoint:
        endpoint.open()
        with noise_monitor(plan, folder, endpoint) as monitor:
            pid = monitor.process.pid
            monitor.wait(lambda: endpoint.accepted, DETECT_SECONDS, "alert")
            before = len(endpoint.accepted)
            limited.fill(pid)
            say(f"the disk is full ({limited.means})")
            time.sleep(FULL_SECONDS)
            monitor.wait(
                lambda: any(e.kind == "onset" for e in endpoint.accepted[before:]),
                DETECT_SECONDS,
                "alert while the disk is full",
            )
            during = len(endpoint.accepted) - before
            logged = len(monitor.records("onset"))
            limited.clear(pid)
            cleared = time.monotonic()
            say(f"{during} alerts arrived meanwhile; the disk has space again")
            events = {each.event_id for each in endpoint.accepted}
            stored = monitor.wait(
                lambda: (
                    events <= set(monitor.column("SELECT id FROM events"))
                    and len(monitor.records("onset")) > logged
                ),
                STORE_SECONDS,
                "store again",
            )
            monitor.stop()
    recovery = stored - cleared
    return DrillResult(
        "disk",
        True,
        f"{during} alerts arrived while the disk was full ({limited.means}); all "
        f"{len(events)} events stored {recovery:.1f} s after it had space",
        recovery,
        {"means": limited.means, "alerts_meanwhile": during, "events": len(events)},
    )


def crash(plan: DrillPlan, folder: Path, say: Say) -> DrillResult:
    """Kill the monitor again and again; no reported onset or end may be lost.

    Raises:
        DrillError: It does not become ready again, or an alert does not arrive.
    """
    generator = random.Random()  # noqa: S311 - moments, not secrets
    ready: list[float] = []
    with running_endpoint() as endpoint:
        endpoint.open()
        for number in range(KILLS):
            with noise_monitor(plan, folder, endpoint) as monitor:
                ready.append(monitor.ready_seconds)
                if number == 0:
                    # At least one run is killed with an open event.
                    monitor.wait_for_line("began", DETECT_SECONDS, "detect anything")
                    time.sleep(generator.uniform(0, 0.5))
                else:
                    time.sleep(generator.uniform(0, LONGEST_RUN_SECONDS))
                monitor.kill()
            say(f"killed {number + 1} of {KILLS} times")
        with noise_monitor(plan, folder, endpoint) as monitor:
            ready.append(monitor.ready_seconds)
            monitor.wait(
                lambda: not _missing(monitor, endpoint), DELIVER_SECONDS, "deliver all"
            )
            monitor.stop()
            missing = _missing(monitor, endpoint)
            ends = monitor.column("SELECT end_reason FROM events")
    left_open, interrupted = ends.count(None), ends.count("interrupted")
    alerts, slowest = len(set(endpoint.ids)), max(ready[1:])
    return DrillResult(
        "crash",
        not missing and not left_open and interrupted > 0,
        f"ready again within {slowest:.1f} s, {KILLS} kills; {alerts} alerts, "
        f"{len(missing)} lost; {interrupted} open events ended as interrupted, "
        f"{left_open} left open",
        slowest,
        {
            "kills": KILLS,
            "ready_seconds": [round(seconds, 3) for seconds in ready],
            "alerts": alerts,
            "told_twice": endpoint.twice,
            "lost": len(missing),
            "interrupted": interrupted,
            "left_open": left_open,
        },
    )


def _missing(monitor: MonitorProcess, endpoint: Endpoint) -> set[tuple[str, str]]:
    """Onsets and ends that are in the event log without an alert."""
    onsets = {(record["id"], "onset") for record in monitor.records("onset")}
    ends = {(record["id"], "end") for record in monitor.records("event")}
    return (onsets | ends) - {(each.event_id, each.kind) for each in endpoint.accepted}
