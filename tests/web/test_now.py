"""The page Now and what it is filled with, with a real feed and a real database."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from monitor.config.config import Config
from monitor.records import Gap, Timed
from monitor.web.app import build_app
from monitor.web.context import WebContext
from tests.support.clock import wait_until
from tests.support.live import Feed
from tests.support.store import make_store
from tests.support.timed import frame
from tests.support.web import WebClient, make_context


@pytest.fixture
def context(tmp_path: Path) -> WebContext:
    config = Config.model_validate(
        {
            "sources": [
                {"name": "street", "input": "demo:", "level_offset_db": 94.0},
                {"name": "yard", "input": "demo:"},
            ]
        }
    )
    return make_context(tmp_path, config=config)


def test_without_a_monitor_the_page_says_so_and_has_its_cards(
    context: WebContext,
) -> None:
    client = WebClient(build_app(context))
    text = client.get("/").text
    assert "The monitor is not running" in text
    assert 'data-source="street" data-unit="dB(A)"' in text
    assert 'data-source="yard" data-unit="dBFS(A)"' in text
    german = client.get("/", headers={"accept-language": "de"}).text
    assert "Der Monitor läuft nicht" in german
    assert recent(client) == {"sources": [], "gaps": [], "counts": {}}


def recent(client: WebClient) -> Any:
    return client.get("/now/recent.json").json()


def test_levels_and_columns_from_before_come_from_the_monitor(
    context: WebContext,
) -> None:
    feed = Feed(context.sockets[0])
    try:
        client = WebClient(build_app(context))
        wait_until(lambda: "Asking the monitor" in client.get("/").text)
        text = client.get("/").text
        for second in range(4):
            feed.sink.write([frame(stop_seconds=4.0 + second)])
        (street,) = recent(client)["sources"]
    finally:
        feed.close()
    assert 'data-source="street"' in text
    assert "yard" not in text  # it is configured, and does not run
    assert street["name"] == "street"
    assert [level for _, *level in street["levels"]] == [[-32.4, 52.1]] * 3


def test_gaps_of_a_day_are_counted_and_the_newest_listed(context: WebContext) -> None:
    assert context.database is not None
    now = datetime.now(UTC)
    store = make_store(context.database)
    for hours in range(30, 0, -1):
        at = now - timedelta(hours=hours, minutes=1)
        start = hours * 1_000_000
        lost = Gap("street", start, start + 44_100, "unplugged")
        store.write([Timed(lost, 0.0, 1.0, at, at + timedelta(seconds=1))])
    store.close()
    document = recent(WebClient(build_app(context)))
    assert document["counts"] == {"street": 23}
    assert len(document["gaps"]) == 23
    starts = [each["start"] for each in document["gaps"]]
    assert starts == sorted(starts, reverse=True)
    assert document["gaps"][0]["end_reason"] == "unplugged"
