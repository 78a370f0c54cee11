"""Notices by a webhook: monitors of a fleet that are deaf, or listen again.

What has changed is a row of the table `changes`, before anything is sent; it is
reported once the endpoint has accepted it.  Of several collectors one reports, as long
as it lives.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from monitor.fleet.collect.database import FleetDatabase
from monitor.sinks.alerts.alert import Alert
from monitor.sinks.alerts.hooks import Delivered, Hook, Outcome, Retry
from monitor.sinks.alerts.sender import Delivery
from monitor.text import counted, first_line, local_time, utc_text

FRESH_SECONDS = 90.0
"""While the newest record of the whole fleet is older, no monitor alone is taken for
silent: it may be the broker, or the network of the collector.
"""

LONGEST_PAUSE_SECONDS = 600.0

MOST_LISTED = 200
"""Changes in one notice."""

MOST_NAMED = 10
"""Monitors in its sentence."""

_ALONE = "SELECT pg_try_advisory_lock(hashtext('sound-monitor fleet notices'))"

_FLEET = """
SELECT count(*) AS monitors, max(last_seen) AS last_seen,
    coalesce(bool_and(deaf IS NOT DISTINCT FROM 'silent'), false) AS is_silent,
    extract(epoch FROM now() - max(last_seen))::double precision AS age
FROM fleet
"""

# The newest change of a monitor is what was said of it; none: it listens.
_NOTE_FLEET = """
INSERT INTO changes (monitor, state, since)
SELECT '', %(state)s, %(since)s WHERE %(state)s <> coalesce((
    SELECT state FROM changes WHERE monitor = '' ORDER BY id DESC LIMIT 1), 'listening')
"""

_NOTE_MONITORS = """
INSERT INTO changes (monitor, state, since)
SELECT monitor, coalesce(deaf, 'listening'), coalesce(deaf_since, now())
FROM fleet LEFT JOIN LATERAL (
    SELECT state FROM changes WHERE changes.monitor = fleet.monitor
    ORDER BY id DESC LIMIT 1
) AS said ON true
WHERE coalesce(deaf, 'listening') <> coalesce(state, 'listening')
    AND (deaf IS DISTINCT FROM 'silent' OR %(is_fresh)s)
