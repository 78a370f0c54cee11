"""Lists of alerts are read in pages by key, with their attempts."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from monitor.sinks.alerts.alert import Attempt
from monitor.sinks.alerts.outbox import Outbox, drop_alert, write_alerts
from monitor.sinks.store.database import Database, transaction
from monitor.sinks.store.queries import open_to_read
from tests.support.alerts import NOW, alert
from tests.support.store import open_database

COUNT = 10


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Ten alerts, of two rules in turn; the third is dropped, the fifth was tried."""
    path = tmp_path / "monitor.db"
    alerts = [
        alert(number, endpoint=("siren/webhook", "dog/command")[number % 2])
        for number in range(1, COUNT + 1)
    ]
    database = open_database(path)
    with closing(database.connect()) as connection, transaction(connection):
        write_alerts(connection, alerts)
        drop_alert(connection, alerts[2].id)
    with closing(Outbox(database)) as outbox:
        entry = outbox.pending(alerts[4].id)
        assert entry is not None
        for detail in ("HTTP 500", "HTTP 502"):
            outbox.record(entry, Attempt(NOW, "retry", detail, 0.25))
    return path


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({}, list(range(COUNT, 0, -1))),
        ({"rule": "dog"}, [9, 7, 5, 3, 1]),
        ({"state": "dropped"}, [3]),
        ({"state": "pending", "rule": "dog"}, [9, 7, 5, 1]),
        ({"rule": "x' OR 1 --"}, []),
        ({"state": "dead"}, []),
    ],
)
@pytest.mark.parametrize("limit", [1, 3, COUNT])
def test_pages_one_after_another_are_the_whole_list(
    path: Path, choice: dict[str, Any], expected: list[int], limit: int
) -> None:
    found, before, has_more = [], None, True
    with open_to_read(path) as reader:
        while has_more:
            page = reader.alerts_page(**choice, before=before, limit=limit)
            found += [it.entry.alert.body["number"] for it in page.alerts]
            before, has_more = page.oldest, page.has_more
    assert found == expected


def test_each_alert_has_its_own_attempts(path: Path) -> None:
    with open_to_read(path) as reader:
        page = reader.alerts_page()
    attempts = {it.entry.alert.body["number"]: it.attempts for it in page.alerts}
    assert [each.detail for each in attempts.pop(5)] == ["HTTP 500", "HTTP 502"]
    assert not any(attempts.values())


def test_rows_that_make_no_sense_do_not_hide_the_next_page(path: Path) -> None:
    with closing(Database(path).connect()) as connection:
        connection.execute("UPDATE alerts SET body = '[' WHERE sequence > 7")
    with open_to_read(path) as reader:
        first = reader.alerts_page(limit=3)
        assert (list(first.alerts), first.has_more) == ([], True)
        assert len(reader.alerts_page(before=first.oldest).alerts) == 7


@pytest.mark.parametrize("state", ["pending", "dead"])
def test_the_few_in_a_state_are_found_by_an_index(path: Path, state: Any) -> None:
    statements: list[str] = []
    with open_to_read(path) as reader:
        connection: sqlite3.Connection = reader._connection
        connection.set_trace_callback(statements.append)
        reader.alerts_page(state=state)
        connection.set_trace_callback(None)
        (plan, *_) = connection.execute(f"EXPLAIN QUERY PLAN {statements[0]}")
    assert f"USING INDEX alerts_{state}" in plan[3]
