"""What is published is numbered with its row, and a damaged database begins anew."""

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from monitor.config.outputs import StoreSettings
from monitor.errors import StoreError
from monitor.sinks.store.database import Database
from monitor.sinks.store.maintenance import INTERVAL_SECONDS
from tests.support.clock import FakeClock
from tests.support.damage import damage_page
from tests.support.publishing import published_store
from tests.support.store import rows, score_frames
from tests.support.timed import OPENED, event, gap, onset, statistics

QUEUE = "SELECT type, row FROM outgoing ORDER BY sequence"


def acknowledge(path: Path, sequence: int) -> None:
    with closing(Database(path).connect()) as connection:
        connection.execute("UPDATE publishing SET acknowledged = ?", (sequence,))


def test_an_event_that_is_written_twice_is_published_once(path: Path) -> None:
    store = published_store(path)
    store.write([onset(number=1), event(number=1), event(number=1), event(number=2)])
    store.close()
    found = [("session", 1), ("onset", 1), ("event", 1), ("event", 2)]
    assert rows(path, QUEUE) == found


def test_a_transaction_that_fails_takes_its_number_back(path: Path) -> None:
    def fail(connection: sqlite3.Connection) -> None:
        connection.execute(
            "INSERT INTO gaps (session, source, at_ms, start_sample, stop_sample, "
            "reason) VALUES (1, 1, 0, 0, 1, 'ended')"
        )
        raise StoreError("for the test")

    store = published_store(path)
    store.write([gap()])
    with pytest.raises(StoreError):
        store.change(fail)
    store.write([event()])
    store.close()
    assert rows(path, "SELECT sequence, type FROM outgoing ORDER BY sequence") == [
        (1, "session"),
        (2, "gap"),
        (3, "event"),
    ]


def test_each_start_is_published_and_the_number_goes_on(path: Path) -> None:
    for run in ("one", "two", "two"):
        published_store(path, run=run).close()
    assert rows(path, QUEUE) == [("session", 1), ("session", 2)]
    assert len(rows(path, "SELECT epoch FROM publishing")) == 1


def test_the_scores_of_a_killed_monitor_are_published_at_the_next_start(
    path: Path,
) -> None:
    store = published_store(path)
    store.write(score_frames(30))
    store.reopen()  # commits, and does not end the session
    assert rows(path, QUEUE) == [("session", 1)]
    store._writer.close()
    following = published_store(path, run="next")
    found = [kind for kind, _ in rows(path, QUEUE)]
    assert found == ["session", "scores", "session"]
    following.close()


@pytest.mark.parametrize("page", [b"", b"CREATE TABLE sessions"])
def test_a_damaged_database_goes_on_with_what_was_not_sent(
    page: bytes, path: Path
) -> None:
    store = published_store(path)
    store.write([event(number=number) for number in range(5)])
    store.close()
    acknowledge(path, 4)
    (epoch,) = rows(path, "SELECT epoch FROM publishing")
    if page:
        damage_page(path, page)
    else:
        content = bytearray(path.read_bytes())
        content[:4096] = b"\xff" * 4096
        path.write_bytes(content)
    store = published_store(path, run="next")
    store.close()
    assert rows(path, QUEUE) == [("event", 4), ("event", 5), ("session", 2)]
    assert rows(path, "SELECT min(sequence) FROM outgoing") == [1]
    found, previous = rows(path, "SELECT epoch, previous FROM publishing")[0]
    assert found != epoch
    assert json.loads(previous) == {"epoch": epoch, "last": 6}


def test_if_it_is_unknown_what_was_sent_everything_is(path: Path) -> None:
    store = published_store(path)
    store.write([event(number=number) for number in range(5)])
    store.close()
    acknowledge(path, 4)
    (epoch,) = rows(path, "SELECT epoch FROM publishing")
    damage_page(path, epoch.encode())
    store = published_store(path, run="next")
    store.close()
    assert rows(path, "SELECT count(*) FROM outgoing WHERE type = 'event'") == [5]
    assert rows(path, "SELECT previous FROM publishing") == [None]


def test_what_was_published_is_kept_as_long_as_its_rows(path: Path) -> None:
    clock = FakeClock()
    clock.wall = OPENED
    settings = StoreSettings(keep_scores_days=2, keep_days=10)
    store = published_store(path, clock, settings=settings)
    store.write([event(number=1)])
    store.write(score_frames(250))
    store.reopen()
    acknowledge(path, 3)
    left = []
    for days in (1, 3, 8):
        clock.advance(days * 86_400)
        clock.wall += timedelta(seconds=INTERVAL_SECONDS)
        for _ in range(40):
            clock.advance(INTERVAL_SECONDS)
            store.report(statistics())
        left.append(rows(path, QUEUE))
    store.close()
    everything = [("session", 1), ("event", 1), ("scores", 1), ("scores", 2)]
    # The second row of scores was not sent yet.
    later = [("session", 1), ("event", 1), ("scores", 2)]
    assert left == [everything, later, []]
