"""The outbox lists alerts and attempts, and counts those without an endpoint."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.sinks.alerts.alert import Attempt
from monitor.sinks.alerts.outbox import MOST_ATTEMPTS, Outbox, write_alerts
from monitor.sinks.store.database import transaction
from tests.support.alerts import NOW, alert
from tests.support.store import open_database


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    """Alerts of two rules, of which one each has an hour and a day."""
    database = open_database(tmp_path / "monitor.db")
    alerts = [
        alert(1, "gone/webhook", seconds=3600),
        alert(2, "gone/webhook"),
        alert(3, "siren/webhook", seconds=3600),
        alert(4, "siren/webhook"),
    ]
    with closing(database.connect()) as connection, transaction(connection):
        write_alerts(connection, alerts)
    with closing(Outbox(database)) as outbox:
        yield outbox


def states(outbox: Outbox) -> list[str]:
    return [entry.state for entry in outbox.entries()]


def test_alerts_without_an_endpoint_are_counted(outbox: Outbox) -> None:
    assert outbox.count_orphans(["siren/webhook"]) == 2
    assert outbox.count_orphans(["siren/webhook", "gone/webhook"]) == 0
    assert states(outbox) == ["pending"] * 4


def test_the_newest_attempts_are_kept_and_all_are_counted(outbox: Outbox) -> None:
    entry = outbox.entries()[0]
    for number in range(1, 2 * MOST_ATTEMPTS):
        entry = replace(entry, attempts=number)
        outbox.record(entry, Attempt(NOW, "retry", f"attempt {number}", 0.1))
    kept = [attempt.detail for attempt in outbox.attempts(entry.alert.id)]
    numbers = range(MOST_ATTEMPTS, 2 * MOST_ATTEMPTS)
    assert kept == [f"attempt {number}" for number in numbers]
    assert outbox.entries()[0].attempts == 2 * MOST_ATTEMPTS - 1


def test_a_lock_of_another_process_delays_no_alert_by_more_than_a_second(
    outbox: Outbox,
) -> None:
    statements: list[str] = []
    outbox._connection.set_trace_callback(statements.append)
    outbox.record(outbox.entries()[0], Attempt(NOW, "delivered", "", 0.1))
    begin = statements.index("BEGIN IMMEDIATE")
    (wait,) = [it for it in statements[:begin] if "busy_timeout" in it]
    assert int(wait.split("=")[1]) <= 1000


def test_the_newest_entries_come_oldest_first(outbox: Outbox) -> None:
    numbers = [entry.alert.body["number"] for entry in outbox.entries(limit=3)]
    assert numbers == [2, 3, 4]
    assert [e.alert.rule for e in outbox.entries(rule="gone")] == ["gone", "gone"]
    outbox.drop(alert(4, "siren/webhook").id)
    assert len(outbox.entries(["pending"], "siren")) == 1
