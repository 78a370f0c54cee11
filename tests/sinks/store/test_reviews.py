"""Verdicts and locks are rows beside the events, and live and die with them."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.config.outputs import StoreSettings
from monitor.errors import StoreError
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.event_pages import EventFilters
from monitor.sinks.store.forget import forget
from monitor.sinks.store.maintenance import INTERVAL_SECONDS
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.reviews import (
    Review,
    ReviewedBefore,
    Verdict,
    locked_events,
    write_lock,
    write_verdict,
)
from tests.support.clock import FakeClock
from tests.support.damage import damage_page
from tests.support.store import make_store, rows
from tests.support.timed import OPENED, event, statistics

NOW = OPENED + timedelta(hours=1)
DAY = 86_400
IDS = [event(number=number).record.id for number in range(1, 6)]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """Five events, ten seconds after each other."""
    path = tmp_path / "monitor.db"
    store = make_store(path)
    store.write([event(number=n, start_seconds=10.0 * n) for n in range(1, 6)])
    store.close()
    return path


@pytest.fixture
def connection(stored: Path) -> Iterator[sqlite3.Connection]:
    with closing(Database(stored).connect()) as connection:
        yield connection


def judge(
    connection: sqlite3.Connection,
    ids: list[str],
    verdict: Verdict | None,
    label: str | None = None,
) -> list[ReviewedBefore]:
    with transaction(connection):
        return write_verdict(connection, ids, verdict, label, now=NOW)


def lock(connection: sqlite3.Connection, ids: list[str], *, locked: bool) -> None:
    with transaction(connection):
        write_lock(connection, ids, locked=locked, now=NOW)


def reviews(path: Path) -> dict[str, Review | None]:
    with open_to_read(path) as reader:
        page = reader.events_page(EventFilters())
    return {each.timed.record.id: each.review for each in page.events}


def test_a_verdict_is_read_with_its_event(
    stored: Path, connection: sqlite3.Connection
) -> None:
    judge(connection, IDS[:1], "label", "car_horn")
    found = reviews(stored)
    assert found[IDS[0]] == Review("label", "car_horn", False, NOW)
    assert found[IDS[1]] is None


def test_what_was_before_undoes_a_change(
    stored: Path, connection: sqlite3.Connection
) -> None:
    judge(connection, IDS[:1], "wrong")
    lock(connection, IDS[:2], locked=True)
    before = judge(connection, IDS[:2], "label", "siren")
    assert before == [
        ReviewedBefore(IDS[0], "wrong", None),
        ReviewedBefore(IDS[1], None, None),
    ]
    for each in before:
        judge(connection, [each.id], each.verdict, each.label)
    assert reviews(stored)[IDS[0]] == Review("wrong", None, True, NOW)
    assert reviews(stored)[IDS[1]] == Review(None, None, True, NOW)


def test_a_review_that_says_nothing_is_no_row(
    stored: Path, connection: sqlite3.Connection
) -> None:
    judge(connection, IDS, "right")
    judge(connection, IDS, None)
    assert rows(stored, "SELECT count(*) FROM reviews") == [0]
    lock(connection, IDS, locked=True)
    lock(connection, IDS, locked=False)
    assert rows(stored, "SELECT count(*) FROM reviews") == [0]


def test_all_events_are_reviewed_or_none(
    stored: Path, connection: sqlite3.Connection
) -> None:
    with pytest.raises(StoreError, match=r"no event 'gone' and 1 other: it may"):
        judge(connection, [IDS[0], "gone", "too"], "right")
    with pytest.raises(StoreError, match="no event 'gone': it may"):
        lock(connection, [IDS[0], "gone"], locked=True)
    assert rows(stored, "SELECT count(*) FROM reviews") == [0]


def test_forgotten_events_take_their_reviews_along(
    stored: Path, connection: sqlite3.Connection
) -> None:
    judge(connection, IDS, "right")
    lock(connection, IDS, locked=True)
    forget(stored, OPENED + timedelta(seconds=29), NOW)
    assert set(reviews(stored)) == set(IDS[:2])
    assert rows(stored, "SELECT event_id FROM reviews ORDER BY 1") == sorted(IDS[:2])


def test_locked_events_outlive_their_age(tmp_path: Path) -> None:
    """The others go with their reviews."""
    path, clock = tmp_path / "monitor.db", FakeClock()
    clock.wall = NOW
    store = make_store(path, clock, settings=StoreSettings(keep_days=10))
    store.write([event(number=number) for number in range(1, 6)])
    with closing(Database(path).connect()) as connection:
        judge(connection, IDS[1:3], "right")
        lock(connection, IDS[:2], locked=True)
        for _ in range(2):
            clock.advance(6 * DAY)
            for _ in range(5):
                clock.advance(INTERVAL_SECONDS)
                store.report(statistics())
        assert set(reviews(path)) == set(IDS[:2])
        assert locked_events(connection) == frozenset(IDS[:2])
        assert rows(path, "SELECT count(*) FROM reviews") == [2]
    store.close()


def test_reviews_are_carried_over_from_a_damaged_file(path: Path) -> None:
    """All but those of lost events."""
    store = make_store(path, run="before")
    store.write([event(number=number) for number in range(1, 301)])
    store.close()
    ids = rows(path, "SELECT id FROM events")
    with closing(Database(path).connect()) as connection:
        judge(connection, ids, "label", "car_horn")
        lock(connection, ids[:1], locked=True)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    damage_page(path, b'[["')
    make_store(path, run="after").close()
    kept = rows(path, "SELECT id FROM events")
    assert 200 < len(kept) < 300
    read = "SELECT event_id FROM reviews WHERE verdict = 'label' AND label = 'car_horn'"
    assert sorted(rows(path, read)) == sorted(kept)


@pytest.mark.parametrize(
    "change",
    ["verdict = 'x'", "verdict = 'right', label = 'siren'", "locked = 2"],
)
def test_impossible_reviews_are_refused(
    connection: sqlite3.Connection, change: str
) -> None:
    judge(connection, IDS[:1], "wrong")
    with pytest.raises(sqlite3.IntegrityError):
        connection.execute(f"UPDATE reviews SET {change}")
