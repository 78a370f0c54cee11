"""Pages of events are the sorted list cut in pieces, and never read all of it."""

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.event_pages import EventFilters, EventKey, ListedEvent
from monitor.sinks.store.queries import open_to_read
from monitor.sinks.store.reviews import write_lock, write_verdict
from tests.support.store import make_store, rows
from tests.support.timed import OPENED, event

LABELS = ("siren", "dog_bark", "drilling")
COUNT = 60
IDS = [f"session-{it}-{number}" for number in (2, 8, 9, 8) for it in ("street", "yard")]
"""Each event is of one source: half of the ids are unknown."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events of three labels and two sources, several at the same time."""
    path = tmp_path_factory.mktemp("many") / "monitor.db"
    random_ = random.Random(16)
    store = make_store(path)
    for number in range(COUNT):
        timed = event(
            number=number,
            label=random_.choice(LABELS),
            source=random_.choice(("street", "yard")),
            start_seconds=random_.randrange(20),
        )
        record = replace(timed.record, peak_score=random_.random())
        store.write([replace(timed, record=record)])
    store.close()
    with closing(Database(path).connect()) as connection, transaction(connection):
        for verdict, rest in (("right", 1), ("wrong", 2)):
            ids = rows(path, "SELECT id FROM events WHERE sequence % 4 = ?", rest)
            write_verdict(connection, ids, verdict, None, now=OPENED)
        ids = rows(path, "SELECT id FROM events WHERE sequence % 4 = 3")
        write_lock(connection, ids, locked=True, now=OPENED)
    return path


CHOICES: list[tuple[dict[str, Any], str]] = [
    ({}, "true"),
    ({"labels": ["siren"]}, "label = 'siren'"),
    ({"labels": ["siren", "siren", "drilling"]}, "label IN ('siren', 'drilling')"),
    ({"labels": ["x' OR 1 --"]}, "false"),
    ({"sources": ["yard"]}, "source_name = 'yard'"),
    ({"sources": ["cellar"]}, "false"),
    ({"sources": ["cellar"], "labels": ["siren"]}, "false"),
    (
        {"sources": ["street"], "labels": ["siren", "dog_bark"]},
        "source_name = 'street' AND label IN ('siren', 'dog_bark')",
    ),
    ({"min_score": 0.5}, "peak_score >= 0.5"),
    ({"ids": IDS}, "sequence IN (3, 9, 10)"),
    ({"ids": IDS, "review": "right"}, "sequence = 9"),
    ({"ids": IDS, "review": "no"}, "sequence = 3"),
    ({"ids": IDS, "review": "yes", "min_score": 0.0}, "sequence IN (9, 10)"),
    ({"since": OPENED + timedelta(seconds=7)}, "start_sample >= 7 * 44100"),
    ({"until": OPENED + timedelta(seconds=7)}, "start_sample < 7 * 44100"),
    ({"review": "yes"}, "verdict IS NOT NULL"),
    ({"review": "no"}, "verdict IS NULL"),
    ({"review": "wrong"}, "verdict = 'wrong'"),
    (
        {"review": "wrong", "labels": ["siren"], "sources": ["yard"]},
        "verdict = 'wrong' AND label = 'siren' AND source_name = 'yard'",
    ),
    ({"review": "yes", "sources": ["cellar"]}, "false"),
    (
        {"review": "no", "labels": ["siren"], "min_score": 0.2},
        "verdict IS NULL AND label = 'siren' AND peak_score >= 0.2",
    ),
]


def numbers(events: list[ListedEvent]) -> list[int]:
    return [each.key.sequence for each in events]


@pytest.mark.parametrize(("choice", "condition"), CHOICES)
@pytest.mark.parametrize("limit", [1, 7, COUNT])
def test_pages_one_after_another_are_the_whole_list(
    many: Path, choice: dict[str, Any], condition: str, limit: int
) -> None:
    query = f"SELECT sequence FROM events_read WHERE {condition}"
    expected = rows(many, f"{query} ORDER BY at_ms DESC, sequence DESC")
    filters = EventFilters(**choice)
    with open_to_read(many) as reader:
        older: list[ListedEvent] = []
        key, has_more = None, True
        while has_more:
            page = reader.events_page(filters, before_key=key, limit=limit)
            older += page.events
            key, has_more = page.oldest, page.has_more
    assert numbers(older) == expected


