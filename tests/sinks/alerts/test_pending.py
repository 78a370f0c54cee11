"""While the database fails, alerts are delivered from memory, once and in order."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from monitor.sinks.alerts.alert import Attempt
from monitor.sinks.alerts.outbox import Outbox, write_alerts
from monitor.sinks.alerts.pending import STORING_SECONDS, PendingAlerts
from monitor.sinks.store.database import Database, open_database, transaction
from tests.support.alerts import NOW, alert
from tests.support.clock import FakeClock

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
