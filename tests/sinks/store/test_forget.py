"""Forgotten records are gone from the file, and stay away."""

import sqlite3
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from monitor.sinks.encoding import encode_line
from monitor.sinks.event_log import erase_lines
from monitor.sinks.store.forget import count, forget, newest_session_start
from tests.support.clock import FakeClock
from tests.support.health import trouble
from tests.support.store import AlertOnEverything, make_store, rows, score_frames
from tests.support.timed import OPENED, event, frame, gap, onset


def at(seconds: float) -> datetime:
    return OPENED + timedelta(seconds=seconds)


def bytes_of(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def test_forgetting_everything_leaves_no_byte_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "monitor.db"
    store = make_store(path, rules=AlertOnEverything())
    store.write([event("orchard", label="xylophone"), gap("orchard"), frame("orchard")])
    store.close()
    assert b"xylophone" in bytes_of(tmp_path)
    forgotten = forget(path, None, at(3600))
    assert (forgotten.events, forgotten.gaps) == (1, 1)
    assert (forgotten.score_frames, forgotten.alerts) == (1, 1)
    for table in ("events", "gaps", "scores", "alerts", "rule_state"):
        assert rows(path, f"SELECT count(*) FROM {table}") == [0]
    assert b"xylophone" not in bytes_of(tmp_path)


def test_records_before_the_given_time_are_kept(path: Path) -> None:
    clock = FakeClock()
    clock.wall = at(15)
    store = make_store(path, clock, rules=AlertOnEverything())
    store.write([event(number=1, start_seconds=10, seconds=5)])
    clock.advance(10)
    store.write([event(number=2, start_seconds=20, seconds=5, label="xylophone")])
    store.write([gap(start_seconds=5), gap(start_seconds=50)])
    store.write(score_frames(200))
    store.close()
    expected = count(path, at(22))
    assert forget(path, at(22), at(3600)) == expected
    assert expected.events == 1
    assert rows(path, "SELECT id FROM events") == ["session-street-1"]
    assert rows(path, "SELECT count(*) FROM gaps") == [1]
    # Rows of a minute each, of which the first began before.
    assert rows(path, "SELECT count(*) FROM scores") == [0]
    assert expected.since == at(0)
    assert b"xylophone" not in path.read_bytes()


def test_the_file_shrinks(path: Path) -> None:
    store = make_store(path)
    for number in range(40):
        store.write([event(number=number * 100 + n) for n in range(100)])
    store.close()
    before = path.stat().st_size
    forget(path, None, at(3600))
    assert path.stat().st_size < before / 4


def test_a_running_monitor_does_not_store_forgotten_records_again(
    path: Path,
) -> None:
    clock = FakeClock()
    store = make_store(path, clock, rules=AlertOnEverything())
    frames = score_frames(200)
    store.write([onset(number=1, start_seconds=13), *frames[:60]])
    forget(path, None, at(40))
    # The row that grows, and the event that goes on, began before.
    clock.advance(10.0)
    store.write([*frames[60:70], event(number=1, start_seconds=13, seconds=40)])
    assert rows(path, "SELECT count(*) FROM scores") == [0]
    assert rows(path, "SELECT count(*) FROM events") == [0]
    clock.advance(10.0)
    store.write([*frames[70:], event(number=2, start_seconds=100)])
    assert rows(path, "SELECT id FROM events") == ["session-street-2"]
    first = rows(path, "SELECT min(start_ms) FROM scores")[0]
    assert first > at(40).timestamp() * 1000
    store.close()


def test_a_later_run_whose_clock_was_set_back_is_stored(path: Path) -> None:
    make_store(path, run="first").close()
    forget(path, None, at(3600))
    store = make_store(path, run="second")
    store.write([*score_frames(10), event()])
    store.close()
    assert rows(path, "SELECT count(*) FROM scores") == [1]
    assert rows(path, "SELECT count(*) FROM events") == [1]


def test_lines_of_the_event_log_are_erased(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    old = [event(number=n, start_seconds=10 * n, seconds=5) for n in (1, 2)]
    new = [event(number=n, start_seconds=10 * n, seconds=5) for n in (3, 4)]
    unknown = event(number=9, opened=None)
    lines = [encode_line(timed) or b"" for timed in (*old, *new, unknown)]
    log.with_name("events.jsonl.1").write_bytes(lines[0])
    log.write_bytes(b"".join(lines[1:]))
    with log.open("ab", buffering=0) as writer:
        assert erase_lines(log, at(28)) == 2
        writer.write(lines[3])
    assert log.read_bytes() == lines[1] + lines[4] + lines[3]
    assert erase_lines(log, None) == 4
    assert log.read_bytes() == b""
    assert log.with_name("events.jsonl.1").read_bytes() == b""


def test_the_beginning_of_an_event_is_erased_with_its_end(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    before, across, ongoing = (
        onset(number=n, start_seconds=start) for n, start in ((1, 5), (2, 20), (3, 25))
    )
    ends = [
        event(number=1, start_seconds=5, seconds=10),
        event(number=2, start_seconds=20, seconds=10),
    ]
    records = (before, ends[0], across, ongoing, ends[1])
    lines = [encode_line(timed) or b"" for timed in records]
    log.with_name("events.jsonl.1").write_bytes(b"".join(lines[:4]))
    log.write_bytes(lines[4])
    assert erase_lines(log, at(28)) == 3
    assert log.with_name("events.jsonl.1").read_bytes() == lines[0] + lines[1]
    assert log.read_bytes() == b""


def test_a_beginning_whose_end_line_was_lost_is_not_taken_for_going_on(
    tmp_path: Path,
) -> None:
    log = tmp_path / "events.jsonl"
    records = (onset(number=n, start_seconds=30 * n) for n in (1, 2, 4))
    lost, ongoing, new = (encode_line(timed) or b"" for timed in records)
    log.write_bytes(lost + ongoing + new)
    assert erase_lines(log, at(100), session_start=at(50)) == 2
    assert log.read_bytes() == lost


def test_the_newest_session_began_with_the_newest_run(tmp_path: Path) -> None:
    clock = FakeClock()
    for run, start in (("first", at(0)), ("second", at(50))):
        clock.wall = start
        make_store(tmp_path / "monitor.db", clock, run=run).close()
    assert newest_session_start(tmp_path / "monitor.db") == at(50)


@pytest.mark.parametrize("content", [b"", b"half a li", b"{}\n[]\n3\n"])
def test_lines_that_are_no_records_stay_unless_all_are_erased(
    tmp_path: Path, content: bytes
) -> None:
    log = tmp_path / "events.jsonl"
    log.write_bytes(content)
    assert erase_lines(log, at(0)) == 0
    assert log.read_bytes() == content
    erase_lines(log, None)
    assert log.read_bytes() == b""


def test_what_waits_in_memory_does_not_come_back(path: Path) -> None:
    clock = FakeClock()
    clock.wall = at(20)
    rules = AlertOnEverything()
    confirmed: list[int] = []
    store = make_store(
        path, clock, rules=rules, committed=lambda: confirmed.append(rules.count)
    )
    store.write([onset(number=1, start_seconds=5)])
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    store._retry.fail(clock.monotonic())  # the waits are short then
    clock.advance(1)
    store.write(
        [
            onset(number=2, start_seconds=10),
            gap(start_seconds=15),
            trouble("raised", start_seconds=16),
            *score_frames(30),
        ]
    )
    assert store.queues["store-records"] == 3
    blocker.execute("ROLLBACK")
    blocker.close()
    forget(path, None, at(30))
    clock.advance(20)
    confirmed.clear()
    store.write(
        [
            event(number=1, start_seconds=5, seconds=40),
            event(number=2, start_seconds=10, seconds=40),
            onset(number=3, start_seconds=35),
        ]
    )
    assert rows(path, "SELECT id FROM events") == ["session-street-3"]
    assert rows(path, "SELECT event_id FROM alerts") == ["session-street-3"]
    assert confirmed, "senders go on to hold what was offered"
    for table in ("gaps", "health", "scores"):
        assert rows(path, f"SELECT count(*) FROM {table}") == [0]
    assert store.is_forgotten(event(number=1))
    store.write([event(number=3, start_seconds=35), trouble("cleared")])
    store.close()
    assert rows(path, "SELECT end_reason FROM events") == ["offset"]
    assert rows(path, "SELECT count(*) FROM health") == [0]


def test_a_clock_that_was_ahead_at_the_deletion_hides_nothing_later(
    path: Path,
) -> None:
    store = make_store(path)
    store.write([event(number=1)])
    forget(path, None, at(365 * 86_400))
    store.write([event(number=2), *score_frames(3)])
    store.write([onset(number=3), *score_frames(60, first=3)])
    store.write([event(number=3)])
    store.close()
    assert rows(path, "SELECT id FROM events") == ["session-street-3"]
    assert rows(path, "SELECT sum(frames) FROM scores") == [60]


def test_a_sound_from_before_that_is_found_afterwards_is_not_stored(
    path: Path,
) -> None:
    store = make_store(path, rules=AlertOnEverything())
    forget(path, None, at(40))
    store.write([*score_frames(1)])
    store._commit()
    store.write([onset(number=1, start_seconds=38)])
    store.write([event(number=1, start_seconds=38, seconds=30), gap(start_seconds=39)])
    assert rows(path, "SELECT count(*) FROM events") == [0]
    assert rows(path, "SELECT count(*) FROM gaps") == [0]
    assert rows(path, "SELECT count(*) FROM alerts") == [0]
    store.write([onset(number=2, start_seconds=40.1)])
    store.close()
    assert rows(path, "SELECT id FROM events") == ["session-street-2"]
