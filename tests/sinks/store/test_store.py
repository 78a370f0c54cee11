"""The store keeps all records, and none by halves."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from monitor.config.outputs import StoreSettings
from monitor.errors import StoreError
from monitor.records import Event, Timed
from monitor.sinks.store.store import Store
from tests.support.clock import FakeClock
from tests.support.store import (
    AlertOnEverything,
    make_store,
    rows,
    score_frames,
    session,
)
from tests.support.timed import event, gap, onset, samples, state, statistics


def frames(seconds: float, source: str = "street") -> list[Timed]:
    return score_frames(int(seconds * 44_100 / 24_576), source)


def test_an_onset_is_in_the_database_when_write_returns(path: Path) -> None:
    store = make_store(path)
    store.write([onset()])
    assert rows(path, "SELECT label, end_reason, end_ms FROM events") == [
        ("siren", None, None)
    ]
    store.close()


def test_an_event_completes_the_row_of_its_onset(path: Path) -> None:
    store = make_store(path)
    store.write([onset(start_seconds=13.4)])
    store.write([event(start_seconds=13.0)])
    store.close()
    assert rows(
        path, "SELECT start_sample, stop_sample, end_reason, level_dbfs FROM events"
    ) == [(samples(13.0), samples(13.0) + samples(6.7), "offset", -21.04)]


def test_an_event_without_onset_and_a_repeated_record_are_one_row(path: Path) -> None:
    store = make_store(path)
    store.write([event(number=1)])
    store.write([event(number=1), onset(number=2)])
    store.write([onset(number=2)])
    store.close()
    assert rows(path, "SELECT count(*) FROM events") == [2]


def test_gaps_are_kept_and_states_are_not(path: Path) -> None:
    store = make_store(path)
    store.write([state(), gap(reason="stalled")])
    store.close()
    assert rows(path, "SELECT reason, stop_sample - start_sample FROM gaps") == [
        ("stalled", samples(32.3) - samples(30))
    ]


def test_a_record_without_time_of_day_is_kept_by_its_arrival(path: Path) -> None:
    clock = FakeClock()
    store = make_store(path, clock)
    store.write([event(opened=None)])
    store.close()
    arrival = int(clock.wall.timestamp() * 1000)
    assert rows(path, "SELECT at_ms, start_ms, end_ms FROM events") == [
        (arrival, None, None)
    ]


def test_numbers_that_are_not_finite_are_stored_as_unknown(path: Path) -> None:
    store = make_store(path)
    timed = event()
    assert isinstance(timed.record, Event)
    record = replace(timed.record, laeq_db=float("nan"), level_dbfs=float("-inf"))
    store.write([replace(timed, record=record)])
    store.close()
    assert rows(path, "SELECT laeq_db, level_dbfs FROM events") == [(None, None)]


def test_scores_are_written_every_ten_seconds_whatever_events_there_are(
    path: Path,
) -> None:
    """With each event of one source, the rows of all would be encoded again."""
    clock = FakeClock()
    store = make_store(path, clock)
    store.write([*frames(5), onset()])
    assert rows(path, "SELECT count(*) FROM events") == [1]
    assert rows(path, "SELECT count(*) FROM scores") == [0]
    clock.advance(5.0)
    store.write([onset(number=2)])
    clock.advance(5.0)
    store.report(statistics())
    assert rows(path, "SELECT frames FROM scores") == [8]
    store.write([*frames(9)[8:], onset(number=3)])
    assert rows(path, "SELECT frames FROM scores") == [8]
    clock.advance(10.0)
    store.report(statistics())
    assert rows(path, "SELECT frames FROM scores") == [16]
    store.close()


@pytest.mark.parametrize(
    ("record", "level"),
    [(onset(), "FULL"), (event(), "FULL"), (gap(), "FULL"), (None, "NORMAL")],
)
def test_records_are_synced_and_scores_alone_are_not(
    path: Path, record: Timed | None, level: str
) -> None:
    clock = FakeClock()
    store = make_store(path, clock)
    connection = store._writer._connection._connection
    assert connection is not None
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    clock.advance(10.0)
    store.write([*frames(3), *([record] if record else [])])
    begin = statements.index("BEGIN IMMEDIATE")
    assert f"PRAGMA synchronous = {level}" in statements[:begin]
    assert statements.count("COMMIT") == 1
    store.close()


def test_a_row_of_scores_holds_about_a_minute(path: Path) -> None:
    store = make_store(path)
    store.write([*frames(200), *frames(61, "yard")])
    store.close()
    found = rows(
        path,
        "SELECT source_name, frames, end_ms - start_ms FROM scores_read "
        "ORDER BY source_name, start_ms",
    )
    assert [count for name, count, _ in found if name == "street"] == [
        101,
        101,
        101,
        55,
    ]
    assert all(milliseconds <= 60_000 for *_, milliseconds in found)


def test_scores_on_both_sides_of_a_gap_are_rows_of_their_own(path: Path) -> None:
    store = make_store(path)
    scored = frames(30)
    store.write([*scored[:10], gap(), *scored[20:]])
    store.close()
    assert rows(path, "SELECT frames FROM scores") == [10, len(scored) - 20]


def test_alerts_are_committed_with_their_records(path: Path) -> None:
    woken: list[list[object]] = []
    store = make_store(
        path,
        rules=AlertOnEverything(),
        committed=lambda: woken.append(rows(path, "SELECT id, state FROM alerts")),
    )
    store.write(frames(3))
    store.write([onset()])
    assert woken == [[("session-street-1/onset", "pending")]]
    assert rows(path, "SELECT state FROM rule_state") == ['{"count": 1}']
    store.close()


def test_alerts_that_follow_from_time_are_committed_by_report(path: Path) -> None:
    rules, clock = AlertOnEverything(), FakeClock()
    store = make_store(path, clock, rules=rules)
    rules.due = [rules.alert("digest", "digest", None, clock.utc())]
    store.report(statistics())
    assert rows(path, "SELECT id, kind FROM alerts") == [("digest", "digest")]
    store.close()


def test_an_alert_that_is_there_stays_as_it_is(path: Path) -> None:
    store = make_store(path, rules=AlertOnEverything())
    store.write([onset()])
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alerts SET state = 'delivered'")
    connection.close()
    store.write([onset()])
    assert rows(path, "SELECT state FROM alerts") == ["delivered"]
    store.close()


def test_rules_keep_their_state_over_a_restart(path: Path) -> None:
    store = make_store(path, rules=AlertOnEverything())
    store.write([onset(), event()])
    store.close()
    rules = AlertOnEverything()
    make_store(path, run="next", rules=rules).close()
    assert rules.count == 2


def kill(store: object) -> None:
    """Leave the database as a killed process does: nothing more is written."""
    store._writer.close()


def test_open_events_of_a_killed_monitor_end_as_interrupted(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    store = make_store(path, clock, rules=AlertOnEverything())
    scored = frames(30)
    clock.advance(10.0)
    store.write([onset(start_seconds=13.4), *scored, event(number=2)])
    kill(store)
    rules = AlertOnEverything()
    store = make_store(path, run="next", rules=rules)
    last = scored[-1]
    assert last.end_utc is not None
    assert rows(path, "SELECT stop_sample, end_ms, end_reason FROM events") == [
        (
            last.record.stop,
            pytest.approx(last.end_utc.timestamp() * 1000, abs=1),
            "interrupted",
        ),
        (samples(13.4) + samples(6.7), 1795413380100, "offset"),
    ]
    assert rows(path, "SELECT id FROM alerts ORDER BY sequence")[-1].endswith("1/end")
    assert rules.count == 3
    assert "1 events or health problems" in caplog.text
    store.close()


def test_opening_the_file_again_ends_no_event_of_this_run(path: Path) -> None:
    store = make_store(path)
    store.write([onset()])
    store.reopen()
    assert rows(path, "SELECT end_reason FROM events") == [None]
    store.write([event()])
    store.close()
    assert rows(path, "SELECT end_reason FROM events") == ["offset"]


def test_a_file_that_is_moved_away_is_followed_by_a_new_one(
    path: Path, tmp_path: Path
) -> None:
    store = make_store(path)
    store.write([onset(number=1), *frames(3)])
    path.rename(tmp_path / "old.db")
    store.write([onset(number=2)])
    store.close()
    assert rows(path, "SELECT id FROM events") == ["session-street-2"]
    assert rows(path, "SELECT session FROM sessions") == ["session"]


def test_a_monitor_whose_lock_another_has_taken_stops_writing(path: Path) -> None:
    store = make_store(path)
    path.with_name("monitor.db.lock").unlink()
    second = make_store(path, run="second")
    with pytest.raises(StoreError, match="another monitor"):
        store.report(statistics())
    second.close()
    store.close()


@pytest.mark.parametrize("is_removed", [False, True])
def test_a_second_monitor_is_rejected_and_the_first_goes_on(
    path: Path, is_removed: bool
) -> None:
    store = make_store(path)
    store.write([onset()])
    if is_removed:
        path.with_name("monitor.db.lock").unlink()
        store.report(statistics())
    with pytest.raises(StoreError, match="another monitor"):
        make_store(path, run="second")
    store.write([event()])
    store.close()
    assert rows(path, "SELECT end_reason FROM events") == ["offset"]
    make_store(path, run="third").close()


def test_damage_while_it_runs_sets_the_file_aside_and_loses_nothing(
    path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = make_store(path, rules=AlertOnEverything())
    store.write([onset(number=1)])
    store.reopen()
    with path.open("r+b") as file:
        file.write(b"nothing of a database" * 1000)
    store.write([onset(number=2)])
    store.write([event(number=1)])
    store.close()
    assert rows(path, "SELECT id FROM events ORDER BY sequence") == [
        "session-street-1",  # the write-ahead log has it
        "session-street-2",
    ]
    assert len(list(tmp_path.glob("monitor.db.damaged-*"))) >= 1
    assert [r.levelname for r in caplog.records] == ["ERROR"]


def test_an_orderly_end_is_stored(path: Path) -> None:
    make_store(path).close()
    assert rows(path, "SELECT ended_ms IS NOT NULL FROM sessions") == [1]


def test_a_store_that_follows_goes_on_with_the_session(path: Path) -> None:
    clock = FakeClock()
    store = make_store(path, clock)
    store.write([onset(), *frames(20)])
    store.close()
    store = make_store(path, clock)
    assert rows(path, "SELECT ended_ms FROM sessions") == [None]
    assert store.take_recovered() == []
    store.write([event()])
    store.close()
    other = replace(session(), session="second", model="other", labels=("a", "b"))
    store = Store(path, StoreSettings(), other, clock)
    assert store.take_recovered() == []
    store.write(frames(30)[-5:])
    store.write([onset(number=2)])
    store.close()
    assert rows(path, "SELECT session, model, ended_ms IS NULL FROM sessions") == [
        ("session", "urban", 0),
        ("second", "other", 0),
    ]
    assert rows(path, "SELECT session_name, frames FROM scores_read") == [
        ("session", len(frames(20))),
        ("second", 5),
    ]
    assert rows(path, "SELECT session_name FROM events_read") == ["session", "second"]


def test_interrupted_events_are_found_once(path: Path) -> None:
    killed = make_store(path)
    killed.write([onset()])
    kill(killed)
    store = make_store(path, run="second")
    (found,) = store.take_recovered()
    assert isinstance(found.record, Event)
    assert found.record.end_reason == "interrupted"
    assert store.take_recovered() == []
    store.close()


def test_the_log_that_a_reader_kept_growing_is_cut_when_it_has_gone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitor.sinks.store.writer.LOG_BYTES", 200_000)
    store = make_store(path)
    log = Path(f"{path}-wal")
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM events").fetchone()
        for number in range(100):
            store.write([onset(number=number)])
        assert log.stat().st_size > 1_000_000
    for number in range(100, 103):
        store.write([onset(number=number)])
    assert log.stat().st_size == 200_000
    store.close()
