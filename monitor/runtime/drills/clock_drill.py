"""Drill of the wall clock: the `clock` of the monitor is wrong, and is set."""

import time
from pathlib import Path

from monitor.runtime.drills.endpoint import running_endpoint
from monitor.runtime.drills.monitor_process import DrillResult, MonitorProcess, Say
from monitor.runtime.drills.plan import DrillPlan, write_noise_config
from monitor.runtime.drills.wrong_clock import set_ahead

HOUR, DAY = 3600, 86_400
DETECT_SECONDS = 60.0
DELIVER_SECONDS = 120.0
ATTEMPTS_SECONDS = 4.0
MAINTENANCE_SECONDS = 6.0


def clock(plan: DrillPlan, folder: Path, say: Say) -> DrillResult:
    """Let the clock be wrong, and set it; no alert and no record may be lost.

    Raises:
        DrillError: No alert is made, or one does not arrive.
    """
    ahead = folder / "ahead"
    module = ("monitor.runtime.drills.wrong_clock", ahead)
    with running_endpoint() as endpoint:
        options = ("--config", write_noise_config(plan, folder, endpoint.url))
        set_ahead(ahead, -5 * DAY)
        with MonitorProcess(folder, options, module=module) as monitor:
            monitor.wait_until_ready()
            say("the clock is five days behind, and the endpoint refuses connections")
            monitor.wait(lambda: len(_alerts(monitor)) > 1, DETECT_SECONDS, "alert")
            time.sleep(ATTEMPTS_SECONDS)
            set_ahead(ahead, 0)
            say("the clock is right")
            time.sleep(ATTEMPTS_SECONDS)
            set_ahead(ahead, -HOUR)
            pending = set(_alerts(monitor))
            endpoint.open()
            accepting = time.monotonic()
            say(f"the clock is an hour behind; {len(pending)} alerts can be delivered")
            monitor.wait(
                lambda: pending <= {each.id for each in endpoint.accepted},
                DELIVER_SECONDS,
                "deliver the pending alerts",
            )
            monitor.stop()
            events = _events(monitor)
        recovery = max(e.at for e in endpoint.accepted if e.id in pending) - accepting
        set_ahead(ahead, 400 * DAY)
        before = len(endpoint.accepted)
        with MonitorProcess(folder, options, name="ahead", module=module) as monitor:
            monitor.wait_until_ready()
            say("another start: the clock is 400 days ahead")
            monitor.wait(
                lambda: len(endpoint.accepted) > before, DETECT_SECONDS, "alert"
            )
            time.sleep(MAINTENANCE_SECONDS)
            monitor.stop()
            deleted = len(events - _events(monitor))
            failed = monitor.query("SELECT count(*) FROM alerts WHERE state = 'dead'")
    delivered = [each.id for each in endpoint.accepted]
    given_up, twice = failed[0][0], len(delivered) - len(set(delivered))
    return DrillResult(
        "clock",
        not deleted and not given_up and not twice,
        f"{len(pending)} alerts of a clock that was five days behind delivered within "
        f"{recovery:.1f} s, {given_up} given up, {twice} twice; {deleted} of "
        f"{len(events)} events deleted 400 days ahead",
        recovery,
        {
            "waited": len(pending),
            "given_up": given_up,
            "twice": twice,
            "events": len(events),
            "deleted": deleted,
        },
    )


def _alerts(monitor: MonitorProcess) -> list[str]:
    return [row[0] for row in monitor.query("SELECT id FROM alerts")]


def _events(monitor: MonitorProcess) -> set[str]:
    return {row[0] for row in monitor.query("SELECT id FROM events")}
