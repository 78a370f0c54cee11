"""While the database cannot be written, memory keeps the newest records."""

import logging
import sqlite3
from pathlib import Path

import pytest

from monitor.errors import StoreUnavailableError
from monitor.sinks.store.writer import LAST_RETRY_SECONDS
from tests.support.clock import FakeClock
from tests.support.store import AlertOnEverything, make_store, rows, score_frames
from tests.support.timed import event, frame, onset, statistics


def locked(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection


def test_while_it_cannot_be_written_memory_keeps_the_newest_and_logs_it_once(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.sinks.store.writer.LOCK_SECONDS", 0.01)
    monkeypatch.setattr("monitor.sinks.store.writer.FAILING_LOCK_SECONDS", 0.01)
    clock = FakeClock()
    store = make_store(path, clock, rules=AlertOnEverything(), memory_records=5)
    other = locked(path)
    for number in range(8):
        store.write([onset(number=number), frame(stop_seconds=10.0 + number)])
        clock.advance(0.5)
    assert store.queues["store-records"] == 5
    other.execute("ROLLBACK")
    other.close()
    clock.advance(LAST_RETRY_SECONDS)
    store.report(statistics())
    assert store.queues["store-records"] == 0
    assert rows(path, "SELECT id FROM events") == [
        f"session-street-{number}" for number in range(3, 8)
    ]
    assert rows(path, "SELECT sum(frames) FROM scores") == [8]
    assert [r.levelname for r in caplog.records] == ["ERROR", "ERROR", "WARNING"]
    assert "5 records and 5 alerts came from memory, 6 are lost" in caplog.text
    store.close()


def test_records_lost_at_the_end_are_counted(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.sinks.store.writer.LOCK_SECONDS", 0.01)
    caplog.set_level(logging.ERROR)
    store = make_store(path)
    other = locked(path)
    store.write([onset(), *score_frames(5)])
    store.close()
    other.close()
    assert "1 records, 0 alerts and 5 score frames could not be stored" in caplog.text


def test_a_store_that_follows_writes_what_the_one_before_could_not(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("monitor.sinks.store.writer.LOCK_SECONDS", 0.01)
    monkeypatch.setattr("monitor.sinks.store.writer.FINAL_LOCK_SECONDS", 0.01)
    monkeypatch.setattr("monitor.sinks.store.writer.FAILING_LOCK_SECONDS", 0.01)
    clock, rules = FakeClock(), AlertOnEverything()
    store = make_store(path, clock, rules=AlertOnEverything())
    store.write([onset()])
    other = locked(path)
    store.write([event(), *score_frames(5)])
    store.close()
    store = make_store(path, clock, rules=rules, before=store)
    assert rules.count == 2
    other.close()
    clock.advance(LAST_RETRY_SECONDS)
    store.report(statistics())
    assert "1 records and 1 alerts came from memory, 0 are lost" in caplog.text
    assert rows(path, "SELECT end_reason FROM events") == ["offset"]
    assert rows(path, "SELECT kind FROM alerts") == ["onset", "end"]
    assert rows(path, "SELECT sum(frames) FROM scores") == [5]
    store.close()


def test_a_store_that_cannot_be_opened_at_first_opens_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    (tmp_path / "state").write_text("in the way")
    path = tmp_path / "state" / "monitor.db"
    store = make_store(path, clock, rules=AlertOnEverything())
    store.write([onset()])
    assert store.queues["store-records"] == 1
    (tmp_path / "state").unlink()
    clock.advance(LAST_RETRY_SECONDS)
    store.report(statistics())
    assert rows(path, "SELECT id FROM alerts") == ["session-street-1/onset"]
    store.close()


def test_rules_that_ran_before_it_opened_are_not_set_back(tmp_path: Path) -> None:
    clock = FakeClock()
    earlier = make_store(tmp_path / "moved" / "monitor.db", rules=AlertOnEverything())
    earlier.write([onset(number=1), event(number=1)])
    earlier.close()
    state = tmp_path / "state"
    state.write_text("in the way")
    rules = AlertOnEverything()
    store = make_store(state / "monitor.db", clock, run="next", rules=rules)
    store.write([onset(number=2)])
    state.unlink()
    (tmp_path / "moved").rename(state)
    clock.advance(LAST_RETRY_SECONDS)
    store.report(statistics())
    store.close()
    assert rules.count == 1
    assert rows(state / "monitor.db", "SELECT state FROM rule_state") == [
        '{"count": 1}'
    ]


def test_the_analysis_waits_for_another_writer_for_a_second_at_most(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The longest wait that SQLite is given, and the pauses while nothing is tried."""
    monkeypatch.setattr("monitor.sinks.store.writer.FAILING_LOCK_SECONDS", 0.001)
    clock = FakeClock()
    store = make_store(path, clock, rules=AlertOnEverything())
    waits: list[float] = []

    def trace(statement: str) -> None:
        if statement.startswith("PRAGMA busy_timeout"):
            waits.append(int(statement.split("=")[1]) / 1000)

    connection = store._writer._connection._connection
    assert connection is not None
    connection.set_trace_callback(trace)
    store.write([onset(number=0)])
    assert waits == [pytest.approx(1.0)]
    monkeypatch.setattr("monitor.sinks.store.writer.LOCK_SECONDS", 0.001)
    other = locked(path)
    waits.clear()
    for number in range(1, 100):
        store.write([onset(number=number), frame(stop_seconds=10.0 + number)])
        clock.advance(0.2)
    other.close()
    assert len(waits) < 8  # 1 + 2 + 4 + 8 s between the tries
    clock.advance(LAST_RETRY_SECONDS)
    store.report(statistics())
    assert rows(path, "SELECT count(*) FROM events") == [100]
    assert rows(path, "SELECT count(*) FROM alerts") == [100]
    store.close()


def test_a_wrong_statement_sets_the_file_aside_once_and_no_more(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is the sign of a damaged schema, the second a fault of the program."""
    store = make_store(path)
    store.write([onset()])
    writer, errors = store._writer, list[Exception]()
    set_aside = writer.set_aside

    def counted(error: Exception) -> None:
        errors.append(error)
        set_aside(error)

    monkeypatch.setattr(writer, "set_aside", counted)
    for _ in range(3):
        with pytest.raises(StoreUnavailableError):
            writer.write(
                lambda connection, _: connection.execute("SELECT no_such_column"),
                synced=True,
            )
    assert len(errors) == 1
    store.close()