def test_an_event_keeps_its_place_while_others_come(many: Path) -> None:
    with open_to_read(many) as reader:
        first = reader.events_page(EventFilters(), limit=5)
        second = reader.events_page(EventFilters(), first.oldest, limit=5)
    keys = [each.key for each in (*first.events, *second.events)]
    assert all(newer > older for newer, older in pairwise(keys))


def plans(path: Path, filters: EventFilters, **keys: EventKey) -> list[str]:
    """What SQLite does for the keys of a page, without the rows themselves."""
    found = []
    with open_to_read(path) as reader:
        connection = reader._connection
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        reader.events_page(filters, **keys)
        connection.set_trace_callback(None)
        for statement in statements:
            if statement.startswith("SELECT events.at_ms"):
                plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}")
                found.append("; ".join(row[3] for row in plan))
    assert found
    return found


@pytest.mark.parametrize(
    ("choice", "index"),
    [
        ({}, "events_by_time"),
        ({"min_score": 0.9}, "events_by_time"),
        ({"since": OPENED, "until": OPENED + timedelta(days=1)}, "events_by_time"),
        ({"labels": ["siren", "drilling"], "min_score": 0.9}, "events_by_label"),
        ({"labels": ["siren"], "sources": ["yard"]}, "events_by_label"),
        ({"sources": ["yard"]}, "events_by_source"),
    ],
)
def test_keys_come_from_one_index_in_order(
    many: Path, choice: dict[str, Any], index: str
) -> None:
    """No sort, and no row of the table: whatever the number of events."""
    key = EventKey(1_800_000_000_000, 3)
    for plan in plans(many, EventFilters(**choice), before_key=key):
        assert plan.startswith("SEARCH events USING COVERING INDEX " + index), plan
        assert "at_ms" in plan
        assert "TEMP B-TREE" not in plan


def test_events_of_some_ids_are_read_by_their_ids(many: Path) -> None:
    for filters in (EventFilters(ids=IDS), EventFilters(ids=IDS, review="yes")):
        (plan,) = plans(many, filters)
        first, second, *_ = plan.split("; ")
        assert first.startswith("SCAN wanted")
        assert second.startswith("SEARCH events USING INDEX sqlite_autoindex_events_1")


def test_the_labels_of_all_events_are_steps_in_an_index(many: Path) -> None:
    with open_to_read(many) as reader:
        assert reader.event_labels() == sorted(LABELS)
        statements: list[str] = []
        reader._connection.set_trace_callback(statements.append)
        reader.event_labels()
        plan = reader._connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}")
        assert not any(row[3].startswith("SCAN events") for row in plan)


def test_reviews_are_read_before_events(many: Path) -> None:
    """They are few, and there may be a million events."""
    for filters, way in (
        (EventFilters(review="wrong"), "SEARCH reviews USING INDEX reviews_by_verd"),
        (EventFilters(review="yes"), "SCAN reviews"),
    ):
        (plan,) = plans(many, filters)
        first, second, *_ = plan.split("; ")
        assert first.startswith(way)
        assert second.startswith("SEARCH events USING INDEX sqlite_autoindex_events_1")


def test_invalid_rows_do_not_hide_the_next_page(
    many: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.write_bytes(many.read_bytes())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(
            "UPDATE events SET top = '[[[' WHERE sequence IN (SELECT sequence "
            "FROM events ORDER BY at_ms DESC, sequence DESC LIMIT 5)"
        )
    with open_to_read(path) as reader:
        page = reader.events_page(EventFilters(), limit=5)
        assert (page.events, page.has_more) == ((), True)
        rest = reader.events_page(EventFilters(), page.oldest, limit=100)
    assert len(rest.events) == COUNT - 5
    assert "5 rows of the database are invalid" in caplog.text
