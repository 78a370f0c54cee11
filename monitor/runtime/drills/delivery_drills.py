"""Webhook: nobody takes the alerts for a while; then they come, once and in order.

Disk: there is no room for what the monitor writes, and then there is again.

Crash: the monitor is killed at random moments, and started again.
"""

import random
import time
from pathlib import Path

from monitor.runtime.drills.endpoint import Endpoint, running_endpoint
from monitor.runtime.drills.full_disk import FullDisk, small_disk
from monitor.runtime.drills.noise_bursts import PERIOD_SECONDS
from monitor.runtime.drills.plan import Plan, street_config
from monitor.runtime.drills.private_monitor import (
    Outcome,
    PrivateMonitor,
    Say,
    private_monitor,
)

MAKE_SECONDS = 60.0
PHASE_SECONDS = 4.0
ATTEMPT_SECONDS = 30.0
RECOVER_SECONDS = 120.0


def webhook(plan: Plan, folder: Path, say: Say) -> Outcome:
    """Refuse, fail and hang, then take; every alert must come once, in order.

    Raises:
        DrillError: No alert is made, or one does not come.
    """
    with (
        running_endpoint() as endpoint,
        private_monitor(
            folder, street_config(plan, folder / "state", endpoint.url)
        ) as monitor,
    ):
        monitor.wait_until_ready()
        say("connections are refused")
        monitor.wait(lambda: len(_alerts(monitor)) > 1, MAKE_SECONDS, "make any alerts")
        time.sleep(PHASE_SECONDS)
        endpoint.behaviour = "fails"
        endpoint.open()
        say("the endpoint answers 500")
        monitor.wait(lambda: endpoint.attempts, ATTEMPT_SECONDS, "try again")
        endpoint.behaviour = "hangs"
        tried = endpoint.attempts
        say("the endpoint does not answer")
        monitor.wait(lambda: endpoint.attempts > tried, ATTEMPT_SECONDS, "try again")
        time.sleep(PHASE_SECONDS)
        wanted = _alerts(monitor)
        endpoint.behaviour = "takes"
        lives = time.monotonic()
        say(f"the endpoint takes alerts; {len(wanted)} wait")
        monitor.wait(
            lambda: set(wanted) <= {each.id for each in endpoint.accepted},
            RECOVER_SECONDS,
            "deliver what waits",
        )
        monitor.stop()
        told = [each.id for each in endpoint.accepted]
        recovery = max(e.at for e in endpoint.accepted if e.id in set(wanted)) - lives
        made = _alerts(monitor)
    twice = len(told) - len(set(told))
    in_order = [alert for alert in made if alert in set(told)] == list(
        dict.fromkeys(told)
    )
    return Outcome(
        "webhook",
        not twice and in_order,
        f"{len(wanted)} alerts waited and came within {recovery:.1f} s, "
        f"{'in order' if in_order else 'OUT OF ORDER'}, "
        f"{'each once' if not twice else f'{twice} of them twice'}",
        recovery,
        {
            "waited": len(wanted),
            "delivered": len(told),
            "twice": twice,
            "in_order": in_order,
        },
    )


def _alerts(monitor: PrivateMonitor) -> list[str]:
    """Ids of all alerts that were made, in order."""
    return [row[0] for row in monitor.query("SELECT id FROM alerts ORDER BY sequence")]


FULL_SECONDS = 2.5 * PERIOD_SECONDS
HEAR_SECONDS = 60.0
STORE_SECONDS = 60.0


def disk(plan: Plan, folder: Path, say: Say) -> Outcome:
    """Fill the disk of the private monitor: it must go on, and store again later.

    Raises:
        DrillError: It ends, tells nothing, or does not store again.
    """
    state_dir = folder / "state"
    state_dir.mkdir()
    with (
        small_disk(state_dir) as full_disk,
        running_endpoint() as endpoint,
        private_monitor(
            folder, street_config(plan, state_dir, endpoint.url)
        ) as monitor,
    ):
        endpoint.open()
        monitor.wait_until_ready()
        monitor.wait(lambda: endpoint.accepted, HEAR_SECONDS, "tell what it hears")
        before = len(endpoint.accepted)
        full_disk.fill(monitor.process.pid)
        say(f"the disk is full ({full_disk.means})")
        time.sleep(FULL_SECONDS)
        monitor.wait(
            lambda: _onsets(endpoint, before),
            HEAR_SECONDS,
            "tell what it hears while the disk is full",
        )
        during = len(endpoint.accepted) - before
        logged = len(monitor.records("onset"))
        full_disk.clear(monitor.process.pid)
        cleared = time.monotonic()
        say(f"{during} alerts came meanwhile; the disk has room again")
        wanted = {each.event_id for each in endpoint.accepted}
        stored = monitor.wait(
            lambda: (
                wanted <= _stored(monitor) and len(monitor.records("onset")) > logged
            ),
            STORE_SECONDS,
            "store again",
        )
        monitor.stop()
    return _outcome(full_disk, during, len(wanted), stored - cleared)


def _outcome(full: FullDisk, during: int, events: int, recovery: float) -> Outcome:
    return Outcome(
        "disk",
        True,
        f"{during} alerts came while the disk was full ({full.means}); all {events} "
        f"events stored {recovery:.1f} s after it had room",
        recovery,
        {"means": full.means, "alerts_meanwhile": during, "events": events},
    )


def _onsets(endpoint: Endpoint, before: int) -> bool:
    return any(each.kind == "onset" for each in endpoint.accepted[before:])


def _stored(monitor: PrivateMonitor) -> set[str]:
    return {row[0] for row in monitor.query("SELECT id FROM events")}


KILLS = 4
MOST_SECONDS = 1.3 * PERIOD_SECONDS
"""From ready to the kill, at the most."""


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
