"""A test alert, sent at once, past the outbox."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.body import utc_text
from monitor.sinks.alerts.hooks.hook import Delivered, Hook, Outcome, Retry

GRACE_SECONDS = 0.3


def make_test_alert(endpoint: str, now: datetime) -> Alert:
    """Make an alert that says that it is a test; each has an id of its own."""
    key = str(uuid.uuid4())
    rule = endpoint.partition("/")[0]
    body = {
        "id": key,
        "created": utc_text(now),
        "schema": 1,
        "type": "alert",
        "kind": "test",
        "escalation": False,
        "rule": rule,
        "message": f"test of {endpoint} by sound-monitor: nothing was heard",
        "start": utc_text(now),
    }
    return Alert(
        id=key,
        rule=rule,
        endpoint=endpoint,
        kind="test",
        event_id=None,
        body=body,
        created=now,
        deadline=now + timedelta(minutes=5),
    )


def send_test(endpoint: str, hook: Hook) -> Outcome:
    """Deliver a test alert once, within the time limit of the hook."""
    outcomes: list[Outcome] = []
    alert = make_test_alert(endpoint, datetime.now(UTC))
    thread = threading.Thread(
        target=lambda: outcomes.append(hook.deliver(alert)), daemon=True
    )
    thread.start()
    thread.join(hook.total_seconds)
    if thread.is_alive():
        hook.cancel()
        thread.join(GRACE_SECONDS)
        if not (outcomes and isinstance(outcomes[0], Delivered)):
            return Retry(f"took longer than {hook.total_seconds:g} s")
    return outcomes[0] if outcomes else Retry("failed unexpectedly")
