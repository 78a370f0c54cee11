"""Webhook: nobody takes the alerts for a while; then they come, once and in order."""

import time
from pathlib import Path

from monitor.runtime.drills.endpoint import running_endpoint
from monitor.runtime.drills.outcome import Outcome, Say
from monitor.runtime.drills.plan import Plan, street_config
from monitor.runtime.drills.private import PrivateMonitor, private_monitor

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
