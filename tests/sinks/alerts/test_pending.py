"""While the database fails, alerts are delivered from memory, once and in order."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from monitor.sinks.alerts.alert import Attempt
from monitor.sinks.alerts.outbox import Outbox, write_alerts
from monitor.sinks.alerts.pending import MEMORY_ALERTS, STORING_SECONDS, PendingAlerts
from monitor.sinks.store.database import Database, transaction
from tests.support.alerts import NOW, alert
from tests.support.clock import FakeClock
from tests.support.store import open_database

ENDPOINT = "siren/webhook"
DELIVERED = Attempt(NOW, "delivered", "", 0.1)


@contextmanager
def pending_alerts(database: Database, clock: FakeClock) -> Iterator[PendingAlerts]:
    pending = PendingAlerts(ENDPOINT, Outbox(database), clock)
    try:
        yield pending
    finally:
        pending.close()


def test_an_alert_has_some_time_to_be_stored(tmp_path: Path) -> None:
    clock = FakeClock()
    with pending_alerts(Database(tmp_path / "monitor.db"), clock) as pending:
        pending.offer([alert(1), alert(2, "other/webhook")])
        clock.advance(STORING_SECONDS - 0.1)
        assert pending.first() is None
        clock.advance(0.2)
        entry = pending.first()
        assert entry is not None
        assert entry.alert == alert(1)


def test_a_pause_after_a_failure_holds_without_a_database(tmp_path: Path) -> None:
    clock = FakeClock()
    with pending_alerts(Database(tmp_path / "monitor.db"), clock) as pending:
        pending.offer([alert(1), alert(2)])
        clock.advance(STORING_SECONDS)
        entry = pending.first()
        assert entry is not None
        later = replace(entry, attempts=1, next_attempt=NOW + timedelta(hours=1))
        pending.record(later, Attempt(NOW, "retry", "down", 0.1))
        assert pending.first() == later
        pending.record(replace(later, state="delivered"), DELIVERED)
        second = pending.first()
        assert second is not None
        assert second.alert == alert(2)


def test_the_outcome_of_a_deleted_alert_is_dropped(tmp_path: Path) -> None:
    database = open_database(tmp_path / "monitor.db")
    with closing(database.connect()) as connection, transaction(connection):
        write_alerts(connection, [alert(1)])
    with (
        pending_alerts(database, FakeClock()) as pending,
        closing(Outbox(database)) as outbox,
    ):
        entry = pending.first()
        assert entry is not None
        assert outbox.drop(entry.alert.id)
        pending.record(replace(entry, state="delivered"), DELIVERED)
        assert not pending.holds_memory
        (dropped,) = outbox.entries()
        assert (dropped.state, dropped.attempts) == ("dropped", 0)


class FickleDatabase(Database):
    """May be read-only, as on a card that the system has mounted so."""

    is_read_only = False

    def connect(self, *, read_only: bool = False) -> sqlite3.Connection:
        return super().connect(read_only=read_only or self.is_read_only)


def deliver_all(pending: PendingAlerts, limit: int) -> list[int]:
    """Deliver what there is; return the numbers in their order."""
    numbers: list[int] = []
    while (entry := pending.first()) is not None and len(numbers) <= limit:
        numbers.append(entry.alert.body["number"])
        pending.record(replace(entry, state="delivered", attempts=1), DELIVERED)
    return numbers


def test_a_read_only_database_has_nothing_sent_twice_however_much_waits(
    tmp_path: Path,
) -> None:
    count, new = MEMORY_ALERTS + 100, MEMORY_ALERTS + 200
    database = FickleDatabase(tmp_path / "monitor.db")
    database.prepare()
    with closing(database.connect()) as connection, transaction(connection):
        write_alerts(connection, [alert(number) for number in range(count)])
    database.is_read_only = True
    clock = FakeClock()
    with (
        pending_alerts(database, clock) as pending,
        closing(Outbox(Database(database.path))) as outbox,
    ):
        assert deliver_all(pending, count) == list(range(count))
        made = [alert(number) for number in range(count, count + new)]
        for each in made:
            pending.offer([each])
            clock.advance(STORING_SECONDS)
            assert deliver_all(pending, 1) == [each.body["number"]]
        database.is_read_only = False
        # Until the store has written them, the database does not know the new ones.
        assert pending.first() is None
        with closing(database.connect()) as connection, transaction(connection):
            write_alerts(connection, made)
        pending.confirm()
        assert pending.first() is None
        assert {entry.state for entry in outbox.entries()} == {"delivered"}
        assert not pending.holds_memory


def test_an_alert_that_makes_no_sense_is_dead_and_the_others_go_on(
    tmp_path: Path,
) -> None:
    database = open_database(tmp_path / "monitor.db")
    changes = (
        "body = '{'",
        "body = '[]'",
        "body = replace(body, 'siren', char(0x5c) || 'ud800')",
        "body = CAST(x'ff' AS TEXT)",
        "id = 'another'",
        "kind = 'onse'",
        "deadline_ms = -1",
        "deadline_ms = 9223372036854775807",
        "attempts = -5",
    )
    with closing(database.connect()) as connection:
        with transaction(connection):
            write_alerts(connection, [alert(n) for n in range(len(changes) + 1)])
        for number, change in enumerate(changes):
            connection.execute(
                f"UPDATE alerts SET {change} WHERE sequence = ?", (number + 1,)
            )
    with (
        pending_alerts(database, FakeClock()) as pending,
        closing(Outbox(database)) as outbox,
    ):
        assert deliver_all(pending, 20) == [len(changes)]
        pending.first()
        assert len(outbox.entries(["delivered"])) == 1
        dead = outbox.entries(["dead"])
        assert len(dead) == len(changes)
        assert all("makes no sense" in (entry.last_error or "") for entry in dead)
        # One that is made pending again is still none that can be sent.
        assert outbox.retry(dead[0].alert.id, NOW, NOW)
        assert deliver_all(pending, 20) == []
