"""Builds and checks the hooks of the configuration; sends test alerts."""

import logging
import math
import sqlite3
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

from monitor.config.alerts import AlertSettings
from monitor.errors import ConfigError, StoreUnavailableError
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.body import SCHEMA
from monitor.sinks.alerts.hooks import Hook, KeptClips, Outcome, Retry, build_hook
from monitor.sinks.alerts.outbox import Outbox
from monitor.sinks.alerts.sender import Delivery
from monitor.sinks.store.database import Database
from monitor.text import utc_text

logger = logging.getLogger(__name__)


def build_hooks(
    rules: Sequence[AlertSettings],
    environ: Mapping[str, str],
    labels: Sequence[str] | None = None,
    clips: KeptClips | None = None,
) -> dict[str, Hook]:
    """Build the hook of every endpoint, by its name; nothing is connected.

    Labels of the rules are checked if the `labels` of the model are given.  Without
    `clips`, none is attached.

    Raises:
        ConfigError: A sentence in a line for each fault of a rule.
    """
    hooks, faults = _try_hooks(rules, environ, labels, clips)
    if faults:
        close_hooks(hooks)
        raise ConfigError("\n".join(faults))
    return hooks


def close_hooks(hooks: Mapping[str, Hook]) -> None:
    """Close hooks that no sender uses."""
    for hook in hooks.values():
        hook.close()


def check_rules(
    rules: Sequence[AlertSettings],
    environ: Mapping[str, str],
    labels: Sequence[str] | None,
) -> tuple[dict[str, str], list[str]]:
    """Build all hooks on trial; the arguments are those of `build_hooks`.

    Returns:
        The target of every endpoint, without secrets, and a sentence for each fault.
    """
    hooks, faults = _try_hooks(rules, environ, labels)
    close_hooks(hooks)
    targets = {
        endpoint: hooks[endpoint].target if endpoint in hooks else "invalid"
        for rule in rules
        for endpoint in rule.endpoints
    }
    return targets, faults


def _try_hooks(
    rules: Sequence[AlertSettings],
    environ: Mapping[str, str],
    labels: Sequence[str] | None,
    clips: KeptClips | None = None,
) -> tuple[dict[str, Hook], list[str]]:
    hooks: dict[str, Hook] = {}
    faults = [
        f"alerts[{index}].labels: {label!r} is not a label of the model; "
        f"{_nearest(label, labels)}"
        for index, rule in enumerate(rules)
        for label in rule.labels
        if labels is not None and label not in labels
    ]
    for index, rule in enumerate(rules):
        for kind, section in rule.hooks.items():
            place = f"alerts[{index}].{kind}"
            try:
                hooks[f"{rule.name}/{kind}"] = build_hook(
                    section, place, environ, clips
                )
            except ConfigError as error:
                faults += str(error).splitlines()
    return hooks, faults


def warn_of_orphans(endpoints: Iterable[str], database: Database) -> None:
    """Log the number of alerts that are pending for endpoints not configured now."""
    outbox = Outbox(database)
    try:
        count = outbox.count_orphans(list(endpoints))
    except (sqlite3.Error, StoreUnavailableError):
        return  # The senders log it.
    finally:
        outbox.close()
    if count:
        logger.warning(
            "%d alerts are pending for endpoints that are not configured any more; see "
            "'alerts list --state pending'",
            count,
        )


def _nearest(label: str, labels: Sequence[str]) -> str:
    near = get_close_matches(label, labels, n=1)
    return f"did you mean {near[0]}?" if near else f"choose from {', '.join(labels)}"


def send_test(endpoint: str, hook: Hook, most_seconds: float = math.inf) -> Outcome:
    """Deliver a test alert once, past the outbox, within the time limit of the hook.

    Its facts are examples, so that a template of the user shows what it makes of them.
    """
    now, key = datetime.now(UTC), str(uuid.uuid4())
    rule = endpoint.partition("/")[0]
    body = {
        "id": key,
        "created": utc_text(now),
        "schema": SCHEMA,
        "type": "alert",
        "kind": "test",
        "escalation": False,
        "rule": rule,
        "message": f"test of {endpoint} by sound-monitor: this is not an event",
        "label": "test",
        "source": "test",
        "start": utc_text(now),
        "duration_seconds": 2.5,
        "peak_score": 0.9,
        "mean_score": 0.8,
        "threshold": 0.5,
        "hits": 4,
        "windows": 4,
        "level_dbfs": -30.0,
        "laeq_db": 60.0,
        "health": "test",
        "state": "test",
        "detail": "this is a test",
        "count": 1,
    }
    deadline = now + timedelta(minutes=5)
    alert = Alert(key, rule, endpoint, "test", None, body, now, deadline)
    delivery = Delivery(hook, alert)
    seconds = min(hook.total_seconds, most_seconds)
    if not delivery.wait(seconds):
        outcome = delivery.cancel()
        is_late = isinstance(outcome, Retry)
        return Retry(f"took longer than {seconds:g} s") if is_late else outcome
    return delivery.outcome or Retry("failed unexpectedly")