ORDER BY 3, 1
"""

_PENDING = """
SELECT id, monitor, site, state, changes.since
FROM changes LEFT JOIN monitors USING (monitor)
WHERE reported IS NULL ORDER BY id LIMIT %s
"""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Notifier:
    """Reports which monitors are deaf; blocks the one thread that uses it."""

    database: FleetDatabase
    """One of its own: its connection holds the lock of the one who reports."""

    hook: Hook
    look_seconds: float = 10.0

    settle_seconds: float = 180.0
    """Time after the start, a loss of the database and a silence of the whole fleet in
    which monitors may come back before they are judged.
    """

    first_pause_seconds: float = 10.0
    """Pause after a failed attempt; it doubles with each."""

    _locked: psycopg.Connection | None = field(default=None, init=False)
    """The connection that holds the lock."""

    _begun: float = field(default=0.0, init=False)
    """When it got it, monotonic seconds."""

    _heard_since: float = field(default=0.0, init=False)
    """When the fleet as a whole was not silent any more."""

    _has_failed: bool = field(default=False, init=False)
    """Whether the latest look failed."""

    _failures: int = field(default=0, init=False)
    _next_attempt: float = field(default=0.0, init=False)

    def run(self, stop: threading.Event) -> None:
        """Look and report until `stop`."""
        try:
            while not stop.wait(self.look_seconds):
                try:
                    self._look(stop)
                    self._has_failed = False
                except psycopg.Error as error:
                    if not self._has_failed:
                        logger.warning(
                            "no notices are made: %s; trying again", first_line(error)
                        )
                    self._has_failed = True
                    self.database.close()
        finally:
            self.hook.close()
            self.database.close()

    def _look(self, stop: threading.Event) -> None:
        connection = self.database.connection()
        if self._locked is not connection:
            if connection.execute(_ALONE).fetchone() != (True,):
                return
            self._locked, self._begun = connection, time.monotonic()
            self._heard_since = self._begun
        self._note(connection)
        if time.monotonic() >= self._next_attempt:
            self._report(connection, stop)

    def _note(self, connection: psycopg.Connection) -> None:
        """Note what has changed since the last look."""
        now = time.monotonic()
        with connection.cursor(row_factory=dict_row) as cursor:
            fleet = cursor.execute(_FLEET).fetchone()
            assert fleet is not None
            if not fleet["monitors"] or now < self._begun + self.settle_seconds:
                return
            state = "silent" if fleet["is_silent"] else "listening"
            since = fleet["last_seen"] if fleet["is_silent"] else datetime.now(UTC)
            cursor.execute(_NOTE_FLEET, {"state": state, "since": since})
            if fleet["is_silent"]:
                self._heard_since = now
            elif now >= self._heard_since + self.settle_seconds:
                cursor.execute(
                    _NOTE_MONITORS, {"is_fresh": fleet["age"] <= FRESH_SECONDS}
                )

    def _report(self, connection: psycopg.Connection, stop: threading.Event) -> None:
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(_PENDING, [MOST_LISTED]).fetchall()
        if not rows:
            return
        outcome = self._deliver(notice(rows), stop)
        if isinstance(outcome, Delivered):
            connection.execute(
                "UPDATE changes SET reported = now() WHERE id = ANY(%s)",
                [[row["id"] for row in rows]],
            )
            if self._failures:
                logger.info("the webhook accepts notices again")
            self._failures, self._next_attempt = 0, 0.0
        elif outcome is not None:
            if not self._failures:
                logger.warning(
                    "the webhook did not take a notice: %s; trying again for ever",
                    outcome.reason,
                )
            doubled = self.first_pause_seconds * 2 ** min(self._failures, 16)
            asked = outcome.after_seconds if isinstance(outcome, Retry) else None
            pause = max(min(doubled, LONGEST_PAUSE_SECONDS), asked or 0.0)
            self._failures += 1
            self._next_attempt = time.monotonic() + pause

    def _deliver(self, alert: Alert, stop: threading.Event) -> Outcome | None:
        """Deliver within the hook's time; None: stopped meanwhile."""
        delivery = Delivery(self.hook, alert)
        until = time.monotonic() + self.hook.total_seconds
        while not delivery.wait(0.1):
            if stop.is_set() or time.monotonic() >= until:
                outcome = delivery.cancel()
                is_unknown = stop.is_set() and not isinstance(outcome, Delivered)
                return None if is_unknown else outcome
        return delivery.outcome


def notice(rows: list[dict[str, Any]]) -> Alert:
    """The notice of some rows of `changes`, in order; its id is that of its rows."""
    created = datetime.now(UTC)
    key = f"fleet-{rows[0]['id']}-{rows[-1]['id']}"
    body = {
        "schema": 1,
        "type": "fleet",
        "id": key,
        "kind": "health",
        "message": _sentence(rows),
        "created": utc_text(created),
        "count": len(rows),
        "monitors": [
            {
                "monitor": row["monitor"] or None,
                "site": row["site"],
                "state": row["state"],
                "since": utc_text(row["since"]),
            }
            for row in rows
        ],
    }
    return Alert(key, "fleet", "fleet/webhook", "health", None, body, created, created)


def _sentence(rows: list[dict[str, Any]]) -> str:
    parts = [_part(row) for row in rows[:MOST_NAMED]]
    if len(rows) > MOST_NAMED:
        parts.append(f"and {counted(len(rows) - MOST_NAMED, 'more change')}")
    return "; ".join(parts)


def _part(row: dict[str, Any]) -> str:
    since = local_time(row["since"])[:-2]
    if not row["monitor"]:
        if row["state"] == "silent":
            return f"nothing from any monitor since {since}"
        return f"records arrive again since {since}"
    site = f" ({row['site']})" if row["site"] else ""
    state = {"listening": "listens again"}.get(row["state"], row["state"])
    return f"{row['monitor']}{site}: {state} since {since}"
