"""Disk: there is no room for what the monitor writes, and then there is again."""

import time
from pathlib import Path

from monitor.runtime.drills.endpoint import Endpoint, running_endpoint
from monitor.runtime.drills.full_disk import FullDisk, small_disk
from monitor.runtime.drills.outcome import Outcome, Say
from monitor.runtime.drills.plan import Plan, street_config
from monitor.runtime.drills.private import PrivateMonitor, private_monitor
from monitor.runtime.drills.street import PERIOD_SECONDS

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
