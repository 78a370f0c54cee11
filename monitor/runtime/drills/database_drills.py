"""Drills of the database: a damaged `page`, a `readonly` disk."""

import time
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from monitor.runtime.drills.endpoint import Endpoint, running_endpoint
from monitor.runtime.drills.full_disk import switchable_disk
from monitor.runtime.drills.monitor_process import DrillResult, MonitorProcess, Say
from monitor.runtime.drills.plan import (
    DELIVER_SECONDS,
    DETECT_SECONDS,
    ENDPOINT,
    DrillPlan,
    noise_monitor,
)
from monitor.sinks.alerts.alert import Alert, alert_id
from monitor.sinks.alerts.outbox import write_alerts
from monitor.sinks.store.database import Database, transaction

ALERTS = 100
MOST_LOST = 8
"""Alerts on one page, and on the next where one is cut in two."""

SAY_SECONDS = 30.0
_PAGE_BYTES = 4096


def page(plan: DrillPlan, folder: Path, say: Say) -> DrillResult:
    """Damage a page of pending alerts under the monitor; the others must arrive.

    Raises:
        DrillError: They do not, or no health record says what was done.
    """
    database = folder / "state" / "monitor.db"
    ids = _add_alerts(database)
    with (
        running_endpoint() as endpoint,
        noise_monitor(plan, folder, endpoint) as monitor,
    ):
        _damage(database, f'"event_id": "drill-{ALERTS // 2}"')
        damaged = time.monotonic()
        say(f"a page of {ALERTS} pending alerts is damaged")
        endpoint.open()
        arrived = monitor.wait(
            lambda: len(_arrived(endpoint, ids)) >= ALERTS - MOST_LOST,
            DELIVER_SECONDS,
            "deliver the alerts that can be read",
        )
        monitor.wait(
            lambda: any(r.get("kind") == "database" for r in monitor.records()),
            SAY_SECONDS,
            "say that the database is damaged",
        )
        monitor.wait(
            lambda: monitor.column("SELECT 1 FROM events"), DETECT_SECONDS, "store"
        )
        monitor.stop()
    delivered = [each for each in endpoint.ids if each in ids]
    twice = len(delivered) - len(set(delivered))
    aside = len(list(database.parent.glob("*.damaged-*[0-9]Z")))
    recovery = arrived - damaged
    return DrillResult(
        "page",
        not twice and aside == 1,
        f"{len(set(delivered))} of {ALERTS} pending alerts arrived around the page "
        f"within {recovery:.1f} s; the database was set aside, and a new one goes on",
        recovery,
        {"alerts": ALERTS, "arrived": len(set(delivered)), "twice": twice},
    )


def readonly(plan: DrillPlan, folder: Path, say: Say) -> DrillResult:
    """Make the disk read-only; each alert must arrive once, and be settled afterwards.

    Raises:
        DrillError: One does not, or this user may not mount a disk.
    """
    (folder / "state").mkdir()
    with (
        switchable_disk(folder / "state") as set_writable,
        running_endpoint() as endpoint,
    ):
        ids = _add_alerts(folder / "state" / "monitor.db")
        with noise_monitor(plan, folder, endpoint) as monitor:
            monitor.kill()
        set_writable(False)
        say(f"the disk is read-only, with {ALERTS} pending alerts")
        endpoint.open()
        with noise_monitor(plan, folder, endpoint) as monitor:
            monitor.wait(
                lambda: len(_arrived(endpoint, ids)) == ALERTS,
                DELIVER_SECONDS,
                "deliver the pending alerts",
            )
            monitor.wait(
                lambda: set(endpoint.ids) - set(ids),
                DETECT_SECONDS,
                "deliver a new alert",
            )
            set_writable(True)
            writable = time.monotonic()
            say("the disk is writable again")
            settled = monitor.wait(
                lambda: _is_settled(monitor, endpoint), DELIVER_SECONDS, "store all"
            )
            monitor.stop()
    alerts, twice, recovery = len({*endpoint.ids}), endpoint.twice, settled - writable
    return DrillResult(
        "readonly",
        not twice,
        f"{alerts} alerts arrived, {twice} of them twice; all are recorded "
        f"{recovery:.1f} s after the disk was writable",
        recovery,
        {"alerts": alerts, "twice": twice},
    )


def _add_alerts(path: Path) -> list[str]:
    """Fill a new database with pending alerts; return their ids."""
    now = datetime.now(UTC)
    alerts = [_alert(number, now) for number in range(ALERTS)]
    database = Database(path)
    database.prepare(mends=False)
    with closing(database.connect()) as connection:
        with transaction(connection):
            write_alerts(connection, alerts)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return [alert.id for alert in alerts]


def _alert(number: int, now: datetime) -> Alert:
    event = f"drill-{number}"
    key, (rule, _) = alert_id(ENDPOINT, "onset", event), ENDPOINT.split("/")
    body = {"id": key, "kind": "onset", "event_id": event, "detail": "." * 500}
    deadline = now + timedelta(hours=1)
    return Alert(key, rule, ENDPOINT, "onset", event, body, now, deadline)


def _damage(path: Path, content: str) -> None:
    """Overwrite the page that holds `content`."""
    place = path.read_bytes().rindex(content.encode())
    with path.open("r+b") as file:
        file.seek(place - place % _PAGE_BYTES)
        file.write(b"\xff" * _PAGE_BYTES)


def _arrived(endpoint: Endpoint, ids: Sequence[str]) -> set[str]:
    return set(endpoint.ids) & set(ids)


def _is_settled(monitor: MonitorProcess, endpoint: Endpoint) -> bool:
    recorded = monitor.column("SELECT id FROM alerts WHERE state = 'delivered'")
    return set(endpoint.ids) <= set(recorded)
