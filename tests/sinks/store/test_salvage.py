"""A damaged database is set aside, and everything that can be read is carried over."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from monitor.errors import StoreUnavailableError
from monitor.records import HealthState
from monitor.sinks.alerts.alert import Attempt, Entry
from monitor.sinks.alerts.outbox import Outbox, write_alerts
from monitor.sinks.alerts.pending import PendingAlerts
from monitor.sinks.store.database import Database, transaction
from tests.support.alerts import NOW, alert
from tests.support.clock import FakeClock
from tests.support.damage import damage_page
from tests.support.store import AlertOnEverything, make_store, open_database, rows
from tests.support.timed import event, onset, statistics

PENDING = 214
ENDPOINT = "siren/webhook"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A database with 214 pending alerts of some size, events and rule state."""
    path = tmp_path / "monitor.db"
    store = make_store(path, rules=AlertOnEverything(), run="before")
    store.write([event(number=number) for number in range(300)])
    store.close()
    with closing(open_database(path).connect()) as connection:
        connection.execute("DELETE FROM alerts")
        with transaction(connection):
            write_alerts(
                connection, [alert(n, notes="x" * 500) for n in range(PENDING)]
            )
    return path


def pending_numbers(database: Database) -> list[int]:
    """Deliver everything; return the numbers in their order."""
    pending = PendingAlerts(ENDPOINT, Outbox(database), FakeClock())
    numbers = []
    while (entry := pending.first()) is not None:
        assert len(numbers) <= PENDING + 1, "an alert comes again and again"
        numbers.append(entry.alert.body["number"])
        pending.record(delivered(entry), Attempt(NOW, "delivered", "", 0.1))
    pending.close()
    return numbers


def delivered(entry: Entry) -> Entry:
    return Entry(entry.alert, "delivered", 1, entry.next_attempt, None, entry.sequence)


def test_a_bad_page_costs_its_own_alerts_only(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage_page(path, alert(100).id.encode())
    before = path.read_bytes()
    rules = AlertOnEverything()
    store = make_store(path, run="after", rules=rules)
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == before
    kept = rows(path, "SELECT count(*) FROM alerts WHERE state = 'pending'")[0]
    assert PENDING - 12 <= kept < PENDING
    (message,) = (it.getMessage() for it in caplog.records if it.levelname == "ERROR")
    assert f"carried over {kept} of {PENDING} pending alerts" in message
    assert "300 of 300 events" in message
    assert aside.name in message
    assert rules.count == 300
    assert rows(path, "SELECT count(*) FROM events_read") == [300]
    store.write([onset(number=999)])
    store.close()
    assert len(pending_numbers(store.database)) == kept


def numbers_lost(numbers: list[int]) -> list[int]:
    return sorted(set(range(PENDING)) - set(numbers))


def test_the_others_are_delivered_before_the_file_can_be_set_aside(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damage_page(path, alert(100).id.encode())
    database = Database(path)
    numbers = pending_numbers(database)
    lost = numbers_lost(numbers)
    assert 100 in lost
    assert len(lost) < 12
    assert numbers == sorted(numbers)
    assert len(caplog.records) == len(lost)
    assert database.take_reported() is not None
    assert database.take_reported() is None


def test_the_store_sets_aside_what_a_sender_could_not_read(path: Path) -> None:
    clock = FakeClock()
    database = Database(path)
    said: list[tuple[HealthState, str]] = []
    store = make_store(
        path,
        clock,
        run="after",
        damage=database.take_reported,
        health=lambda state, detail: said.append((state, detail)),
    )
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage_page(path, alert(100).id.encode())
    store.report(statistics())
    assert not said
    delivered_first = pending_numbers(database)
    store.report(statistics())
    ((state, detail),) = said
    assert state == "raised"
    assert "pending alerts" in detail
    assert list(path.parent.glob("*.damaged-*"))
    assert pending_numbers(database) == []
    assert len(delivered_first) > PENDING - 12
    clock.advance(60)
    store.report(statistics())
    assert said[1:] == [("cleared", "")]
    store.close()


def test_what_became_of_alerts_during_the_copy_is_not_lost(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monitor.sinks.store import database as module

    database, copy = Database(path), module.salvage

    def salvage(old: sqlite3.Connection, new: sqlite3.Connection, now_ms: int) -> str:
        numbers = copy(old, new, now_ms)
        assert len(pending_numbers(database)) == PENDING
        return numbers

    monkeypatch.setattr(module, "salvage", salvage)
    database.set_aside(OSError("for a test"))
    assert pending_numbers(database) == []


def test_an_outcome_that_went_into_the_old_file_is_recorded_again(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from monitor.sinks.alerts import outbox as module

    write = module._record

    def write_late(connection: sqlite3.Connection, *entry: Any) -> bool:
        path.rename(path.with_name("aside"))
        return write(connection, *entry)

    monkeypatch.setattr(module, "_record", write_late)
    with closing(Outbox(Database(path))) as outbox:
        entry = outbox.head(ENDPOINT)
        assert isinstance(entry, Entry)
        with pytest.raises(StoreUnavailableError, match="set aside meanwhile"):
            outbox.record(delivered(entry), Attempt(NOW, "delivered", "", 0.1))


def a_wrong_type(content: bytearray) -> None:
    place = content.index(b"next_attempt_ms INTEGER")
    content[place : place + 23] = b"next_attempt_ms INTEGDR"


def no_header(content: bytearray) -> None:
    content[:100] = bytes(100)


def no_list_of_tables(content: bytearray) -> None:
    content[:4096] = b"\xff" * 4096


@pytest.mark.parametrize("damage", [a_wrong_type, no_header, no_list_of_tables])
@pytest.mark.parametrize("is_logged", [False, True])
def test_rows_are_found_without_the_list_of_tables(
    path: Path,
    damage: Callable[[bytearray], None],
    is_logged: bool,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = path.with_name("monitor.db-wal")
    late = b""
    if is_logged:  # as a monitor leaves it that is killed
        with closing(Database(path).connect()) as connection:
            with transaction(connection):
                write_alerts(connection, [alert(PENDING)])
            late = log.read_bytes()
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    if is_logged:
        log.write_bytes(late)
    database = Database(path)
    database.prepare()
    pending = PENDING + is_logged
    assert f"carried over {pending:,} of {pending:,} pending" in caplog.text
    assert "300 of 300 events" in caplog.text
    assert len(pending_numbers(database)) == pending
    assert not list(path.parent.glob("*.mended*"))
