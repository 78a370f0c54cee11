"""What was listened to: runs that end, are killed or go on, and gaps."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitor.records import Gap
from monitor.sinks.store.day_report import report_day
from monitor.sinks.store.listened import OFF, Missed, merged, missed_times
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.schema import MIGRATIONS
from monitor.sinks.store.selection import Selection
from monitor.sinks.store.store import FLUSH_SECONDS, Store
from tests.support.clock import FakeClock
from tests.support.levels import minutes, store_levels
from tests.support.store import make_store, open_database, score_frames
from tests.support.timed import gap, samples, statistics, timed

NINE = datetime(2026, 11, 23, 9, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


@pytest.fixture
def clock() -> FakeClock:
    clock = FakeClock()
    clock.wall = NINE
    return clock


def listen(store: Store, clock: FakeClock, count: int) -> None:
    """Let so many minutes pass, without a sound from any microphone."""
    for _ in range(count * 6):
        clock.advance(FLUSH_SECONDS)
        store.report(statistics())


def missed(
    path: Path, hours: float, now: datetime | None = None, *, is_running: bool = False
) -> list[Missed]:
    """What the street missed in so many hours after nine."""
    end = NINE + timedelta(hours=hours)
    with open_to_read(path) as reader:
        silent: dict[str, datetime] | None = {} if is_running else None
        return missed_times(reader, ["street"], NINE, end, now or end, silent)


def minutes_of(found: list[Missed]) -> list[tuple[float, float, str]]:
    return [
        ((it.start - NINE) / MINUTE, (it.end - NINE) / MINUTE, it.reason)
        for it in found
    ]


def test_a_run_that_was_killed_ends_where_it_last_wrote(
    path: Path, clock: FakeClock
) -> None:
    """Neither scores nor anything else of it need be left."""
    store = make_store(path, clock)
    store.write(score_frames(10))
    listen(store, clock, 120)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM scores")
    later = NINE + timedelta(days=29)
    assert minutes_of(missed(path, 5, later)) == [(120, 300, OFF)]


def test_a_run_goes_on_while_it_writes_though_no_microphone_delivers(
    path: Path, clock: FakeClock
) -> None:
    store = make_store(path, clock)
    listen(store, clock, 180)
    assert missed(path, 3) == []
    assert missed(path, 3.01) == []
    assert minutes_of(missed(path, 4)) == [(180, 240, OFF)]
    # Its disk may hang.
    assert missed(path, 4, is_running=True) == []


def test_a_run_that_was_stopped_is_over_at_once(path: Path, clock: FakeClock) -> None:
    store = make_store(path, clock)
    listen(store, clock, 60)
    store.close()
    (found,) = missed(path, 1 + 1 / 120)
    assert found == Missed(
        "street", NINE + 60 * MINUTE, NINE + 60.5 * MINUTE, OFF, 30.0
    )


def test_of_an_overload_only_what_was_left_out_was_missed(
    path: Path, clock: FakeClock
) -> None:
    whole = gap(start_seconds=600, seconds=60, reason="overload").record
    assert isinstance(whole, Gap)
    store = make_store(path, clock)
    store.write([timed(replace(whole, left_out=samples(1)), NINE)])
    listen(store, clock, 60)
    (found,) = missed(path, 1)
    assert (found.end - found.start, found.seconds) == (MINUTE, pytest.approx(1.0))
    half = found.since(found.start + MINUTE / 2)
    assert (half.start, half.seconds) == (NINE + 10.5 * MINUTE, pytest.approx(0.5))
    with open_to_read(path) as reader:
        (read,) = reader.gaps()
    assert read.left_out_seconds == pytest.approx(1.0)


def test_runs_of_an_older_version_end_with_their_scores(
    path: Path, clock: FakeClock
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        for script in MIGRATIONS[:6]:
            connection.executescript(script)
        connection.execute("PRAGMA user_version = 6")
        start = int(NINE.timestamp() * 1000)
        for number, (began, ended) in enumerate([(0, 30), (60, None), (120, None)]):
            connection.execute(
                "INSERT INTO sessions (session, started_ms, ended_ms, model, labels, "
                "sample_rate) VALUES (?, ?, ?, '', '[]', 44100)",
                (
                    f"run {number}",
                    start + 60_000 * began,
                    None if ended is None else start + 60_000 * ended,
                ),
            )
        connection.execute("INSERT INTO sources (name) VALUES ('street')")
        for begin in (60, 75):
            connection.execute(
                "INSERT INTO scores (session, source, start_ms, end_ms, start_sample, "
                "window_samples, hop_samples, frames, data) "
                "VALUES (2, 1, ?, ?, 0, 1, 1, 1, x'')",
                (start + 60_000 * begin, start + 60_000 * (begin + 1)),
            )
        connection.commit()
    open_database(path)
    assert minutes_of(missed(path, 3)) == [
        (30, 60, OFF),
        (76, 120, OFF),
        (120, 180, OFF),
    ]


def test_invalid_rows_are_left_out(
    path: Path, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    whole = gap(start_seconds=600, seconds=60, reason="overload").record
    store = make_store(path, clock)
    store.write([timed(whole, NINE)])
    store.close()
    make_store(path, clock, run="another").close()
    store_levels(path, minutes(NINE, 60, 60.0))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE gaps SET left_out = 9e12")
        connection.execute("UPDATE sessions SET started_ms = 9e17 WHERE id = 1")
        connection.execute("UPDATE level_hours SET hour_ms = hour_ms + 7")
    assert minutes_of(missed(path, 1)) == [(0, 60, OFF)]
    assert caplog.text.count("invalid and left out") == 2
    with open_to_read(path) as reader:
        day = Selection(NINE.date(), NINE.date(), NINE + timedelta(days=1))
        assert report_day(reader, day).sources == {}


def test_gaps_that_adjoin_for_the_same_reason_are_one() -> None:
    def lost(source: str, begin: float, end: float, reason: str = "stalled") -> Missed:
        seconds = (end - begin) * 60
        return Missed(
            source, NINE + begin * MINUTE, NINE + end * MINUTE, reason, seconds
        )

    found = [
        lost("street", 0, 1),
        lost("yard", 0, 2),
        lost("street", 1, 2),
        lost("street", 2, 3, "unplugged"),
        lost("street", 5, 6),
    ]
    assert merged(found) == [
        lost("street", 0, 2),
        lost("yard", 0, 2),
        lost("street", 2, 3, "unplugged"),
        lost("street", 5, 6),
    ]
