"""The queue is what the database says, and what it says is checked."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from monitor.errors import StoreUnavailableError
from monitor.sinks.publish.queue import Queue
from monitor.sinks.publish.record import decode_message, encode_message
from monitor.sinks.store.database import transaction
from monitor.sinks.store.salvage import damage
from tests.support.publishing import LATE, published_store
from tests.support.store import open_database, rows, score_frames
from tests.support.timed import OPENED, event, gap


def test_nonsense_in_the_database_is_published_as_deleted(path: Path) -> None:
    store = published_store(path)
    store.write([event(number=1)])
    store.close()
    with closing(open_database(path).connect()) as connection, transaction(connection):
        connection.execute("UPDATE publishing SET previous = '[1]'")
        connection.execute("UPDATE sessions SET labels = '{', started_ms = 1 << 62")
        connection.executemany(
            "INSERT INTO outgoing (type, row, at_ms, body) VALUES (?, 1, ?, 'x')",
            [("event", 1 << 62), ("no type", 0), ("digest", 0), ("gap", -1)],
        )
    with closing(Queue(path)) as queue:
        position = queue.position("", 0)
        assert position is not None
        assert position.previous is None
        entries = queue.entries(position.epoch, 1, position.newest)
    types = ["deleted", "event", "event", "deleted", "deleted", "deleted"]
    assert [it.type for it in entries] == types
    for it in entries:
        payload = encode_message(
            "yard", position.epoch, it.sequence, it.type, it.record, OPENED
        )
        assert decode_message(payload, "yard", LATE).contents is not None


def test_a_database_that_was_replaced_gives_no_records_of_another_epoch(
    path: Path,
) -> None:
    published_store(path).close()
    with closing(Queue(path)) as queue:
        before = queue.position("", 0)
        assert before is not None
        path.unlink()
        published_store(path).close()
        with pytest.raises(StoreUnavailableError, match="replaced"):
            queue.entries(before.epoch, 1, 1)


def test_a_row_of_scores_that_grows_after_a_reload_is_published_again(
    path: Path,
) -> None:
    store = published_store(path)
    store.write(score_frames(30))
    store.close()
    assert rows(path, "SELECT row FROM outgoing WHERE type = 'scores'") == [1]
    following = published_store(path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE scores SET frames = 29 WHERE id = 1")
    following.close()
    assert rows(path, "SELECT row FROM outgoing WHERE type = 'scores'") == [1, 1]


def test_the_newest_minute_of_scores_is_published_after_damage(path: Path) -> None:
    store = published_store(path)
    store.write(score_frames(30))
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:  # as after a kill
        connection.execute("DELETE FROM outgoing WHERE type = 'scores'")
        connection.execute(
            "INSERT INTO incomplete_scores SELECT source, id FROM scores"
        )
    open_database(path).set_aside(damage("for the test"))
    published_store(path, run="next").close()
    assert rows(path, "SELECT row FROM outgoing WHERE type = 'scores'") == [1]


def test_records_of_a_clock_that_was_not_set_have_no_time(path: Path) -> None:
    store = published_store(path)
    store.write([event(number=1), gap(), *score_frames(250)])
    store.close()
    with closing(open_database(path).connect()) as connection, transaction(connection):
        for table in ("events", "gaps", "scores"):
            connection.execute(f"UPDATE {table} SET start_ms = 60000, end_ms = 61000")
        connection.execute("UPDATE outgoing SET at_ms = 60000")
    with closing(Queue(path)) as queue:
        position = queue.position("", 0)
        assert position is not None
        entries = queue.entries(position.epoch, 1, position.newest)
    kinds = {it.type for it in entries}
    assert kinds == {"session", "event", "gap", "deleted"}
    for it in entries:
        payload = encode_message(
            "yard", position.epoch, it.sequence, it.type, it.record, OPENED
        )
        found = decode_message(payload, "yard", LATE)
        assert found.record.get("start") is None
